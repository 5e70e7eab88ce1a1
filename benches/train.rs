//! Times a training step: `cargo bench --bench train -- [--recipe NAME] [--set KEY=VALUE] [--batch N] [--threads N]
//! [--runs N]`.
//!
//! Fresh weights, no teachers, no perceptual term, no discriminator: what the peer's script does too. Prints the time of
//! each step, the share of arithmetic, and the peak of resident memory. With `--serve` it answers each line with the
//! milliseconds of a step, so that a script can alternate with a peer in one run.

use fqgan::backend::{Device, cpu::Cpu};
use fqgan::tensor::Tensor;
use fqgan::train::{Recipe, Teachers, TokenizerNetwork, Trainer, init};
use std::collections::BTreeMap;
use std::io::{BufRead, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

fn main() {
    let (mut name, mut overrides) = ("tokenizer-dual-f16".to_string(), Vec::new());
    let (mut batch, mut threads, mut runs, mut serve) = (2, 0, 4, false);
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut value = || words.next().unwrap_or_else(|| panic!("{word} wants a value"));
        match word.as_str() {
            "--recipe" => name = value(),
            "--set" => overrides.push(value()),
            "--batch" => batch = value().parse().expect("a batch size"),
            "--threads" => threads = value().parse().expect("a number of threads"),
            "--runs" => runs = value().parse().expect("a number of runs"),
            "--serve" => serve = true,
            "--bench" => {}
            other => panic!("unknown argument {other}"),
        }
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("recipes/{name}.toml"));
    overrides.push("loss.perceptual_weight=0.0".into());
    let text = std::fs::read_to_string(path).expect("a recipe");
    let mut recipe = Recipe::parse(&text, &overrides).unwrap_or_else(|e| panic!("{e}"));
    recipe.loss.semantic.clear();

    let device = Device::Cpu(Arc::new(Cpu::new(threads).unwrap_or_else(|e| panic!("{e}"))));
    let weights = init::tokenizer(&recipe, &BTreeMap::new(), 1).unwrap_or_else(|e| panic!("{e}"));
    let network = TokenizerNetwork::open(&recipe, &weights, None, Teachers::default());
    let network = network.unwrap_or_else(|e| panic!("{e}"));
    let mut trainer =
        Trainer::new(&recipe, &device, network, &weights, None).unwrap_or_else(|e| panic!("{e}"));
    drop(weights);
    let side = recipe.model.image_size;
    let pixels: Vec<f32> =
        (0..batch * side * side * 3).map(|i| ((i * 37 % 997) as f32 / 498.5 - 1.0) * 0.7).collect();
    let pictures = Tensor::from_slice([batch, side, side, 3], &pixels).unwrap_or_else(|e| panic!("{e}"));
    let mut step = || {
        let began = Instant::now();
        let report = trainer.step(&pictures).unwrap_or_else(|e| panic!("{e}"));
        assert!(report.broken().is_none(), "{:?}", report.broken());
        1e3 * began.elapsed().as_secs_f64()
    };
    if serve {
        for line in std::io::stdin().lock().lines() {
            if line.is_ok_and(|l| !l.trim().is_empty()) {
                println!("{:.3}", step());
                std::io::stdout().flush().expect("stdout");
            }
        }
        return;
    }
    for run in 0..runs {
        println!("step {run}: {:.0} ms, resident {}", step(), status("VmRSS:"));
    }
    println!("peak of resident memory: {}", status("VmHWM:"));
}

/// A line of what Linux knows of this process.
fn status(field: &str) -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(field));
    line.unwrap_or("unknown").trim().to_string()
}
