//! The teacher-forced pass as training records it, and its gradients, against the authors' implementation.

use crate::far::{Golden, source};
use crate::{devices, train_step};
use fqgan::backend::cpu::Isa;
use fqgan::far::{Generator, Noise, Options};
use fqgan::train::far::{FarRecipe, FarTrainer};

fn recipe(name: &str, k: usize, precision: &str) -> FarRecipe {
    let keys = [
        format!("precision={precision}"),
        format!("model.codebooks={k}"),
        "model.codebook_size=512".into(),
        "model.classes=10".into(),
        "model.grid=[8, 8]".into(),
        "model.layers=4".into(),
        "model.dim=256".into(),
        "model.heads=4".into(),
        "model.head_layers=2".into(),
    ];
    FarRecipe::parse("", &keys).unwrap_or_else(|e| panic!("{name}: {e}"))
}

/// (n, k, positions) to (n, positions, k).
fn turned(codes: &[u32], k: usize, positions: usize) -> Vec<u32> {
    let picture = |codes: &[u32]| -> Vec<u32> {
        (0..positions * k).map(|at| codes[at % k * positions + at / k]).collect()
    };
    codes.chunks_exact(k * positions).flat_map(picture).collect()
}

fn check(name: &str) {
    let golden = Golden::open(name);
    let k = golden.k();
    let (classes, codes) = (golden.numbers("class"), golden.codes("idx", 2, 64));
    let weights = source(name, 8);
    for device in devices(Isa::available(), 2) {
        let trainer = FarTrainer::new(&recipe(name, k, "f32"), &device, &weights).unwrap();
        let (report, gradients) =
            trainer.gradients(&classes, &turned(&codes, k, 64), &Noise::default()).unwrap();
        let (loss, want) = (report.get("total").unwrap(), golden.string("loss").parse::<f64>().unwrap());
        println!("{name} on {device}: loss {loss}, {want}");
        assert!((loss / want - 1.0).abs() < 1e-6, "{name} on {device}: loss {loss}, not {want}");
        let whole = report.get("grad_norm").unwrap();
        train_step::Golden::open(name).gradients("grad.", &gradients, whole);

        // The same numbers as inference gives, which goes by its cache and its fused operations.
        let generator = Generator::open(&device, &weights, &Options::default()).unwrap();
        let mut nats = vec![0.0; codes.len()];
        generator.surprise_into(&classes, &codes, &mut nats).unwrap();
        let surprise = trainer.surprise(&classes, &turned(&codes, k, 64)).unwrap();
        for (i, got) in surprise.iter().enumerate() {
            let of_code = nats.chunks_exact(64).skip(i).step_by(k).flatten();
            let want = of_code.map(|&x| f64::from(x)).sum::<f64>() / 128.0;
            assert!((got / want - 1.0).abs() < 1e-6, "{name} on {device}: {got}, not {want}");
        }
    }
}

#[test]
fn tiny_dual() {
    check("far_tiny_dual");
}

#[test]
fn tiny_triple() {
    check("far_tiny_triple");
}

/// Products of bf16: a loss within half a percent, and the whole gradient in nearly the same direction.
#[test]
fn rounded_factors() {
    for name in ["far_tiny_dual", "far_tiny_triple"] {
        let golden = Golden::open(name);
        let k = golden.k();
        let (classes, codes) = (golden.numbers("class"), turned(&golden.codes("idx", 2, 64), k, 64));
        let weights = source(name, 8);
        let device = devices([Isa::best()], 2).remove(0);
        let run = |precision: &str| {
            let trainer = FarTrainer::new(&recipe(name, k, precision), &device, &weights).unwrap();
            trainer.gradients(&classes, &codes, &Noise::default()).unwrap()
        };
        let ((exact, of_exact), (report, gradients)) = (run("f32"), run("bf16"));
        let (want, got) = (exact.get("total").unwrap(), report.get("total").unwrap());
        let (mut dot, mut squares) = (0.0, [0.0; 2]);
        for (name, a) in &of_exact {
            let (a, b) = (a.on_host().unwrap(), gradients[name].on_host().unwrap());
            for (a, b) in a.data::<f32>().unwrap().iter().zip(b.data::<f32>().unwrap()) {
                let (a, b) = (f64::from(*a), f64::from(*b));
                dot += a * b;
                squares = [squares[0] + a * a, squares[1] + b * b];
            }
        }
        let cosine = dot / (squares[0] * squares[1]).sqrt();
        println!("{name}: loss {got}, {want}; cosine of the gradients {cosine}");
        assert!((got / want - 1.0).abs() < 5e-3 && cosine > 0.995);
    }
}
