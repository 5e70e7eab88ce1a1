//! Adam over all weights, clipped by the length of the whole gradient.

use crate::backend::Device;
use crate::error::Result;
use crate::exec::Eager;
use crate::ops::optimizer::{self, Adam, Average, Moved, lengths};
use crate::tensor::{Allocate, Desc, HeapAllocator, Tensor};
use crate::train::collective::Group;
use crate::train::recipe;
use std::collections::BTreeMap;

/// Tensors by their checkpoint names.
pub type Tensors = BTreeMap<String, Tensor>;

/// Adam's moments and settings.
pub struct Optimizer {
    settings: recipe::Optimizer,
    /// The processes each of which has the moments of some weights, and moves these.
    group: Group,
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
        let lengths = lengths(e, &gradients.values().collect::<Vec<_>>())?;
        let each: BTreeMap<String, f64> = gradients.keys().cloned().zip(lengths).collect();
        Ok(Norms { total: each.values().map(|n| n * n).sum::<f64>().sqrt(), each })
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
        let (first, second) = (Tensors::new(), Tensors::new());
        Optimizer { settings: settings.clone(), group: Group::default(), steps: 0, first, second }
    }

    /// Has the processes of a run keep a part of the moments each, if the settings say so.
    pub fn share(&mut self, group: &Group) {
        if self.settings.shard {
            self.group = group.clone();
        }
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

    /// The moments that this process has, by weight: of the gradient, and of its square.
    pub fn moments(&self) -> [&Tensors; 2] {
        [&self.first, &self.second]
    }

    /// Those of all processes, for the one that leads; all take part.
    ///
    /// # Errors
    /// As [`Group::gather`]; `OutOfMemory`.
    pub fn gathered(&self, weights: &Tensors) -> Result<[Tensors; 2]> {
        let all = names(weights);
        let mut found = [self.first.clone(), self.second.clone()];
        if self.group.size() > 1 {
            for whole in &mut found {
                let mine = whole.clone();
                self.group.exchange(&mine, &all, |name, desc, bytes| {
                    if self.group.leads() {
                        let mut moment = Tensor::new(*desc, HeapAllocator.allocate(bytes.len())?)?;
                        read(bytes, moment.data_mut()?);
                        whole.insert(name.to_string(), moment);
                    }
                    Ok(())
                })?;
            }
        }
        Ok(found)
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
        mut gradients: Tensors,
        norms: &Norms,
        [rate, scale]: [f64; 2],
    ) -> Result<()> {
        self.steps += 1;
        let settings = &self.settings;
        gradients.retain(|name, _| weights.contains_key(name));
        if self.group.size() > 1 {
            let sizes = gradients.iter().map(|(name, gradient)| (name, gradient.shape().count()));
            let owned = self.group.owned(sizes);
            // Moments of other weights may be there from before.
            for all in [&mut gradients, &mut self.first, &mut self.second] {
                all.retain(|name, _| owned.contains(name));
            }
        }
        for (name, gradient) in &gradients {
            for moments in [&mut self.first, &mut self.second] {
                if !moments.contains_key(name) {
                    moments.insert(name.clone(), zero(e, gradient.desc())?);
                }
            }
        }
        let op = Adam {
            rate: settings.rate * rate,
            betas: settings.betas,
            eps: settings.eps,
            decay: settings.decay,
            step: self.steps,
            scale: scale * self.clip(norms),
        };
        // All four by name, so in the same order.
        let mut all: Vec<Moved<'_>> = gradients
            .values()
            .zip(of(&gradients, weights))
            .zip(of(&gradients, &mut self.first))
            .zip(of(&gradients, &mut self.second))
            .map(|(((gradient, weight), first), second)| {
                let decay = if weight.shape().len() >= 2 { settings.decay } else { 0.0 };
                Moved { weight, gradient, first, second, decay }
            })
            .collect();
        optimizer::step(e, &op, &mut all)?;
        if self.group.size() == 1 {
            return Ok(());
        }
        let mine = weights.iter().filter(|(name, _)| gradients.contains_key(*name));
        let mine: Tensors = mine.map(|(name, weight)| (name.clone(), weight.clone())).collect();
        self.group.exchange(&mine, &names(weights), |name, desc, bytes| {
            let moved = e.cx().written::<f32>(desc.shape, |to| {
                read(bytes, to);
                Ok(())
            })?;
            weights.insert(name.to_string(), moved);
            Ok(())
        })
    }
}

fn names(weights: &Tensors) -> Vec<(String, Desc)> {
    weights.iter().map(|(name, weight)| (name.clone(), *weight.desc())).collect()
}

/// Floats that came as bytes.
fn read(bytes: &[u8], to: &mut [f32]) {
    to.iter_mut().zip(bytes.as_chunks::<4>().0).for_each(|(to, &bytes)| *to = f32::from_le_bytes(bytes));
}

/// Those that have a gradient, by name.
fn of<'a>(gradients: &Tensors, all: &'a mut Tensors) -> impl Iterator<Item = &'a mut Tensor> {
    all.iter_mut().filter(|(name, _)| gradients.contains_key(*name)).map(|(_, tensor)| tensor)
}

/// A weight's moment at first.
fn zero(e: &Eager<'_>, desc: &Desc) -> Result<Tensor> {
    // Memory of its own, not the workspace's: it stays.
    e.cx().device.keep(&Tensor::new(*desc, HeapAllocator.allocate(desc.bytes().unwrap_or(usize::MAX))?)?)
}

/// Bytes that these tensors have.
pub fn bytes<'a>(all: impl IntoIterator<Item = &'a Tensors>) -> usize {
    all.into_iter().flat_map(BTreeMap::values).map(|tensor| tensor.storage().len()).sum()
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
    let mut all: Vec<(&mut Tensor, &Tensor)> = averages
        .iter_mut()
        .filter_map(|(name, average)| weights.get(name).map(|weight| (average, weight)))
        .collect();
    optimizer::average(e, &Average { decay: decay as f32 }, &mut all)?;
    for (name, weight) in weights {
        if !averages.contains_key(name) {
            averages.insert(name.clone(), weight.clone());
        }
    }
    Ok(())
}
