//! A whole training step of the published tokenizers, batch of two: every loss, every gradient, the weights after it.

use crate::teachers::{formula, pictures};
use crate::{common, device};
use fqgan::teachers::{Lpips, Teacher};
use fqgan::tensor::Tensor;
use fqgan::train::{Recipe, Report, Teachers, TokenizerNetwork, Trainer};
use fqgan::weights::{Map, Source};
use std::collections::BTreeMap;

/// Relative error of a loss.
const LOSS: f64 = 1e-4;
/// Relative error of a gradient's length; and what of the whole gradient's length no error needs to fall below.
const NORM: f64 = 1e-3;
const FLOOR: f64 = 1e-6;
/// Rate of the optimiser: no weight moves further than that in the first step.
const RATE: f64 = 2e-4;

/// Numbers of a step of the authors' implementation.
pub struct Golden {
    pub source: Source,
    losses: serde_json::Value,
}

impl Golden {
    pub fn open(name: &str) -> Golden {
        let source = Source::open(common::golden(&format!("{name}.safetensors")), Map::On).unwrap();
        let losses = source.metadata("losses").map(|text| serde_json::from_str(text).unwrap());
        Golden { source, losses: losses.unwrap_or_default() }
    }

    fn floats(&self, name: &str) -> Vec<f64> {
        let tensor = self.source.tensor(name).unwrap();
        tensor.data::<f32>().unwrap().iter().map(|&x| f64::from(x)).collect()
    }

    fn losses(&self, report: &Report) {
        for (name, want) in self.losses.as_object().unwrap() {
            let Some(want) = want.as_f64() else { continue };
            let got = report.get(name).unwrap_or_else(|| panic!("no {name}"));
            let error = (got - want).abs() / want.abs();
            println!("{name}: {got:.6}, {error:.1e}");
            let bound = if name.ends_with("grad_norm") { NORM } else { LOSS };
            assert!(error <= bound, "{name}: {got}, expected {want}");
        }
    }

    /// Lengths, and entries at 0, n/3, n/2 and n-1.
    pub fn gradients(&self, prefix: &str, gradients: &BTreeMap<String, Tensor>, whole: f64) {
        let (mut worst, mut worst_entry) = ((0.0, ""), (0.0, ""));
        let mut names = 0;
        for name in self.source.names().filter_map(|n| n.strip_prefix(prefix)) {
            if prefix == "grad." && name.starts_with("discriminator.") {
                continue;
            }
            names += 1;
            let want = self.floats(&format!("{prefix}{name}"));
            let gradient = gradients.get(name).unwrap_or_else(|| panic!("no gradient of {name}"));
            let gradient = gradient.on_host().unwrap();
            let g = gradient.data::<f32>().unwrap();
            let norm = g.iter().map(|&x| f64::from(x) * f64::from(x)).sum::<f64>().sqrt();
            let error = (norm - want[0]).abs() / want[0].max(FLOOR * whole);
            worst = if error > worst.0 { (error, name) } else { worst };
            let n = g.len();
            for (at, want_entry) in [0, n / 3, n / 2, n - 1].into_iter().zip(&want[1..]) {
                // An entry is a part of the whole tensor's gradient, and as exact as that.
                let scale = (want[0] / (n as f64).sqrt()).max(want_entry.abs()).max(FLOOR * whole);
                let error = (f64::from(g[at]) - want_entry).abs() / scale;
                worst_entry = if error > worst_entry.0 { (error, name) } else { worst_entry };
            }
        }
        println!(
            "{names} gradients: lengths {:.1e} ({}), entries {:.1e} ({})",
            worst.0, worst.1, worst_entry.0, worst_entry.1
        );
        assert_eq!(names, gradients.len());
        assert!(worst.0 <= NORM, "{}: {:.2e}", worst.1, worst.0);
        assert!(worst_entry.0 <= 10.0 * NORM, "{}: {:.2e}", worst_entry.1, worst_entry.0);
    }
}

fn check(name: &str, recipe: &str, towers: &[&str]) {
    let golden = Golden::open(&format!("train_step_{name}"));
    let path = common::root().join("recipes").join(recipe);
    let recipe = Recipe::parse(&std::fs::read_to_string(path).unwrap(), &[]).unwrap();
    let (weights, discriminator) = (formula(&format!("tokenizer_{name}")), formula("patchgan_discriminator"));
    let lpips = formula("lpips_vgg16");
    let tower = |name: &&str| (name.to_string(), Teacher::open(&formula(name)).unwrap());
    let teachers = Teachers {
        lpips: Some(Lpips::open(&lpips, &lpips).unwrap()),
        towers: towers.iter().map(tower).collect(),
    };
    let network = TokenizerNetwork::open(&recipe, &weights, Some(&discriminator), teachers).unwrap();
    let mut trainer = Trainer::new(&recipe, &device(), network, &weights, Some(&discriminator)).unwrap();

    let began = std::time::Instant::now();
    let (report, gradients) = trainer.gradients(&pictures(), Some(recipe.adversarial.weight)).unwrap();
    println!("{name}: {:.1} s", began.elapsed().as_secs_f64());
    golden.losses(&report);
    let whole = report.get("grad_norm").unwrap();
    golden.gradients("grad.", &gradients.generator, whole);
    let whole = report.get("discriminator_grad_norm").unwrap();
    golden.gradients("grad.discriminator.", &gradients.discriminator, whole);

    let host = |(name, t): (&String, &Tensor)| (name.clone(), t.on_host().unwrap());
    let before: BTreeMap<String, Tensor> = trainer.state.weights.iter().map(host).collect();
    trainer.apply(gradients, &report).unwrap();
    for name in golden.source.names().filter_map(|n| n.strip_prefix("after_step.")) {
        let want = golden.floats(&format!("after_step.{name}"));
        let after = trainer.state.weights[name].on_host().unwrap();
        let after = after.data::<f32>().unwrap();
        let before = before[name].data::<f32>().unwrap();
        for (i, want) in want.iter().enumerate() {
            let error = (f64::from(after[i]) - want).abs();
            assert!(error <= 2e-3 * RATE + 6e-8 * want.abs(), "{name}[{i}]: {}, expected {want}", after[i]);
        }
        assert!(after.iter().zip(before).any(|(a, b)| a != b), "{name} stayed where it was");
    }
}

#[test]
fn dual_f16() {
    check("dual_vq16", "tokenizer-dual-f16.toml", &["clip_l14"]);
}

#[test]
fn triple_f16() {
    check("triple_vq16", "tokenizer-triple-f16.toml", &["dinov2_s", "clip_b16"]);
}

/// Factors of bf16: the losses within a percent of those of f32 (`disentangle` within five), and the whole gradient in nearly the same direction. Codes
/// whose latents lie between two may be others.
#[test]
fn rounded_factors() {
    let weights = formula("tokenizer_dual_vq16");
    let device = device();
    let run = |precision: &str| {
        let more = ["loss.perceptual_weight=0.0".to_string(), format!("precision={precision}")];
        let recipe = Recipe::parse("", &more).unwrap();
        let network = TokenizerNetwork::open(&recipe, &weights, None, Teachers::default()).unwrap();
        let mut trainer = Trainer::new(&recipe, &device, network, &weights, None).unwrap();
        trainer.gradients(&pictures(), None).unwrap()
    };
    let ((exact, of_exact), (report, gradients)) = (run("f32"), run("bf16"));
    for scalar in exact.scalars.iter().filter(|s| !s.name.ends_with("grad_norm")) {
        let got = report.get(&scalar.name).unwrap();
        println!("{}: {got:.6}, in f32 {:.6}", scalar.name, scalar.value);
        // One other code of 512 may change the mean square of so few products by a percent or two.
        let bound = if scalar.name == "disentangle" { 5e-2 } else { 1e-2 };
        assert!((got - scalar.value).abs() <= bound * scalar.value.abs(), "{}", scalar.name);
    }
    let (mut dot, mut squares) = (0.0, [0.0; 2]);
    for (name, a) in &of_exact.generator {
        let (a, b) = (a.on_host().unwrap(), gradients.generator[name].on_host().unwrap());
        let b = b.data::<f32>().unwrap();
        for (a, b) in a.data::<f32>().unwrap().iter().zip(b) {
            let (a, b) = (f64::from(*a), f64::from(*b));
            dot += a * b;
            squares = [squares[0] + a * a, squares[1] + b * b];
        }
    }
    let cosine = dot / (squares[0] * squares[1]).sqrt();
    println!("cosine of the gradients {cosine:.5}, lengths {:.5} to 1", (squares[1] / squares[0]).sqrt());
    assert!(cosine > 0.99);
}
