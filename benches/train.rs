//! Times a training step: `cargo bench --bench train -- [--recipe NAME] [--set KEY=VALUE] [--batch N] [--threads N]
//! [--runs N]`.
//!
//! Of a tokenizer: fresh weights, no teachers, no perceptual term, no discriminator. Of a generator: fresh weights, a
//! whole picture's codes, nothing dropped. What the peer's script does too. Prints the time of
//! each step, the share of arithmetic, and the peak of resident memory. With `--serve` it answers each line with the
//! milliseconds of a step, so that a script can alternate with a peer in one run. With `--profile` it prints what each
//! operation took in the last step, gradients under the name of what they are of.

use fqgan::Result;
use fqgan::backend::{Device, cpu::Cpu};
use fqgan::exec::profile;
use fqgan::tensor::Tensor;
use fqgan::train::far::{FarRecipe, FarTrainer};
use fqgan::train::{Recipe, Report, Teachers, TokenizerNetwork, Trainer, init};
use std::collections::BTreeMap;
use std::io::{BufRead, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

fn main() {
    let (mut name, mut overrides) = ("tokenizer-dual-f16".to_string(), Vec::new());
    let (mut batch, mut threads, mut runs) = (2, 0, 4);
    let (mut serve, mut profiled) = (false, false);
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
            "--profile" => profiled = true,
            "--bench" => {}
            other => panic!("unknown argument {other}"),
        }
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("recipes/{name}.toml"));
    let text = std::fs::read_to_string(path).expect("a recipe");
    let device = Device::Cpu(Arc::new(Cpu::new(threads).unwrap_or_else(|e| panic!("{e}"))));
    let made = match text.contains("kind = \"far\"") {
        true => generator(&text, &mut overrides, &device, batch),
        false => tokenizer(&text, &mut overrides, &device, batch),
    };
    let mut once = made.unwrap_or_else(|e| panic!("{e}"));
    let mut step = || {
        let began = Instant::now();
        let report = once().unwrap_or_else(|e| panic!("{e}"));
        assert!(report.broken().is_none(), "{:?}", report.broken());
        (1e3 * began.elapsed().as_secs_f64(), report.flops / batch as f64)
    };
    if serve {
        for line in std::io::stdin().lock().lines() {
            if line.is_ok_and(|l| !l.trim().is_empty()) {
                println!("{:.3}", step().0);
                std::io::stdout().flush().expect("stdout");
            }
        }
        return;
    }
    for run in 0..runs {
        let (time, flops) = step();
        println!(
            "step {run}: {time:.0} ms, {:.1} Gflop a picture, resident {}",
            1e-9 * flops,
            status("VmRSS:")
        );
    }
    if profiled {
        let ((milliseconds, _), all) = profile(&mut step);
        println!("a step of {milliseconds:.0} ms:");
        for spent in all {
            let (ms, rate) = (1e3 * spent.time.as_secs_f64(), 1e-9 * spent.flops / spent.time.as_secs_f64());
            println!("{:<22} {:5} runs {ms:8.1} ms {rate:8.1} GFLOP/s", spent.name, spent.runs);
        }
    }
    println!("peak of resident memory: {}", status("VmHWM:"));
}

type Step = Box<dyn FnMut() -> Result<Report>>;

/// Steps of a tokenizer.
fn tokenizer(text: &str, overrides: &mut Vec<String>, device: &Device, batch: usize) -> Result<Step> {
    overrides.push("loss.perceptual_weight=0.0".into());
    let mut recipe = Recipe::parse(text, overrides)?;
    recipe.loss.semantic.clear();
    let weights = init::tokenizer(&recipe, &BTreeMap::new(), 1)?;
    let network = TokenizerNetwork::open(&recipe, &weights, None, Teachers::default())?;
    let mut trainer = Trainer::new(&recipe, device, network, &weights, None)?;
    let side = recipe.model.image_size;
    let pixels: Vec<f32> =
        (0..batch * side * side * 3).map(|i| ((i * 37 % 997) as f32 / 498.5 - 1.0) * 0.7).collect();
    let pictures = Tensor::from_slice([batch, side, side, 3], &pixels)?;
    Ok(Box::new(move || trainer.step(&pictures)))
}

/// Steps of a generator.
fn generator(text: &str, overrides: &mut Vec<String>, device: &Device, batch: usize) -> Result<Step> {
    let rates = ["tokens", "residual", "feed_forward", "classes"];
    overrides.extend(rates.map(|rate| format!("dropout.{rate}=0.0")));
    let recipe = FarRecipe::parse(text, overrides)?;
    let config = recipe.model.config()?;
    let mut trainer = FarTrainer::new(&recipe, device, &init::far(&config, 1)?)?;
    let classes: Vec<u32> = (0..batch).map(|i| (i % config.classes) as u32).collect();
    let codes: Vec<u32> = (0..batch * config.positions() * config.codebooks)
        .map(|i| (i * 7919 % config.codebook_size) as u32)
        .collect();
    Ok(Box::new(move || trainer.step(&classes, &codes)))
}

/// A line of what Linux knows of this process.
fn status(field: &str) -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(field));
    line.unwrap_or("unknown").trim().to_string()
}
