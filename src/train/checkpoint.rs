//! What a tokenizer's run changes, as a file has it: safetensors, with names that say whose each tensor is.

use super::optim::{self, Optimizer, Tensors};
use super::step::State;
use super::usage::Usage;
use crate::backend::Device;
use crate::error::{Error, Result};
use crate::tensor::Tensor;
use crate::weights::{Metadata, Source};

/// What goes into a checkpoint.
#[derive(Default)]
pub struct Contents {
    /// Tensors, by names of their own.
    pub tensors: Vec<(String, Tensor)>,
    /// Numbers, as text.
    pub metadata: Metadata,
}

impl Contents {
    /// Adds tensors under `prefix.name`.
    pub fn add(&mut self, prefix: &str, tensors: &Tensors) {
        let named = |(name, tensor): (&String, &Tensor)| (format!("{prefix}.{name}"), tensor.clone());
        self.tensors.extend(tensors.iter().map(named));
    }

    /// Adds the moments of the optimiser of `weights` under `prefix.first` and `prefix.second`, and its steps.
    ///
    /// # Errors
    /// As [`Optimizer::gathered`].
    pub fn add_optimizer(&mut self, prefix: &str, optimizer: &Optimizer, weights: &Tensors) -> Result<()> {
        let [first, second] = optimizer.gathered(weights)?;
        self.add(&format!("{prefix}.first"), &first);
        self.add(&format!("{prefix}.second"), &second);
        self.number(format!("{prefix}.steps"), optimizer.steps());
        Ok(())
    }

    /// Adds a number.
    pub fn number(&mut self, name: impl Into<String>, value: u64) {
        self.metadata.insert(name.into(), value.to_string());
    }
}

/// The tensors of a file that stand under `prefix.`, in memory of their own.
///
/// # Errors
/// Those of reading.
pub fn tensors(source: &Source, prefix: &str) -> Result<Tensors> {
    let below = |name: &str| Some(name.strip_prefix(prefix)?.strip_prefix('.')?.to_string());
    let names = source.names().filter_map(|name| Some((name, below(name)?)));
    names.map(|(name, rest)| Ok((rest, source.tensor(name)?.to_f32()?))).collect()
}

/// A number that [`Contents::number`] wrote.
///
/// # Errors
/// `Format` when it is missing or no number.
pub fn number(source: &Source, name: &str) -> Result<u64> {
    let text = source.metadata(name).ok_or_else(|| missing(source, name))?;
    text.parse()
        .map_err(|_| Error::format(format!("{}: {name} is {text:?}, expected a number", source.name())))
}

/// What [`Contents::add_optimizer`] wrote, put into an optimiser whose weights are `weights`.
///
/// # Errors
/// `Format` when a moment has no weight or another shape.
pub fn restore_optimizer(
    source: &Source,
    prefix: &str,
    weights: &Tensors,
    optimizer: &mut Optimizer,
) -> Result<()> {
    let [first, second] = ["first", "second"].map(|which| tensors(source, &format!("{prefix}.{which}")));
    let (first, second) = (first?, second?);
    for (name, moment) in first.iter().chain(&second) {
        if weights.get(name).map(Tensor::shape) != Some(moment.shape()) {
            return Err(Error::format(format!(
                "{}: {prefix} has moments of {name} that do not fit",
                source.name()
            )));
        }
    }
    optimizer.restore(number(source, &format!("{prefix}.steps"))?, first, second);
    Ok(())
}

/// Puts the values that a file has under `prefix.` in the place of those that are there.
///
/// # Errors
/// `Format` when one is missing, has another shape, or is not known.
pub fn restore(source: &Source, prefix: &str, to: &mut Tensors) -> Result<()> {
    let found = tensors(source, prefix)?;
    if let Some(name) = to.keys().find(|name| !found.contains_key(*name)) {
        return Err(missing(source, &format!("{prefix}.{name}")));
    }
    for (name, tensor) in found {
        let Some(old) = to.get_mut(&name) else {
            return Err(Error::format(format!("{}: {prefix}.{name} is not of this network", source.name())));
        };
        if old.shape() != tensor.shape() {
            let (got, want) = (tensor.shape(), old.shape());
            return Err(Error::format(format!(
                "{}: {prefix}.{name} is {got}, this network's is {want}",
                source.name()
            )));
        }
        *old = tensor;
    }
    Ok(())
}

fn missing(source: &Source, name: &str) -> Error {
    Error::format(format!("{}: {name} is missing: no checkpoint of such a run", source.name()))
}

/// The names under which checkpoints have a tokenizer's parts.
const MODEL: &str = "model";
const OPTIMIZER: &str = "optimizer";
const AVERAGE: &str = "ema";
const DISCRIMINATOR: &str = "discriminator";
const DISCRIMINATOR_OPTIMIZER: &str = "optimizer_disc";

impl State {
    /// All of it, for the process that leads; all take part.
    ///
    /// # Errors
    /// As [`Optimizer::gathered`].
    pub fn contents(&self) -> Result<Contents> {
        let mut contents = Contents::default();
        contents.add(MODEL, &self.weights);
        contents.add(AVERAGE, &self.average);
        contents.add(DISCRIMINATOR, &self.discriminator);
        contents.add(DISCRIMINATOR, &self.statistics);
        contents.add_optimizer(OPTIMIZER, &self.optimizer, &self.weights)?;
        let optimizer = &self.discriminator_optimizer;
        contents.add_optimizer(DISCRIMINATOR_OPTIMIZER, optimizer, &self.discriminator)?;
        for (number, usage) in self.usage.iter().enumerate() {
            contents.tensors.push((format!("usage.{number}"), usage.codes()?));
        }
        contents.number("steps", self.steps);
        Ok(contents)
    }

    /// Has all tensors in the memory of a device.
    ///
    /// # Errors
    /// `OutOfMemory`, `Device`.
    pub fn keep(&mut self, device: &Device) -> Result<()> {
        self.optimizer.keep(device)?;
        self.discriminator_optimizer.keep(device)?;
        for all in [&mut self.weights, &mut self.average, &mut self.discriminator, &mut self.statistics] {
            super::keep(device, all.values_mut())?;
        }
        Ok(())
    }

    /// Bytes of memory.
    pub fn bytes(&self) -> usize {
        let moments =
            [&self.optimizer, &self.discriminator_optimizer].into_iter().flat_map(Optimizer::moments);
        let all = [&self.weights, &self.average, &self.discriminator, &self.statistics];
        optim::bytes(all.into_iter().chain(moments))
    }

    /// As it was when [`State::contents`] gave what the file has.
    ///
    /// # Errors
    /// `Format` when the file is of another network; the state is then neither the old one nor the file's.
    pub fn restore(&mut self, source: &Source) -> Result<()> {
        restore(source, MODEL, &mut self.weights)?;
        self.average = tensors(source, AVERAGE)?;
        self.statistics = tensors(source, DISCRIMINATOR)?;
        // A run that had none so far begins with a fresh one.
        if !self.statistics.is_empty() {
            for (name, weight) in &mut self.discriminator {
                let stored = self.statistics.remove(name);
                let fits = stored.filter(|stored| stored.shape() == weight.shape());
                *weight = fits.ok_or_else(|| missing(source, &format!("{DISCRIMINATOR}.{name}")))?;
            }
        }
        restore_optimizer(source, OPTIMIZER, &self.weights, &mut self.optimizer)?;
        let optimizer = &mut self.discriminator_optimizer;
        restore_optimizer(source, DISCRIMINATOR_OPTIMIZER, &self.discriminator, optimizer)?;
        for (number, usage) in self.usage.iter_mut().enumerate() {
            *usage = Usage::new(usage.size());
            usage.add(source.tensor(&format!("usage.{number}"))?.data()?)?;
        }
        self.steps = number(source, "steps")?;
        Ok(())
    }
}
