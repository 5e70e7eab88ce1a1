//! What a run will take, and what the machine can do.

use fqgan::Result;
use fqgan::backend::Device;
use fqgan::exec::Eager;
use fqgan::ops::linear::Linear;
use fqgan::tensor::Tensor;
use fqgan::train::Trainer;
use fqgan::train::far::FarTrainer;
use fqgan::train::optim::Tensors;
use fqgan::train::recipe::Run;
use fqgan::train::teacher::TeacherTrainer;
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

/// A run whose steps can be tried.
pub trait Trial {
    /// The work of a step on so many pictures, whatever they are.
    fn step(&mut self, pictures: usize) -> Result<()>;

    /// Bytes of memory beside the weights' files.
    fn workspace_bytes(&self) -> usize;

    fn weights(&self) -> &Tensors;
}

pub struct OfTokenizer(pub Trainer);

impl Trial for OfTokenizer {
    fn step(&mut self, pictures: usize) -> Result<()> {
        let side = self.0.network().config().image_size;
        self.0.try_step(&noise(pictures, side)?)
    }

    fn workspace_bytes(&self) -> usize {
        self.0.workspace_bytes()
    }

    fn weights(&self) -> &Tensors {
        &self.0.state.weights
    }
}

pub struct OfGenerator(pub FarTrainer);

impl Trial for OfGenerator {
    fn step(&mut self, pictures: usize) -> Result<()> {
        let config = self.0.config();
        let [codes, classes] = [config.positions() * config.codebooks, config.classes];
        let codes: Vec<u32> = (0..pictures * codes).map(|i| (i * 37 % config.codebook_size) as u32).collect();
        let classes: Vec<u32> = (0..pictures).map(|i| (i % classes) as u32).collect();
        self.0.step(&classes, &codes).map(drop)
    }

    fn workspace_bytes(&self) -> usize {
        self.0.workspace_bytes()
    }

    fn weights(&self) -> &Tensors {
        &self.0.state.weights
    }
}

pub struct OfTeacher {
    pub trainer: TeacherTrainer,
    /// Pixels.
    pub side: usize,
}

impl Trial for OfTeacher {
    fn step(&mut self, pictures: usize) -> Result<()> {
        self.trainer.step(&noise(pictures, self.side)?, &vec![0; pictures]).map(drop)
    }

    fn workspace_bytes(&self) -> usize {
        self.trainer.workspace_bytes()
    }

    fn weights(&self) -> &Tensors {
        &self.trainer.state.weights
    }
}

/// Pictures (count, side, side, 3) in \[-1, 1\] of nothing.
fn noise(count: usize, side: usize) -> Result<Tensor> {
    let pixels: Vec<f32> =
        (0..count * side * side * 3).map(|i| (i * 37 % 997) as f32 / 498.5 - 1.0).collect();
    Tensor::from_slice([count, side, side, 3], &pixels)
}

/// Pictures of the larger of two steps that are tried.
const SEVERAL: usize = 4;

/// Tries steps on one and on several pictures, and prints what a run will take if the rest grows evenly. The steps that
/// are tried are of one part, however many `run.accumulate` wants.
pub fn print(run: &Run, trial: &mut dyn Trial) -> Result<()> {
    let mut tried = Vec::new();
    for count in [1, SEVERAL] {
        let mut seconds = f64::INFINITY;
        // The first of a size makes room for itself.
        for _ in 0..3 {
            let began = Instant::now();
            trial.step(count)?;
            seconds = seconds.min(began.elapsed().as_secs_f64());
        }
        tried.push((seconds, trial.workspace_bytes() as f64));
    }
    let part = run.batch / run.accumulate;
    let grown = |of: fn(&(f64, f64)) -> f64| {
        let [one, several] = [of(&tried[0]), of(&tried[1])];
        one + (part - 1) as f64 * (several - one).max(0.0) / (SEVERAL - 1) as f64
    };
    let step = grown(|tried| tried.0) * run.accumulate as f64;
    let weights: usize = trial.weights().values().map(|tensor| tensor.shape().count()).sum();
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
