//! A CLIP-shaped tower that learns categories: a teacher for the semantic branches where no published one can be had.
//! What it leaves has CLIP's names and opens like CLIP.

mod job;
mod recipe;

pub use job::TeacherJob;
pub use recipe::{Kind, TeacherRecipe, Tower};

use super::add;
use super::collective::{Group, Reduction};
use super::learned::Learned;
use super::loss::{self, Term};
use super::optim::Tensors;
use super::report::Report;
use crate::backend::{Device, Workspace};
use crate::error::{Error, Result};
use crate::exec::{Eager, Exec, Tape, Var};
use crate::nn::{Linear, Numerics, Params};
use crate::ops::cross_entropy::CrossEntropy;
use crate::ops::mean::Mean;
use crate::teachers::Clip;
use crate::tensor::Tensor;
use crate::weights::Source;

/// A tower in training, with a linear layer that makes categories of its class token.
pub struct TeacherTrainer {
    recipe: TeacherRecipe,
    device: Device,
    workspace: Workspace,
    tower: Clip,
    classifier: Linear,
    group: Group,
    /// What the steps change.
    pub state: Learned,
}

impl TeacherTrainer {
    /// A run that begins with these weights.
    ///
    /// # Errors
    /// `Format` when one is missing or of another network than the recipe's; `OutOfMemory`.
    pub fn new(recipe: &TeacherRecipe, device: &Device, weights: &Source) -> Result<TeacherTrainer> {
        let manifest = recipe.model.manifest()?;
        manifest.check(weights.listing()).map_err(|e| e.context(weights.name()))?;
        let shapes = super::hollow(weights)?;
        let at = Params::new(&shapes, Numerics::default()).scope(recipe::CLASSIFIER);
        let names = manifest.iter().map(|(name, _)| name);
        let mut state = Learned::new(&recipe.optimizer, weights, names)?;
        state.keep(device)?;
        Ok(TeacherTrainer {
            recipe: recipe.clone(),
            device: device.clone(),
            workspace: device.workspace(None).tight(),
            tower: Clip::open(&shapes)?,
            classifier: Linear::new(&at, recipe.model.width, recipe.model.classes)?,
            group: Group::default(),
            state,
        })
    }

    /// Bytes of memory beside what the steps change: activations, gradients.
    pub fn workspace_bytes(&self) -> usize {
        self.workspace.bytes()
    }

    /// The same run, whose batches are shared among processes.
    pub fn with_group(mut self, group: &Group) -> TeacherTrainer {
        self.state.optimizer.share(group);
        TeacherTrainer { group: group.clone(), ..self }
    }

    /// The processes that share the batches.
    pub fn group(&self) -> &Group {
        &self.group
    }

    /// Goes on from where a checkpoint was written.
    ///
    /// # Errors
    /// As [`Learned::restore`].
    pub fn restore(&mut self, source: &Source) -> Result<()> {
        self.state.restore(source)?;
        self.state.keep(&self.device)
    }

    /// One step on pictures (n, H, W, 3) in \[-1, 1\] of these categories (n), of each process as many. Weights stay where
    /// they are when a loss or a gradient is not finite: see [`Report::broken`]. The report has `cross_entropy` in nats, and the learning
    /// rate, `rate`.
    ///
    /// # Errors
    /// `InvalidArgument` when lengths or categories do not fit; the operations'; `OutOfMemory`.
    pub fn step(&mut self, pictures: &Tensor, labels: &[u32]) -> Result<Report> {
        self.workspace.take_flops();
        let e = Eager::new(&self.device, &self.workspace);
        let pass = |_: usize, reduction: Option<&mut Reduction<'_>>| self.pass(pictures, labels, reduction);
        let (mut report, gradients) = self.state.gradients(&e, &self.group, 1, pass)?;
        let share = self.recipe.run.rate(self.state.steps);
        if report.broken().is_none() {
            let scales = [share, 1.0 / self.group.size() as f64];
            self.state.apply(&e, &self.recipe.optimizer, gradients, &report, scales)?;
        }
        report.push("rate", self.recipe.optimizer.rate * share);
        self.state.steps += 1;
        report.flops = self.workspace.take_flops();
        Ok(report)
    }

    /// The loss and its gradients, weights as they are.
    ///
    /// # Errors
    /// As [`TeacherTrainer::step`].
    pub fn gradients(&self, pictures: &Tensor, labels: &[u32]) -> Result<(Report, Tensors)> {
        self.pass(pictures, labels, None)
    }

    /// The same; the gradients go to the other processes as they are made, if they are to.
    fn pass(
        &self,
        pictures: &Tensor,
        labels: &[u32],
        reduction: Option<&mut Reduction<'_>>,
    ) -> Result<(Report, Tensors)> {
        self.workspace.rest();
        let tape = Tape::new(Eager::new(&self.device, &self.workspace), &self.state.weights, add);
        let logits = self.logits(&tape, &tape.cx().upload(pictures)?)?;
        let [count, classes] = [tape.desc(&logits).shape[0], self.recipe.model.classes];
        if let Some(label) = labels.iter().find(|&&label| label as usize >= classes) {
            return Err(Error::invalid(format!("category {label}: the network has 0 to {}", classes - 1)));
        }
        if labels.len() != count {
            return Err(Error::invalid(format!("{} categories of {count} pictures", labels.len())));
        }
        let targets = tape.cx().written::<u32>([count], |to| {
            to.copy_from_slice(labels);
            Ok(())
        })?;
        let [each] = tape.apply(CrossEntropy, &[&logits, &tape.constant(targets)])?;
        let [mean] = tape.apply(Mean, &[&each])?;
        let mut report = Report::default();
        let gradients = loss::gradients(tape, &[Term::new("cross_entropy", mean)], &mut report, reduction)?;
        Ok((report, gradients))
    }

    /// The logits (n, categories) of pictures, under the average of the weights if there is one.
    ///
    /// # Errors
    /// The operations'.
    pub fn predict(&self, pictures: &Tensor) -> Result<Tensor> {
        let none = Tensors::new();
        let tape = Tape::new(Eager::new(&self.device, &self.workspace), &none, add);
        let pictures = tape.cx().upload(pictures)?;
        let logits = self.logits(&tape.with_others(self.state.in_use()), &pictures)?;
        logits.tensor().on_host()
    }

    fn logits(&self, tape: &Tape<'_>, pictures: &Tensor) -> Result<Var> {
        let features = self.tower.class_features(tape, &tape.constant(pictures.clone()))?;
        self.classifier.forward(tape, &features)
    }
}
