//! FAR's training on codes that are known: the mean over the sub-codes of their cross entropies.

mod job;
mod recipe;

pub use job::FarJob;
pub use recipe::{FarHead, FarNetwork, FarRecipe, Kind, Rates};

use super::collective::{Group, Reduction};
use super::learned::Learned;
use super::loss::{self, Term};
use super::optim::Tensors;
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
    group: Group,
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
        let numerics = Numerics { precision: recipe.precision.into(), ..Numerics::default() };
        let names = manifest.iter().map(|(name, _)| name);
        let mut state = Learned::new(&recipe.optimizer, weights, names)?;
        state.keep(device)?;
        Ok(FarTrainer {
            recipe: recipe.clone(),
            device: device.clone(),
            workspace: device.workspace(None).tight(),
            model: Model::new(&Params::new(&super::hollow(weights)?, numerics), &config)?,
            group: Group::default(),
            state,
            config,
        })
    }

    /// The same run, whose batches are shared among processes.
    pub fn with_group(mut self, group: &Group) -> FarTrainer {
        self.state.optimizer.share(group);
        FarTrainer { group: group.clone(), ..self }
    }

    /// The processes that share the batches.
    pub fn group(&self) -> &Group {
        &self.group
    }

    /// The network's extents.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Bytes of memory beside what the steps change: activations, gradients.
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

    /// One step on codes (n, positions, k) of pictures of these classes (n), of each process as many. What is dropped is a
    /// function of the run's seed, the step and the place in the whole batch. Weights stay where they are when a loss or a
    /// gradient is not finite: see [`Report::broken`]. The report has the learning rate, `rate`, too.
    ///
    /// # Errors
    /// `InvalidArgument` when lengths, classes or codes do not fit the network; the operations'; `OutOfMemory`.
    pub fn step(&mut self, classes: &[u32], codes: &[u32]) -> Result<Report> {
        self.workspace.take_flops();
        let parts = self.recipe.run.accumulate;
        if !classes.len().is_multiple_of(parts) || !codes.len().is_multiple_of(parts) {
            return Err(Error::invalid(format!("a batch of {} pictures in {parts} parts", classes.len())));
        }
        let dropped = self.drop_classes(classes)?;
        let [pictures, len] = [classes.len() / parts, codes.len() / parts];
        let e = Eager::new(&self.device, &self.workspace);
        let pass = |part: usize, reduction: Option<&mut Reduction<'_>>| {
            let noise = self.recipe.noise(self.state.steps, self.group.rank() * parts + part);
            let classes = &dropped[part * pictures..(part + 1) * pictures];
            self.pass(classes, &codes[part * len..(part + 1) * len], &noise, reduction)
        };
        let (mut report, gradients) = self.state.gradients(&e, &self.group, parts, pass)?;
        if report.broken().is_none() {
            self.apply(gradients, &report)?;
        }
        report.push("rate", self.recipe.optimizer.rate * self.recipe.run.rate(self.state.steps));
        self.state.steps += 1;
        report.flops = self.workspace.take_flops();
        Ok(report)
    }

    /// Some of this process's classes replaced by the null class.
    fn drop_classes(&self, classes: &[u32]) -> Result<Vec<u32>> {
        let all = self.config.classes;
        if let Some(class) = classes.iter().find(|&&class| class as usize >= all) {
            return Err(Error::invalid(format!("class {class}: the network has classes 0 to {}", all - 1)));
        }
        let mut stream = Stream::new(self.recipe.run.seed, [self.state.steps as u32, 0, CLASSES]);
        // The draws of the batch's parts that are others'.
        for _ in 0..self.group.rank() * classes.len() {
            stream.uniform();
        }
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
        self.pass(classes, codes, noise, None)
    }

    /// The same; the gradients go to the other processes as they are made, if they are to.
    fn pass(
        &self,
        classes: &[u32],
        codes: &[u32],
        noise: &Noise,
        reduction: Option<&mut Reduction<'_>>,
    ) -> Result<(Report, Tensors)> {
        self.workspace.rest();
        let e = Eager::new(&self.device, &self.workspace);
        let tape = Tape::new(e, &self.state.weights, add).with_narrow_values();
        let tape = tape.with_checkpoints(self.recipe.checkpoint_blocks);
        let terms = self.terms(&tape, classes, codes, noise)?;
        let mut report = Report::default();
        let gradients = loss::gradients(tape, &terms, &mut report, reduction)?;
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
        let tape = tape.with_others(self.weights()).with_narrow_values();
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

    /// Moves the weights by the sums of the gradients of all parts of a batch (`run.accumulate`, of each process), whose
    /// means the report is of.
    ///
    /// # Errors
    /// As [`FarTrainer::step`].
    pub fn apply(&mut self, gradients: Tensors, report: &Report) -> Result<()> {
        let e = Eager::new(&self.device, &self.workspace);
        let parts = self.recipe.run.accumulate * self.group.size();
        let scales = [self.recipe.run.rate(self.state.steps), 1.0 / parts as f64];
        self.state.apply(&e, &self.recipe.optimizer, gradients, report, scales)
    }
}
