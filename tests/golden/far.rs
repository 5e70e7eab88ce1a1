//! The golden cases of FAR: inputs and outputs of the authors' implementation on formula weights.

use crate::{bound, common, devices};
use fqgan::backend::Device;
use fqgan::backend::cpu::Isa;
use fqgan::far::{Generator, Options, Sampling};
use fqgan::nn::Precision;
use fqgan::weights::{Map, Source};

/// A golden file.
pub struct Golden {
    pub file: Source,
}

impl Golden {
    pub fn open(name: &str) -> Golden {
        let path = common::golden(&format!("{name}.safetensors"));
        Golden { file: Source::open(path, Map::On).unwrap() }
    }

    pub fn k(&self) -> usize {
        (1..).take_while(|i| self.file.contains(&format!("idx_{i}"))).count()
    }

    pub fn numbers(&self, name: &str) -> Vec<u32> {
        let tensor = self.file.tensor(name).unwrap();
        tensor.data::<i32>().unwrap().iter().map(|&v| v as u32).collect()
    }

    pub fn string(&self, name: &str) -> &str {
        self.file.metadata(name).unwrap()
    }

    /// `NAME_1`..`NAME_k`, each (count, steps), as (count, k, positions); zeros after the steps.
    pub fn codes(&self, name: &str, count: usize, positions: usize) -> Vec<u32> {
        let k = self.k();
        let mut codes = vec![0; count * k * positions];
        for i in 0..k {
            let of_book = self.numbers(&format!("{name}_{}", i + 1));
            for (image, row) in of_book.chunks_exact(of_book.len() / count).enumerate() {
                codes[(image * k + i) * positions..][..row.len()].copy_from_slice(row);
            }
        }
        codes
    }
}

/// Formula weights of a generator on a grid of that side.
pub fn source(name: &str, side: usize) -> Source {
    let mut source = Source::open(common::formula_file(name), Map::On).unwrap();
    if side != 16 {
        // The file has no strings, and shapes do not tell the grid.
        let tensors = source.names().map(|n| (n.to_owned(), source.tensor(n).unwrap())).collect::<Vec<_>>();
        let strings = [("fqgan.grid_width", side), ("fqgan.grid_height", side)];
        source = Source::from_tensors(tensors, strings.map(|(k, v)| (k.into(), v.to_string())).into());
    }
    source
}

fn open(name: &str, device: &Device, side: usize, precision: Precision) -> Generator {
    let source = source(name, side);
    Generator::open(device, &source, &Options { precision, ..Options::default() }).unwrap()
}

fn relative(got: &[f32], want: &[f32]) -> f64 {
    let (mut error, mut norm) = (0.0, 0.0);
    for (&g, &w) in got.iter().zip(want) {
        error += (f64::from(g) - f64::from(w)).powi(2);
        norm += f64::from(w).powi(2);
    }
    (error / norm).sqrt()
}

/// Logits, loss and greedy codes of a case at every instruction level of `levels`.
fn check(name: &str, side: usize, levels: impl Iterator<Item = Isa>) {
    let golden = Golden::open(name);
    let (k, positions) = (golden.k(), side * side);
    let classes = golden.numbers("class");
    let codes = golden.codes("idx", classes.len(), positions);
    for device in devices(levels, 2) {
        let generator = open(name, &device, side, Precision::F32);
        let n = generator.config().codebook_size;
        assert_eq!((generator.config().codebooks, generator.config().positions()), (k, positions));

        let mut logits = vec![0.0; codes.len() * n];
        generator.logits_into(&classes, &codes, &mut logits).unwrap();
        let stride: Vec<usize> = golden
            .string("logits_stride")
            .trim_matches(['[', ']'])
            .split(", ")
            .map(|v| v.parse().unwrap())
            .collect();
        for i in 0..k {
            let want = golden.file.tensor(&format!("logits_{}", i + 1)).unwrap();
            let mut got = Vec::new();
            for image in 0..classes.len() {
                for position in (0..positions).step_by(stride[0]) {
                    let row = &logits[((image * k + i) * positions + position) * n..][..n];
                    got.extend(row.iter().step_by(stride[1]));
                }
            }
            assert_eq!(got.len(), want.shape().count());
            let error = relative(&got, want.data().unwrap());
            println!("{name} on {device}: logits {} off by {error:.2e}", i + 1);
            let bound = bound(&device, 5e-6);
            assert!(error < bound, "{name} on {device}: logits {} off by {error:.2e}", i + 1);
        }
        if positions < 256 {
            let mut cached = vec![0.0; logits.len()];
            generator.cached_logits_into(&classes, &codes, &mut cached).unwrap();
            let error = relative(&cached, &logits);
            let bound = bound(&device, 1e-5);
            assert!(error < bound, "{name} on {device}: cached logits off by {error:.2e}");
        }
        drop(logits);

        let mut nats = vec![0.0; codes.len()];
        generator.surprise_into(&classes, &codes, &mut nats).unwrap();
        // A mean over sub-codes of means over positions.
        let loss = nats.iter().map(|&v| f64::from(v)).sum::<f64>() / nats.len() as f64;
        let want: f64 = golden.string("loss").parse().unwrap();
        println!("{name} on {device}: loss {loss}, {want}");
        assert!((loss / want - 1.0).abs() < 1e-6, "{name} on {device}: loss {loss}, not {want}");

        let classes = golden.numbers("greedy_class");
        let steps: usize = golden.string("greedy_steps").parse().unwrap();
        let guidance: f32 = golden.string("cfg_scale").parse().unwrap();
        let sampling = Sampling { guidance, top_k: 1, steps, ..Sampling::default() };
        let made = generator.generate(&classes, &sampling).unwrap();
        assert_eq!(
            made.data(),
            golden.codes("greedy", classes.len(), positions),
            "{name} on {device}: greedy codes"
        );
    }
}

#[test]
fn tiny_dual() {
    check("far_tiny_dual", 8, Isa::available());
}

#[test]
fn tiny_triple() {
    check("far_tiny_triple", 8, Isa::available());
}

#[test]
fn b_dual() {
    check("far_b_dual", 16, std::iter::once(Isa::best()));
}

#[test]
fn b_triple() {
    check("far_b_triple", 16, std::iter::once(Isa::best()));
}

/// Mean cross entropy of the golden codes.
fn loss(generator: &Generator, golden: &Golden) -> f64 {
    let classes = golden.numbers("class");
    let codes = golden.codes("idx", classes.len(), generator.config().positions());
    let mut nats = vec![0.0; codes.len()];
    generator.surprise_into(&classes, &codes, &mut nats).unwrap();
    nats.iter().map(|&v| f64::from(v)).sum::<f64>() / nats.len() as f64
}

/// Rounded weights: the cross entropy of the known codes stays within half a percent.
fn check_loss(name: &str, side: usize) {
    let golden = Golden::open(name);
    let want: f64 = golden.string("loss").parse().unwrap();
    for precision in [Precision::Bf16, Precision::Int8] {
        let device = devices([Isa::best()], 2).remove(0);
        let got = loss(&open(name, &device, side, precision), &golden);
        println!("{name} in {precision:?}: loss {got}, {want}: {:+.4} %", (got / want - 1.0) * 100.0);
        assert!((got / want - 1.0).abs() < 5e-3, "{name} in {precision:?}: loss {got}, not {want}");
    }
}

#[test]
fn rounded_b_dual() {
    check_loss("far_b_dual", 16);
}

#[test]
fn rounded_b_triple() {
    check_loss("far_b_triple", 16);
}

/// Rounded weights: 95 in a hundred of the greedy codes stay. Each follows the golden ones before it: a picture of
/// its own goes another way from the first difference on, so that nothing is left to compare.
#[test]
fn rounded_tiny() {
    for name in ["far_tiny_dual", "far_tiny_triple"] {
        check_loss(name, 8);
        let golden = Golden::open(name);
        let classes = golden.numbers("greedy_class");
        let want = golden.codes("greedy", classes.len(), 64);
        let guidance: f32 = golden.string("cfg_scale").parse().unwrap();
        for precision in [Precision::Bf16, Precision::Int8] {
            for device in devices(Isa::available(), 2) {
                let generator = open(name, &device, 8, precision);
                let n = generator.config().codebook_size;
                let mut logits = vec![vec![0.0f32; want.len() * n]; 2];
                generator.logits_into(&classes, &want, &mut logits[0]).unwrap();
                let null = vec![generator.config().classes as u32; classes.len()];
                generator.logits_into(&null, &want, &mut logits[1]).unwrap();
                let greedy = logits[0].chunks(n).zip(logits[1].chunks(n)).map(|(class, null)| {
                    let guided: Vec<f32> =
                        class.iter().zip(null).map(|(c, u)| u + guidance * (c - u)).collect();
                    (0..n).max_by(|&a, &b| guided[a].total_cmp(&guided[b])).unwrap() as u32
                });
                let same = greedy.zip(&want).filter(|(got, want)| got == *want).count();
                println!("{name} in {precision:?} on {device}: {same} of {} codes", want.len());
                assert!(
                    same * 100 >= want.len() * 95,
                    "{name} in {precision:?} on {device}: {same} of {} codes",
                    want.len()
                );
            }
        }
    }
}
