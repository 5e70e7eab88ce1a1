//! Inception as a frozen TensorFlow graph (`classify_image_graph_def.pb`): what the graph says is computed, from where
//! ADM's evaluation feeds pictures in to where it takes features out. Names are known of these places alone.

mod constant;
mod proto;

use super::Inception;
use super::network::{Network, Step};
use crate::error::{Context, Error, Result};
use crate::nn::{Conv2d, Linear, Numerics, Params};
use crate::ops::resize_bilinear::{Grid, ResizeBilinear};
use crate::ops::window::Window;
use crate::teachers::preprocess::Colours;
use crate::tensor::Tensor;
use crate::weights::Source;
use constant::Constant;
use prost::Message;
use proto::Node;
use std::collections::{BTreeMap, HashMap};
use std::path::Path;

/// Where pictures (n, H, W, 3) of bytes go in.
const PICTURES: &str = "ExpandDims";
const FEATURES: &str = "pool_3";
const SPATIAL: &str = "mixed_6/conv";
/// The product whose second factor the classes' weights are.
const CLASSES: &str = "softmax/logits/MatMul";

/// More steps than a graph like this has lie between two places: it goes round.
const DEEPEST: usize = 10_000;

/// The network, the classes, and a CRC-32 of the file.
pub fn open(path: &Path) -> Result<(Network, Linear, u32)> {
    let bytes = std::fs::read(path).map_err(|e| Error::io(format_args!("reading {}", path.display()), &e))?;
    let graph = proto::Graph::decode(&bytes[..])
        .map_err(|e| Error::format(format!("{}: no TensorFlow graph: {e}", path.display())))?;
    read(&graph).map(|(n, c)| (n, c, crc32fast::hash(&bytes))).context(|| path.display())
}

fn read(graph: &proto::Graph) -> Result<(Network, Linear)> {
    let nodes: HashMap<&str, &Node> = graph.node.iter().map(|node| (node.name.as_str(), node)).collect();
    let colours = Colours::affine([127.5; 3], [127.5; 3])?;
    let mut network = Network::default();
    let bytes = network.add(Step::Colours(Box::new(colours)), &[Network::PICTURES]);
    let mut reading = Reading { nodes, network, made: HashMap::from([(PICTURES.to_string(), bytes)]) };
    reading.node(PICTURES)?;
    let (features, spatial) = (reading.value(FEATURES)?, reading.value(SPATIAL)?);
    let product = reading.node(CLASSES)?;
    let weights = reading.input(product, 1)?.to_string();
    let (shape, values) = reading
        .constant(&weights)?
        .floats(&[Some(Inception::WIDTH), Some(Inception::CLASSES)])
        .context(|| &weights)?;
    let turned = transposed(&values, shape[0], shape[1]);
    let source = one("weight", &[shape[1], shape[0]], &turned)?;
    let at = Params::new(&source, Numerics::default());
    let classes = Linear::without_bias(&at, Inception::WIDTH, Inception::CLASSES)?;
    let mut network = reading.network;
    (network.features, network.spatial) = (features, spatial);
    Ok((network, classes))
}

struct Reading<'a> {
    nodes: HashMap<&'a str, &'a Node>,
    network: Network,
    /// The values of nodes that were read.
    made: HashMap<String, usize>,
}

impl<'a> Reading<'a> {
    fn node(&self, name: &str) -> Result<&'a Node> {
        self.nodes.get(name).copied().ok_or_else(|| {
            Error::format(format!("no node {name}: this is not the Inception graph of 2015-12-05"))
        })
    }

    /// The name of a node's input; what only orders the work does not count.
    fn input(&self, node: &'a Node, number: usize) -> Result<&'a str> {
        let mut all = node.input.iter().filter(|name| !name.starts_with('^'));
        let name = all
            .nth(number)
            .ok_or_else(|| Error::format(format!("node {}: input {number} is missing", node.name)))?;
        Ok(name.strip_suffix(":0").unwrap_or(name))
    }

    /// The first node at or before `name` that does something.
    fn busy(&self, name: &'a str) -> Result<&'a Node> {
        let mut node = self.node(name)?;
        for _ in 0..DEEPEST {
            if !matches!(node.op.as_str(), "Identity" | "CheckNumerics") {
                return Ok(node);
            }
            node = self.node(self.input(node, 0)?)?;
        }
        Err(Error::format(format!("node {name}: goes round")))
    }

    fn constant(&self, name: &str) -> Result<Constant> {
        let node = self.busy(self.node(name)?.name.as_str())?;
        let value = node.attr.get("value").and_then(|v| v.tensor.as_ref());
        match value {
            Some(tensor) if node.op == "Const" => Constant::read(tensor).context(|| name),
            _ => Err(Error::format(format!("node {name} is a {}, expected a constant", node.op))),
        }
    }

    /// The number of what a node makes: all that it needs is read first.
    fn value(&mut self, name: &str) -> Result<usize> {
        let mut open = vec![self.node(name)?.name.as_str()];
        while let Some(&name) = open.last() {
            if self.made.contains_key(name) {
                open.pop();
                continue;
            }
            let node = self.node(name)?;
            let wanted = self.wanted(node)?;
            let missing = wanted.iter().find(|input| !self.made.contains_key(**input));
            match missing {
                Some(input) if open.len() < DEEPEST => open.push(input),
                Some(_) => return Err(Error::format(format!("node {name}: goes round"))),
                None => {
                    let inputs: Vec<usize> = wanted.iter().map(|input| self.made[*input]).collect();
                    let value = self.read(node, &inputs).context(|| format!("node {name}"))?;
                    self.made.insert(name.to_string(), value);
                }
            }
        }
        Ok(self.made[name])
    }

    /// The inputs of a node that are no constants.
    fn wanted(&self, node: &'a Node) -> Result<Vec<&'a str>> {
        let count = node.input.iter().filter(|name| !name.starts_with('^')).count();
        match node.op.as_str() {
            "Concat" => (1..count).map(|i| self.input(node, i)).collect(),
            // Read with the convolution before it.
            "BatchNormWithGlobalNormalization" => {
                let before = self.busy(self.input(node, 0)?)?;
                Ok(vec![self.input(before, 0)?])
            }
            _ => Ok(vec![self.input(node, 0)?]),
        }
    }

    fn read(&mut self, node: &'a Node, inputs: &[usize]) -> Result<usize> {
        let step = match node.op.as_str() {
            "Identity" | "CheckNumerics" => return Ok(inputs[0]),
            "Relu" => Step::Relu,
            "MaxPool" => Step::Largest(window(node)?),
            "AvgPool" => Step::Mean(window(node)?),
            "Conv2D" => Step::Conv(Box::new(self.convolution(node, None)?)),
            "BatchNormWithGlobalNormalization" => {
                let before = self.busy(self.input(node, 0)?)?;
                Step::Conv(Box::new(self.convolution(before, Some(node))?))
            }
            "Concat" => match self.constant(self.input(node, 0)?)?.numbers()?[..] {
                [3] => Step::Concat,
                ref other => return Err(Error::unsupported(format!("side by side along {other:?}"))),
            },
            "ResizeBilinear" => {
                let flag = |name: &str| node.attr.get(name).and_then(|v| v.b) == Some(true);
                let to = match self.constant(self.input(node, 1)?)?.numbers()?[..] {
                    [rows @ 1..=4096, columns @ 1..=4096] => [rows as usize, columns as usize],
                    ref other => return Err(Error::unsupported(format!("pictures of {other:?}"))),
                };
                if flag("align_corners") {
                    return Err(Error::unsupported("align_corners"));
                }
                let grid = if flag("half_pixel_centers") { Grid::Centres } else { Grid::Corners };
                Step::Resize(ResizeBilinear { to, grid })
            }
            "Sub" | "Mul" => {
                let (_, values) = self.constant(self.input(node, 1)?)?.floats(&[])?;
                let value = f64::from(values[0]);
                let (scale, shift) = if node.op == "Sub" { (1.0, -value) } else { (value, 0.0) };
                Step::Colours(Box::new(Colours::affine([scale; 3], [shift; 3])?))
            }
            other => {
                return Err(Error::unsupported(format!("an operation {other}, which Inception has not")));
            }
        };
        Ok(self.network.add(step, inputs))
    }

    /// A convolution, and the norm after it in its weights.
    fn convolution(&self, node: &'a Node, norm: Option<&'a Node>) -> Result<Conv2d> {
        if node.op != "Conv2D" {
            return Err(Error::unsupported(format!("a norm after {}", node.op)));
        }
        let (shape, values) = self.constant(self.input(node, 1)?)?.floats(&[None; 4])?;
        let [rows, columns, from, to] = [0, 1, 2, 3].map(|axis| shape[axis]);
        if values.is_empty() {
            return Err(Error::format(format!("weights {shape:?}")));
        }
        let (mut scale, mut bias) = (vec![1.0; to], vec![0.0; to]);
        if let Some(norm) = norm {
            let read = |number: usize| -> Result<Vec<f32>> {
                Ok(self.constant(self.input(norm, number)?)?.floats(&[Some(to)])?.1)
            };
            let epsilon = norm.attr.get("variance_epsilon").and_then(|v| v.f);
            let epsilon = f64::from(epsilon.ok_or_else(|| Error::format("no variance_epsilon"))?);
            let gains = norm.attr.get("scale_after_normalization").and_then(|v| v.b) == Some(true);
            let (mean, variance, beta) = (read(1)?, read(2)?, read(3)?);
            let gamma = if gains { read(4)? } else { vec![1.0; to] };
            for i in 0..to {
                scale[i] = f64::from(gamma[i]) / (f64::from(variance[i]) + epsilon).sqrt();
                bias[i] = (f64::from(beta[i]) - f64::from(mean[i]) * scale[i]) as f32;
            }
        }
        // (rows, columns, from, to) to (to, from, rows, columns).
        let turned = transposed(&values, rows * columns * from, to);
        let mut weight = Vec::with_capacity(values.len());
        for (row, scale) in turned.chunks_exact(rows * columns * from).zip(&scale) {
            for value in transposed(row, rows * columns, from) {
                weight.push((f64::from(value) * scale) as f32);
            }
        }
        let shape = [to, from, rows, columns];
        let tensors = [
            ("weight".to_string(), Tensor::from_slice(shape, &weight)?),
            ("bias".to_string(), Tensor::from_slice([to], &bias)?),
        ];
        let source = Source::from_tensors(tensors, BTreeMap::new());
        let at = Params::new(&source, Numerics::default());
        let stride = stride(node)?;
        let padding = padding(node, [rows, columns], stride)?;
        Conv2d::window(&at, [from, to], [rows, columns], stride, padding, true)
    }
}

/// A tensor alone, as if it stood in a file.
fn one(name: &str, shape: &[usize; 2], values: &[f32]) -> Result<Source> {
    let tensor = Tensor::from_slice(*shape, values)?;
    Ok(Source::from_tensors([(name.to_string(), tensor)], BTreeMap::new()))
}

/// Rows and columns exchanged.
fn transposed(values: &[f32], rows: usize, columns: usize) -> Vec<f32> {
    (0..columns).flat_map(|column| (0..rows).map(move |row| values[row * columns + column])).collect()
}

fn list(node: &Node, name: &str) -> Result<[i64; 4]> {
    let list = node.attr.get(name).and_then(|v| v.list.as_ref()).map(|list| list.i.as_slice());
    list.and_then(|list| list.try_into().ok())
        .ok_or_else(|| Error::format(format!("no {name} of four numbers")))
}

fn stride(node: &Node) -> Result<usize> {
    match list(node, "strides")? {
        [1, y @ 1..=64, x, 1] if y == x => Ok(y as usize),
        other => Err(Error::unsupported(format!("strides {other:?}"))),
    }
}

/// Rows above and columns left of the picture that a kernel may reach; as many are below and right.
fn padding(node: &Node, kernel: [usize; 2], stride: usize) -> Result<[usize; 2]> {
    match node.attr.get("padding").and_then(|v| v.s.as_deref()) {
        Some(b"VALID") => Ok([0, 0]),
        // Else there is more on one side, by the picture's size.
        Some(b"SAME") if stride == 1 && kernel.iter().all(|side| side % 2 == 1) => Ok(kernel.map(|k| k / 2)),
        other => Err(Error::unsupported(format!(
            "padding {:?} of a kernel {kernel:?}, stride {stride}",
            String::from_utf8_lossy(other.unwrap_or_default())
        ))),
    }
}

fn window(node: &Node) -> Result<Window> {
    let side = match list(node, "ksize")? {
        [1, y @ 1..=64, x, 1] if y == x => y as usize,
        other => return Err(Error::unsupported(format!("windows {other:?}"))),
    };
    let stride = stride(node)?;
    Ok(Window { side, stride, padding: padding(node, [side; 2], stride)?[0] })
}
