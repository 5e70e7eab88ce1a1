//! What a run will take, and what the machine can do.

use fqgan::Result;
use fqgan::backend::Device;
use fqgan::exec::Eager;
use fqgan::ops::linear::Linear;
use fqgan::tensor::Tensor;
use fqgan::train::{Recipe, Trainer};
use std::time::Instant;

/// Operations a second in a large product, the best of many: what shares of the machine's peak are counted by.
pub fn peak(device: &Device) -> Result<f64> {
    const SIDE: usize = 512;
    let workspace = device.workspace(None);
    let e = Eager::new(device, &workspace);
    let x = Tensor::from_slice([SIDE, SIDE], &vec![0.5f32; SIDE * SIDE])?;
    let mut best = 0.0f64;
    // The best of many is near what an idle machine does, also where others work.
    for _ in 0..40 {
        let began = Instant::now();
        e.run(&Linear::default(), &[&x, &x])?;
        best = best.max(2.0 * (SIDE * SIDE * SIDE) as f64 / began.elapsed().as_secs_f64());
    }
    Ok(best)
}

/// Pictures of the larger of two steps that are tried.
const SEVERAL: usize = 4;

/// Tries steps on one and on several pictures, and prints what a run will take if the rest grows evenly.
pub fn print(recipe: &Recipe, mut trainer: Trainer) -> Result<()> {
    let side = recipe.model.image_size;
    let mut tried = Vec::new();
    for count in [1, SEVERAL] {
        let pixels: Vec<f32> =
            (0..count * side * side * 3).map(|i| (i * 37 % 997) as f32 / 498.5 - 1.0).collect();
        let pictures = Tensor::from_slice([count, side, side, 3], &pixels)?;
        let mut seconds = f64::INFINITY;
        // The first of a size makes room for itself.
        for _ in 0..3 {
            let began = Instant::now();
            trainer.try_step(&pictures)?;
            seconds = seconds.min(began.elapsed().as_secs_f64());
        }
        tried.push((seconds, trainer.workspace_bytes() as f64));
    }
    let run = &recipe.run;
    let part = run.batch / run.accumulate;
    let grown = |of: fn(&(f64, f64)) -> f64| {
        let [one, several] = [of(&tried[0]), of(&tried[1])];
        one + (part - 1) as f64 * (several - one).max(0.0) / (SEVERAL - 1) as f64
    };
    let step = grown(|tried| tried.0) * run.accumulate as f64;
    let weights: usize = trainer.state.weights.values().map(|tensor| tensor.shape().count()).sum();
    println!("weights      {:.2} million", weights as f64 / 1e6);
    println!(
        "memory       about {:.2} GB for steps of {} x {part}",
        grown(|tried| tried.1) / 1e9,
        run.accumulate
    );
    println!("a step       about {step:.2} s, {:.1} images/s", run.batch as f64 / step);
    println!("{} steps  about {:.1} hours", run.steps, step * run.steps as f64 / 3600.0);
    Ok(())
}
