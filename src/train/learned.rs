use super::checkpoint::{Contents, number, restore, restore_optimizer, tensors};
use super::collective::{Group, Reduction};
use super::optim::{self, Norms, Optimizer, Tensors};
use super::recipe;
use super::report::Report;
use crate::backend::Device;
use crate::error::Result;
use crate::exec::Eager;
use crate::weights::Source;

/// All that the run of one network changes: a generator's, a teacher's.
pub struct Learned {
    /// Steps that were begun, those that moved nothing included.
    pub steps: u64,
    /// The weights.
    pub weights: Tensors,
    /// Their moments.
    pub optimizer: Optimizer,
    /// Their average, where the recipe wants one.
    pub average: Tensors,
}

/// What names in checkpoints begin with.
const MODEL: &str = "model";
const AVERAGE: &str = "average";
const OPTIMIZER: &str = "optimizer";

impl Learned {
    /// Before the first step: the weights of these names as `source` has them.
    ///
    /// # Errors
    /// Those of reading.
    pub fn new<'a>(
        settings: &recipe::Optimizer,
        source: &Source,
        names: impl Iterator<Item = &'a str>,
    ) -> Result<Learned> {
        let read = |name: &str| Ok((name.to_string(), source.tensor(name)?.to_f32()?));
        let weights = names.map(read).collect::<Result<_>>()?;
        Ok(Learned { steps: 0, weights, optimizer: Optimizer::new(settings), average: Tensors::new() })
    }

    /// Has all tensors in the memory of a device.
    ///
    /// # Errors
    /// `OutOfMemory`, `Device`.
    pub fn keep(&mut self, device: &Device) -> Result<()> {
        self.optimizer.keep(device)?;
        super::keep(device, self.weights.values_mut().chain(self.average.values_mut()))
    }

    /// Bytes of memory.
    pub fn bytes(&self) -> usize {
        optim::bytes([&self.weights, &self.average].into_iter().chain(self.optimizer.moments()))
    }

    /// The weights that are of use: the average where there is one.
    pub fn in_use(&self) -> &Tensors {
        if self.average.is_empty() { &self.weights } else { &self.average }
    }

    /// The mean over the parts of a step, `parts` here and as many in each other process, of what `pass` makes of one: the
    /// report's numbers, and the sums of the gradients. What `pass` is given a reduction for goes there.
    ///
    /// # Errors
    /// Those of `pass`; as [`Group::gather`]; `OutOfMemory`.
    pub fn gradients(
        &self,
        e: &Eager<'_>,
        group: &Group,
        parts: usize,
        pass: impl Fn(usize, Option<&mut Reduction<'_>>) -> Result<(Report, Tensors)>,
    ) -> Result<(Report, Tensors)> {
        let mut reduction = (group.size() > 1).then(|| Reduction::new(group));
        let sent = if parts == 1 { reduction.as_mut() } else { None };
        let (mut report, mut gradients) = pass(0, sent)?;
        for part in 1..parts {
            let (more, others) = pass(part, None)?;
            report.add(&more);
            optim::sum(e, &mut gradients, others)?;
        }
        if let Some(reduction) = reduction {
            let names: Vec<&String> = self.weights.keys().collect();
            reduction.sum_step(&mut report, &mut [&mut gradients], &names, e)?;
        }
        let parts = parts * group.size();
        if parts > 1 {
            report.divide(parts as f64);
            let norms = Norms::of_mean(e, &gradients, parts)?;
            report.set("grad_norm", norms.total);
            report.gradients = norms.each;
        }
        Ok((report, gradients))
    }

    /// Moves the weights at so large a share of the recipe's rate. `report` has the lengths of the gradients when they
    /// are multiplied with `scale`.
    ///
    /// # Errors
    /// The operations'; `OutOfMemory`.
    pub fn apply(
        &mut self,
        e: &Eager<'_>,
        settings: &recipe::Optimizer,
        gradients: Tensors,
        report: &Report,
        [share, scale]: [f64; 2],
    ) -> Result<()> {
        let total = report.get("grad_norm").unwrap_or(0.0);
        let norms = Norms { total, each: report.gradients.clone() };
        self.optimizer.step(e, &mut self.weights, gradients, &norms, [share, scale])?;
        if let Some(decay) = settings.average {
            optim::average(e, decay, &mut self.average, &self.weights)?;
        }
        Ok(())
    }

    /// What a checkpoint holds, for the process that leads; all take part.
    ///
    /// # Errors
    /// As [`Optimizer::gathered`].
    pub fn contents(&self) -> Result<Contents> {
        let mut contents = Contents::default();
        contents.add(MODEL, &self.weights);
        contents.add(AVERAGE, &self.average);
        contents.add_optimizer(OPTIMIZER, &self.optimizer, &self.weights)?;
        contents.number("steps", self.steps);
        Ok(contents)
    }

    /// As it was when [`Learned::contents`] gave what the file has.
    ///
    /// # Errors
    /// `Format` when the file is of another network; the state is then neither the old one nor the file's.
    pub fn restore(&mut self, source: &Source) -> Result<()> {
        restore(source, MODEL, &mut self.weights)?;
        self.average = tensors(source, AVERAGE)?;
        restore_optimizer(source, OPTIMIZER, &self.weights, &mut self.optimizer)?;
        self.steps = number(source, "steps")?;
        Ok(())
    }
}
