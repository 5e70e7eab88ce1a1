//! Inception as a TensorFlow graph. The published file cannot be had here: the graph is written by this test, under the
//! published one's names, with the formula's weights, and must give what the golden network gives where the two agree.

use crate::common::Manifest;
use crate::teachers::{compare, formula, pictures};
use fqgan::backend::Device;
use fqgan::backend::cpu::Cpu;
use fqgan::exec::Eager;
use fqgan::ops::resize_bilinear::{Grid, ResizeBilinear};
use fqgan::teachers::{Inception, Variant};
use fqgan::tensor::Tensor;
use std::path::PathBuf;
use std::sync::Arc;
use tempfile::TempDir;

/// Protobuf's wire format, as far as a graph needs it.
#[derive(Default, Clone)]
struct Message(Vec<u8>);

impl Message {
    fn varint(mut self, tag: u32, value: u64) -> Message {
        self.raw(u64::from(tag) << 3);
        self.raw(value);
        self
    }

    fn bytes(mut self, tag: u32, bytes: &[u8]) -> Message {
        self.raw(u64::from(tag) << 3 | 2);
        self.raw(bytes.len() as u64);
        self.0.extend(bytes);
        self
    }

    fn float(mut self, tag: u32, value: f32) -> Message {
        self.raw(u64::from(tag) << 3 | 5);
        self.0.extend(value.to_le_bytes());
        self
    }

    fn raw(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }
}

fn list(numbers: &[i64]) -> Message {
    let mut packed = Message::default();
    numbers.iter().for_each(|&n| packed.raw(n as u64));
    Message::default().bytes(1, &Message::default().bytes(3, &packed.0).0)
}

fn word(text: &str) -> Message {
    Message::default().bytes(2, text.as_bytes())
}

fn constant(dtype: u64, shape: &[usize], fill: impl FnOnce(Message) -> Message) -> Message {
    let dims = shape.iter().fold(Message::default(), |shape, &size| {
        shape.bytes(2, &Message::default().varint(1, size as u64).0)
    });
    let tensor = fill(Message::default().varint(1, dtype).bytes(2, &dims.0));
    Message::default().bytes(8, &tensor.0)
}

fn floats(shape: &[usize], values: &[f32]) -> Message {
    let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
    constant(1, shape, |tensor| tensor.bytes(4, &bytes))
}

/// A graph in the making, from the formula's weights.
struct Graph {
    bytes: Message,
    manifest: Manifest,
}

impl Graph {
    fn node(&mut self, name: &str, op: &str, inputs: &[&str], attributes: &[(&str, Message)]) -> String {
        let node = Message::default().bytes(1, name.as_bytes()).bytes(2, op.as_bytes());
        let node = inputs.iter().fold(node, |node, input| node.bytes(3, input.as_bytes()));
        let node = attributes.iter().fold(node, |node, (key, value)| {
            node.bytes(5, &Message::default().bytes(1, key.as_bytes()).bytes(2, &value.0).0)
        });
        self.bytes = std::mem::take(&mut self.bytes).bytes(1, &node.0);
        name.to_string()
    }

    fn weights(&self, name: &str) -> (Vec<usize>, Vec<f32>) {
        let entry = self.manifest.entries.iter().find(|e| e.name == name).unwrap();
        (entry.shape.to_vec(), entry.tensor(self.manifest.seed).unwrap().data::<f32>().unwrap().to_vec())
    }

    /// A convolution, its norm and its ReLU, as the published graph has them.
    fn conv(&mut self, name: &str, torch: &str, input: &str, stride: i64, padding: &str) -> String {
        let (shape, values) = self.weights(&format!("{torch}.conv.weight"));
        let [to, from, rows, columns] = [0, 1, 2, 3].map(|axis| shape[axis]);
        let at = |t: usize, f: usize, r: usize, c: usize| values[((t * from + f) * rows + r) * columns + c];
        let mut turned = Vec::new();
        for (r, c) in (0..rows).flat_map(|r| (0..columns).map(move |c| (r, c))) {
            (0..from).for_each(|f| turned.extend((0..to).map(|t| at(t, f, r, c))));
        }
        let params = format!("{name}/conv2d_params");
        self.node(&params, "Const", &[], &[("value", floats(&[rows, columns, from, to], &turned))]);
        let attributes = [("strides", list(&[1, stride, stride, 1])), ("padding", word(padding))];
        let made = self.node(&format!("{name}/Conv2D"), "Conv2D", &[input, &params], &attributes);
        let norm = format!("{name}/batchnorm");
        let mut inputs = vec![made];
        for (leaf, torch_leaf) in [
            ("moving_mean", "running_mean"),
            ("moving_variance", "running_var"),
            ("beta", "bias"),
            ("gamma", "weight"),
        ] {
            let (shape, values) = self.weights(&format!("{torch}.bn.{torch_leaf}"));
            let value = floats(&shape, &values);
            inputs.push(self.node(&format!("{norm}/{leaf}"), "Const", &[], &[("value", value)]));
        }
        let inputs: Vec<&str> = inputs.iter().map(String::as_str).collect();
        let attributes = [
            ("variance_epsilon", Message::default().float(4, 0.001)),
            ("scale_after_normalization", Message::default().varint(5, 1)),
        ];
        self.node(&norm, "BatchNormWithGlobalNormalization", &inputs, &attributes);
        let check = format!("{name}/CheckNumerics");
        self.node(&check, "CheckNumerics", &[&norm], &[]);
        let after = format!("{name}/control_dependency");
        self.node(&after, "Identity", &[&norm, &format!("^{check}")], &[]);
        self.node(name, "Relu", &[&after], &[])
    }

    fn pool(&mut self, name: &str, op: &str, input: &str, side: i64, stride: i64, padding: &str) -> String {
        let attributes = [
            ("ksize", list(&[1, side, side, 1])),
            ("strides", list(&[1, stride, stride, 1])),
            ("padding", word(padding)),
        ];
        self.node(name, op, &[input], &attributes)
    }

    /// Convolutions one after the other, `conv`, `conv_1`, ... below `name`; if `halves`, the last in steps of 2.
    fn tower(&mut self, name: &str, torch: &[String], input: &str, halves: bool) -> String {
        let mut x = input.to_string();
        for (i, weights) in torch.iter().enumerate() {
            let end = if i == 0 { String::new() } else { format!("_{i}") };
            let (stride, padding) = if halves && i + 1 == torch.len() { (2, "VALID") } else { (1, "SAME") };
            x = self.conv(&format!("{name}/conv{end}"), weights, &x, stride, padding);
        }
        x
    }

    fn join(&mut self, name: &str, parts: &[String]) -> String {
        let axis = format!("{name}/join/concat_dim");
        // As a list of values.
        let value = constant(3, &[], |tensor| tensor.bytes(7, &[3]));
        self.node(&axis, "Const", &[], &[("value", value)]);
        let inputs: Vec<&str> = std::iter::once(&axis).chain(parts).map(String::as_str).collect();
        self.node(&format!("{name}/join"), "Concat", &inputs, &[])
    }

    /// The whole network. Bytes go in at `ExpandDims`, are resized, lessened by `shift` and multiplied by `scale`.
    fn inception(half_pixels: bool, shift: f32, scale: f32) -> Graph {
        let mut g = Graph { bytes: Message::default(), manifest: Manifest::read("fid_inception_v3") };
        g.node("DecodeJpeg", "DecodeJpeg", &[], &[]);
        g.node("ExpandDims", "ExpandDims", &["DecodeJpeg"], &[]);
        let mut sizes = Message::default();
        sizes.0.extend([299i32, 299].iter().flat_map(|n| n.to_le_bytes()));
        let size = constant(3, &[2], |tensor| tensor.bytes(4, &sizes.0));
        g.node("ResizeBilinear/size", "Const", &[], &[("value", size)]);
        let centres = [("half_pixel_centers", Message::default().varint(5, u64::from(half_pixels)))];
        g.node("ResizeBilinear", "ResizeBilinear", &["ExpandDims:0", "ResizeBilinear/size"], &centres);
        for (name, op, value, input) in
            [("Sub", "Sub", shift, "ResizeBilinear"), ("Mul", "Mul", scale, "Sub")]
        {
            let one = constant(1, &[], |tensor| tensor.float(5, value));
            g.node(&format!("{name}/y"), "Const", &[], &[("value", one)]);
            g.node(name, op, &[input, &format!("{name}/y")], &[]);
        }
        let mut x = g.conv("conv", "Conv2d_1a_3x3", "Mul", 2, "VALID");
        x = g.conv("conv_1", "Conv2d_2a_3x3", &x, 1, "VALID");
        x = g.conv("conv_2", "Conv2d_2b_3x3", &x, 1, "SAME");
        x = g.pool("pool", "MaxPool", &x, 3, 2, "VALID");
        x = g.conv("conv_3", "Conv2d_3b_1x1", &x, 1, "VALID");
        x = g.conv("conv_4", "Conv2d_4a_3x3", &x, 1, "VALID");
        x = g.pool("pool_1", "MaxPool", &x, 3, 2, "VALID");
        let letters = ["5b", "5c", "5d", "6a", "6b", "6c", "6d", "6e", "7a", "7b", "7c"];
        for (number, letter) in letters.into_iter().enumerate() {
            let name = if number == 0 { "mixed".to_string() } else { format!("mixed_{number}") };
            let torch = |leaf: &str| format!("Mixed_{letter}.{leaf}");
            let row = |leaf: &str, count: usize| -> Vec<String> {
                (1..=count).map(|i| torch(&format!("{leaf}_{i}"))).collect()
            };
            let under = |end: &str| format!("{name}/{end}");
            let mut parts = Vec::new();
            match number {
                3 => {
                    parts.push(g.tower(&name, &[torch("branch3x3")], &x, true));
                    parts.push(g.tower(&under("tower"), &row("branch3x3dbl", 3), &x, true));
                    parts.push(g.pool(&under("pool"), "MaxPool", &x, 3, 2, "VALID"));
                }
                8 => {
                    parts.push(g.tower(&under("tower"), &row("branch3x3", 2), &x, true));
                    parts.push(g.tower(&under("tower_1"), &row("branch7x7x3", 4), &x, true));
                    parts.push(g.pool(&under("pool"), "MaxPool", &x, 3, 2, "VALID"));
                }
                _ => {
                    parts.push(g.tower(&name, &[torch("branch1x1")], &x, false));
                    if number >= 9 {
                        let y = g.tower(&under("tower"), &row("branch3x3", 1), &x, false);
                        for (end, leaf) in [("conv", "branch3x3_2a"), ("conv_1", "branch3x3_2b")] {
                            parts.push(g.conv(
                                &under(&format!("tower/mixed/{end}")),
                                &torch(leaf),
                                &y,
                                1,
                                "SAME",
                            ));
                        }
                        let y = g.tower(&under("tower_1"), &row("branch3x3dbl", 2), &x, false);
                        for (end, leaf) in [("conv", "branch3x3dbl_3a"), ("conv_1", "branch3x3dbl_3b")] {
                            parts.push(g.conv(
                                &under(&format!("tower_1/mixed/{end}")),
                                &torch(leaf),
                                &y,
                                1,
                                "SAME",
                            ));
                        }
                    } else {
                        let (one, two) = if number < 3 {
                            (row("branch5x5", 2), row("branch3x3dbl", 3))
                        } else {
                            (row("branch7x7", 3), row("branch7x7dbl", 5))
                        };
                        parts.push(g.tower(&under("tower"), &one, &x, false));
                        parts.push(g.tower(&under("tower_1"), &two, &x, false));
                    }
                    let op = if number == 10 { "MaxPool" } else { "AvgPool" };
                    let y = g.pool(&under("tower_2/pool"), op, &x, 3, 1, "SAME");
                    parts.push(g.tower(&under("tower_2"), &[torch("branch_pool")], &y, false));
                }
            }
            x = g.join(&name, &parts);
        }
        g.pool("pool_3", "AvgPool", &x, 8, 1, "VALID");
        let (shape, values) = g.weights("fc.weight");
        let turned: Vec<f32> = (0..shape[1])
            .flat_map(|j| (0..shape[0]).map(move |i| (i, j)))
            .map(|(i, j)| values[i * 2048 + j])
            .collect();
        let value = floats(&[shape[1], shape[0]], &turned);
        g.node("softmax/weights", "Const", &[], &[("value", value)]);
        g.node("softmax/logits/MatMul", "MatMul", &["pool_3/_reshape", "softmax/weights"], &[]);
        g
    }

    fn save(&self, folder: &TempDir) -> PathBuf {
        let path = folder.path().join("graph.pb");
        std::fs::write(&path, &self.bytes.0).unwrap();
        path
    }
}

/// Fed as pytorch-fid feeds it, the graph gives the golden features and logits.
#[test]
fn as_the_golden_network() {
    let folder = tempfile::tempdir().unwrap();
    let path = Graph::inception(true, 127.5, 1.0 / 127.5).save(&folder);
    let inception = Inception::load(&path).unwrap();
    assert_eq!(inception.variant(), Variant::Adm);
    let device = Device::Cpu(Arc::new(Cpu::new(0).unwrap()));
    let workspace = device.workspace(None);
    let e = Eager::new(&device, &workspace);
    let judged = inception.judge(&e, &pictures()).unwrap();
    compare("inception_pool3", &judged.features);
    compare("inception_logits_without_bias", &judged.logits);
    let torch = Inception::open(&formula("fid_inception_v3")).unwrap();
    assert_eq!(torch.variant(), Variant::PytorchFid);
    near(&judged.spatial, &torch.judge(&e, &pictures()).unwrap().spatial);
}

/// Fed as ADM feeds it: what pytorch-fid's network gives of pictures that were resized by corners and scaled beforehand.
#[test]
fn as_adm_feeds_it() {
    let folder = tempfile::tempdir().unwrap();
    let inception = Inception::load(Graph::inception(false, 128.0, 1.0 / 128.0).save(&folder)).unwrap();
    let device = Device::Cpu(Arc::new(Cpu::new(0).unwrap()));
    let workspace = device.workspace(None);
    let e = Eager::new(&device, &workspace);
    let judged = inception.judge(&e, &pictures()).unwrap();
    let op = ResizeBilinear { to: [299; 2], grid: Grid::Corners };
    let [mut resized] = e.run(&op, &[&pictures()]).unwrap();
    resized.data_mut::<f32>().unwrap().iter_mut().for_each(|v| *v = (*v * 127.5 + 127.5 - 128.0) / 128.0);
    let torch = Inception::open(&formula("fid_inception_v3")).unwrap();
    let wanted = torch.judge(&e, &resized).unwrap();
    // The formula's network tells pictures apart but little: what is right is far nearer than the other way of feeding.
    let otherwise = torch.judge(&e, &pictures()).unwrap();
    for (found, wanted, other) in [
        (&judged.features, &wanted.features, &otherwise.features),
        (&judged.spatial, &wanted.spatial, &otherwise.spatial),
        (&judged.logits, &wanted.logits, &otherwise.logits),
    ] {
        let (near, apart) = (distance(found, wanted), distance(found, other));
        println!("{near:.1e}, the other way {apart:.1e}");
        assert!(near < 2e-6 && apart > 4.0 * near, "{near:e} {apart:e}");
    }
}

fn distance(a: &Tensor, b: &Tensor) -> f64 {
    let (a, b) = (a.data::<f32>().unwrap(), b.data::<f32>().unwrap());
    assert_eq!(a.len(), b.len());
    let error: f64 = a.iter().zip(b).map(|(a, b)| f64::from(a - b).powi(2)).sum();
    (error / b.iter().map(|b| f64::from(*b).powi(2)).sum::<f64>()).sqrt()
}

#[track_caller]
fn near(a: &Tensor, b: &Tensor) {
    assert!(distance(a, b) < 5e-5, "{:e}", distance(a, b));
}

#[test]
fn other_graphs_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let said = |build: &dyn Fn(&mut Graph)| {
        let mut g = Graph { bytes: Message::default(), manifest: Manifest::read("fid_inception_v3") };
        build(&mut g);
        match Inception::load(g.save(&folder)) {
            Ok(_) => panic!("it was taken"),
            Err(e) => e.message().to_string(),
        }
    };
    let start = |g: &mut Graph| {
        g.node("ExpandDims", "ExpandDims", &[], &[]);
    };
    assert!(said(&|_| {}).contains("no node ExpandDims: this is not the Inception graph"));
    assert!(said(&|g| g.bytes.0.extend([0x0A, 0xFF, 0x01])).contains("no TensorFlow graph"));
    assert!(said(&start).contains("no node pool_3"));
    let with = |op: &'static str, inputs: &'static [&'static str]| {
        said(&move |g| {
            start(g);
            g.node("pool_3", op, inputs, &[]);
        })
    };
    assert!(with("Where", &["ExpandDims"]).contains("node pool_3: an operation Where"));
    assert!(with("Relu", &["pool_3"]).contains("goes round"));
    assert!(with("Relu", &[]).contains("input 0 is missing"));
    assert!(with("Relu", &["nothing"]).contains("no node nothing"));
    assert!(with("MaxPool", &["ExpandDims"]).contains("no ksize of four numbers"));
    let pooled = |side, stride, padding: &'static str| {
        said(&move |g| {
            start(g);
            g.pool("pool_3", "AvgPool", "ExpandDims", side, stride, padding);
        })
    };
    assert!(pooled(3, 2, "SAME").contains("padding \"SAME\" of a kernel [3, 3], stride 2"));
    assert!(pooled(3, 1, "EXPLICIT").contains("EXPLICIT"));
    assert!(pooled(0, 1, "VALID").contains("windows [1, 0, 0, 1]"));
    let multiplied = |value: Message| {
        said(&move |g| {
            start(g);
            g.node("y", "Const", &[], &[("value", value.clone())]);
            g.node("pool_3", "Mul", &["ExpandDims", "y"], &[]);
        })
    };
    assert!(multiplied(floats(&[3], &[1.0; 3])).contains("a constant [3], expected []"));
    assert!(multiplied(floats(&[], &[])).contains("has 0 values"));
    assert!(multiplied(floats(&[], &[1.0, 2.0])).contains("a constant of 1 elements has 8 bytes"));
    assert!(multiplied(constant(7, &[], |t| t)).contains("a constant of type 7"));
    assert!(multiplied(constant(1, &[usize::MAX], |t| t)).contains("a constant of no size"));
}
