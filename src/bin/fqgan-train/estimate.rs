//! What a run will take, and what the machine can do.

use fqgan::Result;
use fqgan::backend::Device;
use fqgan::exec::Eager;
use fqgan::ops::linear::Linear;
use fqgan::tensor::Tensor;
use fqgan::train::optim::Tensors;
use fqgan::train::recipe::Run;
use std::time::Instant;

/// Operations a second in a large product, the best of many: what shares of the machine's peak are counted by.
pub fn peak(device: &Device) -> Result<f64> {
    const SIDE: usize = 512;
    let workspace = device.workspace(None);
    let e = Eager::new(device, &workspace);
    let x = Tensor::from_slice([SIDE, SIDE], &vec![0.5f32; SIDE * SIDE])?;
    let x = device.upload(&x, &workspace)?;
    let mut best = 0.0f64;
    // The best of many is near what an idle machine does, also where others work.
    for _ in 0..40 {
        let began = Instant::now();
        let [product] = e.run(&Linear::default(), &[&x, &x])?;
        // A GPU has it when one number of it has come back.
        product.on_host()?;
        best = best.max(2.0 * (SIDE * SIDE * SIDE) as f64 / began.elapsed().as_secs_f64());
    }
    Ok(best)
}

/// How many numbers there are.
pub fn count(weights: &Tensors) -> usize {
    weights.values().map(|tensor| tensor.shape().count()).sum()
}

/// Pictures (count, side, side, 3) in \[-1, 1\] of nothing.
pub fn noise(count: usize, side: usize) -> Result<Tensor> {
    let pixels: Vec<f32> =
        (0..count * side * side * 3).map(|i| (i * 37 % 997) as f32 / 498.5 - 1.0).collect();
    Tensor::from_slice([count, side, side, 3], &pixels)
}

/// Pictures of the larger of two steps that are tried.
const SEVERAL: usize = 4;

/// Tries steps on one and on several pictures, and prints what a run of these weights will take if the rest grows evenly.
/// `step` does one, in one part however many `run.accumulate` wants, and says how many bytes there are.
pub fn print(run: &Run, weights: usize, mut step: impl FnMut(usize) -> Result<usize>) -> Result<()> {
    let mut tried = Vec::new();
    for count in [1, SEVERAL] {
        let (mut seconds, mut bytes) = (f64::INFINITY, 0);
        // The first of a size makes room for itself.
        for _ in 0..3 {
            let began = Instant::now();
            bytes = step(count)?;
            seconds = seconds.min(began.elapsed().as_secs_f64());
        }
        tried.push((seconds, bytes as f64));
    }
    let part = run.batch / run.accumulate;
    let grown = |of: fn(&(f64, f64)) -> f64| {
        let [one, several] = [of(&tried[0]), of(&tried[1])];
        one + (part - 1) as f64 * (several - one).max(0.0) / (SEVERAL - 1) as f64
    };
    let step = grown(|tried| tried.0) * run.accumulate as f64;
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
