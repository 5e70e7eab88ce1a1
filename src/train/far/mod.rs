//! FAR's training on codes that are known: the mean over the sub-codes of their cross entropies.

mod job;
mod recipe;

pub use job::FarJob;
pub use recipe::{FarHead, FarNetwork, FarRecipe, Kind, Rates};

use super::learned::Learned;
use super::loss::{self, Term};
use super::optim::{self, Norms, Tensors};
use super::report::Report;
use super::{add, value};
use crate::backend::{Device, Workspace};
use crate::error::{Error, Result};
use crate::exec::{Eager, Exec, Tape, Var};
use crate::far::{Config, Known, Model, Noise};
use crate::nn::{Numerics, Params};
use crate::ops::cross_entropy::CrossEntropy;
use crate::ops::mean::Mean;
use crate::rng::Stream;
use crate::weights::Source;

/// A generator in training.
pub struct FarTrainer {
    recipe: FarRecipe,
    config: Config,
    device: Device,
    workspace: Workspace,
    model: Model,
    /// What the steps change.
    pub state: Learned,
}

/// The last word of the places where classes are dropped: see [`Noise`] for the others.
const CLASSES: u32 = 0xFA50_0003;

impl FarTrainer {
    /// A run that begins with these weights.
    ///
    /// # Errors
    /// `InvalidArgument` when they are of another network than the recipe's; `Format` when one is missing;
    /// `OutOfMemory`.
    pub fn new(recipe: &FarRecipe, device: &Device, weights: &Source) -> Result<FarTrainer> {
        let (config, wanted) = (Config::infer(weights)?, recipe.model.config()?);
        if config != wanted {
            return Err(Error::invalid(format!(
                "{}: not the recipe's network: {config:?}, expected {wanted:?}",
                weights.name()
            )));
        }
        let manifest = config.manifest();
        let numerics = Numerics { precision: recipe.precision.into(), compact: false, deep: false };
        let names = manifest.iter().map(|(name, _)| name);
        let mut state = Learned::new(&recipe.optimizer, weights, names)?;
        state.keep(device)?;
        Ok(FarTrainer {
            recipe: recipe.clone(),
            device: device.clone(),
            workspace: device.workspace(None).tight(),
            model: Model::new(&Params::new(&super::hollow(weights)?, numerics), &config)?,
            state,
            config,
        })
    }

    /// The network's extents.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Bytes of memory beside the weights' files: weights that moved, moments, activations.
    pub fn workspace_bytes(&self) -> usize {
        self.workspace.bytes()
    }

    /// Goes on from where a checkpoint was written.
    ///
    /// # Errors
    /// As [`Learned::restore`].
    pub fn restore(&mut self, source: &Source) -> Result<()> {
        self.state.restore(source)?;
        self.state.keep(&self.device)
    }

    /// One step on codes (n, positions, k) of pictures of these classes (n). What is dropped is a function of the run's
    /// seed and the step. Weights stay where they are when a loss or a gradient is not finite: see [`Report::broken`].
    /// The report has the learning rate, `rate`, too.
    ///
    /// # Errors
    /// `InvalidArgument` when lengths, classes or codes do not fit the network; the operations'; `OutOfMemory`.
    pub fn step(&mut self, classes: &[u32], codes: &[u32]) -> Result<Report> {
        self.workspace.take_flops();
        let parts = self.recipe.run.accumulate;
        if !classes.len().is_multiple_of(parts) || !codes.len().is_multiple_of(parts) {
            return Err(Error::invalid(format!("a batch of {} pictures in {parts} parts", classes.len())));
        }
        let noise = |part: usize| self.recipe.noise(self.state.steps * parts as u64 + part as u64);
        let dropped = self.drop_classes(classes, &noise(0))?;
        let [pictures, len] = [classes.len() / parts, codes.len() / parts];
        let of = |part: usize| {
            let classes = &dropped[part * pictures..(part + 1) * pictures];
            self.gradients(classes, &codes[part * len..(part + 1) * len], &noise(part))
        };
        let (mut report, mut gradients) = of(0)?;
        let e = Eager::new(&self.device, &self.workspace);
        for part in 1..parts {
            let (more, others) = of(part)?;
            report.add(&more);
            optim::sum(&e, &mut gradients, others)?;
        }
        if parts > 1 {
            report.divide(parts as f64);
            let norms = Norms::of_mean(&e, &gradients, parts)?;
            report.set("grad_norm", norms.total);
            report.gradients = norms.each;
        }
        if report.broken().is_none() {
            self.apply(gradients, &report)?;
        }
        report.push("rate", self.recipe.optimizer.rate * self.recipe.run.rate(self.state.steps));
        self.state.steps += 1;
        report.flops = self.workspace.take_flops();
        Ok(report)
    }

    /// Some classes replaced by the null class.
    fn drop_classes(&self, classes: &[u32], noise: &Noise) -> Result<Vec<u32>> {
        let all = self.config.classes;
        if let Some(class) = classes.iter().find(|&&class| class as usize >= all) {
            return Err(Error::invalid(format!("class {class}: the network has classes 0 to {}", all - 1)));
        }
        let mut stream = Stream::new(noise.seed, [noise.step, 0, CLASSES]);
        let mut draw = |&class: &u32| {
            let dropped = f64::from(stream.uniform()) < self.recipe.dropout.classes;
            if dropped { all as u32 } else { class }
        };
        Ok(classes.iter().map(&mut draw).collect())
    }

    /// The losses, `cross_entropy_1` and so on in nats, and their gradients, weights as they are. The class that is
    /// one past the last is the null class.
    ///
    /// # Errors
    /// As [`FarTrainer::step`].
    pub fn gradients(&self, classes: &[u32], codes: &[u32], noise: &Noise) -> Result<(Report, Tensors)> {
        let e = Eager::new(&self.device, &self.workspace);
        let tape = Tape::new(e, &self.state.weights, add).with_checkpoints(self.recipe.checkpoint_blocks);
        let terms = self.terms(&tape, classes, codes, noise)?;
        let mut report = Report::default();
        let gradients = loss::gradients(tape, &terms, &mut report)?;
        Ok((report, gradients))
    }

    /// The mean cross entropy of each sub-code, in nats, with nothing dropped and under the average of the weights if
    /// there is one: for what was held out. Codes and classes as in [`FarTrainer::step`].
    ///
    /// # Errors
    /// As [`FarTrainer::step`].
    pub fn surprise(&self, classes: &[u32], codes: &[u32]) -> Result<Vec<f64>> {
        let none = Tensors::new();
        let tape = Tape::new(Eager::new(&self.device, &self.workspace), &none, add);
        let tape = tape.with_others(self.weights());
        let terms = self.terms(&tape, classes, codes, &Noise::default())?;
        terms.iter().map(|term| value(term.value.tensor())).collect()
    }

    /// The weights that are of use: the average where there is one.
    pub fn weights(&self) -> &Tensors {
        self.state.in_use()
    }

    fn terms(&self, tape: &Tape<'_>, classes: &[u32], codes: &[u32], noise: &Noise) -> Result<Vec<Term>> {
        let known = Known::new(tape.cx(), &self.config, classes, codes)?;
        let known = known.map(|tensor| tape.constant(tensor));
        let logits = self.model.forced(tape, &known, noise)?;
        let share = 1.0 / logits.len() as f64;
        let term = |(i, (logits, targets)): (usize, (&Var, &Var))| {
            let [each] = tape.apply(CrossEntropy, &[logits, targets])?;
            let [mean] = tape.apply(Mean, &[&each])?;
            Ok(Term::new(format!("cross_entropy_{}", i + 1), mean).weighted(share))
        };
        logits.iter().zip(&known.targets).enumerate().map(term).collect()
    }

    /// Moves the weights by the sums of the gradients of all parts of a batch (`run.accumulate`), whose means the report
    /// is of.
    ///
    /// # Errors
    /// As [`FarTrainer::step`].
    pub fn apply(&mut self, gradients: Tensors, report: &Report) -> Result<()> {
        let e = Eager::new(&self.device, &self.workspace);
        let scales = [self.recipe.run.rate(self.state.steps), 1.0 / self.recipe.run.accumulate as f64];
        self.state.apply(&e, &self.recipe.optimizer, gradients, report, scales)
    }
}
