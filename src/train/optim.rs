//! Adam over all weights, clipped by the length of the whole gradient.

use crate::backend::Device;
use crate::error::Result;
use crate::exec::Eager;
use crate::ops::optimizer::{Adam, Average, Length};
use crate::tensor::{Desc, Tensor};
use crate::train::recipe;
use std::collections::BTreeMap;

/// Tensors by their checkpoint names.
pub type Tensors = BTreeMap<String, Tensor>;

/// Adam's moments and settings.
pub struct Optimizer {
    settings: recipe::Optimizer,
    /// Steps done.
    steps: u64,
    first: Tensors,
    second: Tensors,
}

/// The lengths of a gradient's tensors.
#[derive(Clone, Debug, Default)]
pub struct Norms {
    /// Of all together.
    pub total: f64,
    /// Of each, by name.
    pub each: BTreeMap<String, f64>,
}

impl Norms {
    /// The lengths of these gradients.
    ///
    /// # Errors
    /// The operation's.
    pub fn of(e: &Eager<'_>, gradients: &Tensors) -> Result<Norms> {
        let mut norms = Norms::default();
        for (name, gradient) in gradients {
            let [length] = e.run(&Length, &[gradient])?;
            norms.each.insert(name.clone(), super::value(&length)?);
        }
        norms.total = norms.each.values().map(|n| n * n).sum::<f64>().sqrt();
        Ok(norms)
    }

    /// The same of the sums of so many parts' gradients, divided by their number.
    ///
    /// # Errors
    /// The operation's.
    pub fn of_mean(e: &Eager<'_>, gradients: &Tensors, parts: usize) -> Result<Norms> {
        let mut norms = Norms::of(e, gradients)?;
        norms.total /= parts as f64;
        norms.each.values_mut().for_each(|norm| *norm /= parts as f64);
        Ok(norms)
    }

    /// The first tensor whose gradient is not finite.
    pub fn broken(&self) -> Option<&str> {
        self.each.iter().find(|(_, norm)| !norm.is_finite()).map(|(name, _)| name.as_str())
    }
}

impl Optimizer {
    /// An optimiser before its first step.
    pub fn new(settings: &recipe::Optimizer) -> Optimizer {
        Optimizer { settings: settings.clone(), steps: 0, first: Tensors::new(), second: Tensors::new() }
    }

    /// Makes it as it was after `steps` steps, with the moments of each weight.
    pub fn restore(&mut self, steps: u64, first: Tensors, second: Tensors) {
        (self.steps, self.first, self.second) = (steps, first, second);
    }

    /// Has the moments in the memory of a device.
    ///
    /// # Errors
    /// `OutOfMemory`, `Device`.
    pub fn keep(&mut self, device: &Device) -> Result<()> {
        super::keep(device, self.first.values_mut().chain(self.second.values_mut()))
    }

    /// Steps done.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// The moments, by weight: of the gradient, and of its square.
    pub fn moments(&self) -> [&Tensors; 2] {
        [&self.first, &self.second]
    }

    /// What gradients of this length are multiplied by.
    pub fn clip(&self, norms: &Norms) -> f64 {
        match self.settings.clip {
            // As PyTorch has it.
            Some(most) => (most / (norms.total + 1e-6)).min(1.0),
            None => 1.0,
        }
    }

    /// Moves the weights that have a gradient. `norms` are of what the gradients are when they are multiplied with
    /// `scale`; `rate` is a share of the recipe's.
    ///
    /// # Errors
    /// The operation's; `OutOfMemory`. Then some weights have moved and others not.
    pub fn step(
        &mut self,
        e: &Eager<'_>,
        weights: &mut Tensors,
        gradients: Tensors,
        norms: &Norms,
        [rate, scale]: [f64; 2],
    ) -> Result<()> {
        self.steps += 1;
        let settings = &self.settings;
        let scale = scale * self.clip(norms);
        for (name, gradient) in gradients {
            let Some(weight) = weights.get_mut(&name) else { continue };
            let decay = if weight.shape().len() >= 2 { settings.decay } else { 0.0 };
            let [rate, eps] = [settings.rate * rate, settings.eps];
            let op = Adam { rate, betas: settings.betas, eps, decay, step: self.steps, scale };
            let first = moment(e, &mut self.first, &name, weight.desc())?;
            let second = moment(e, &mut self.second, &name, weight.desc())?;
            let [moved, m, v] = e.run(&op, &[weight, &gradient, &first, &second])?;
            drop((first, second));
            *weight = moved;
            self.first.insert(name.clone(), m);
            self.second.insert(name, v);
        }
        Ok(())
    }
}

/// A weight's moment, zero at first.
fn moment(e: &Eager<'_>, all: &mut Tensors, name: &str, desc: &Desc) -> Result<Tensor> {
    if let Some(moment) = all.remove(name) {
        return Ok(moment);
    }
    e.cx().written::<f32>(desc.shape, |zero| {
        zero.fill(0.0);
        Ok(())
    })
}

/// Adds the gradients of another part of a batch.
///
/// # Errors
/// The operation's.
pub fn sum(e: &Eager<'_>, sum: &mut Tensors, more: Tensors) -> Result<()> {
    for (name, gradient) in more {
        let gradient = match sum.get(&name) {
            Some(old) => super::add(e, old, &gradient)?,
            None => gradient,
        };
        sum.insert(name, gradient);
    }
    Ok(())
}

/// Moves the average of weights towards them; it begins as a copy.
///
/// # Errors
/// The operation's.
pub fn average(e: &Eager<'_>, decay: f64, averages: &mut Tensors, weights: &Tensors) -> Result<()> {
    for (name, weight) in weights {
        let next = match averages.get(name) {
            Some(average) => {
                let [next] = e.run(&Average { decay: decay as f32 }, &[average, weight])?;
                next
            }
            None => weight.clone(),
        };
        averages.insert(name.clone(), next);
    }
    Ok(())
}
