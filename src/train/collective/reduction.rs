use super::{Group, Pending};
use crate::backend::Workspace;
use crate::error::{Error, Result};
use crate::exec::Eager;
use crate::ops::optimizer::Length;
use crate::tensor::Tensor;
use crate::train::optim::Tensors;
use crate::train::{Report, value};

/// Floats that travel together: enough that a message's start costs nothing beside it, few enough that the first one
/// leaves early.
pub const BUCKET: usize = 1 << 20;

/// Gradients on their way: they are put into buckets as the backward pass gives them, and each full bucket is summed
/// over the processes while the pass goes on.
pub struct Reduction<'a> {
    group: &'a Group,
    names: Vec<String>,
    bucket: Vec<Tensor>,
    floats: usize,
    flying: Vec<Flying>,
    /// The lengths of this process's own gradients, to tell later where one was not finite.
    lengths: Vec<(String, Tensor)>,
}

/// A bucket on its way, and whose gradients are inside.
struct Flying {
    sum: Box<dyn Pending>,
    names: Vec<String>,
}

impl<'a> Reduction<'a> {
    /// Nothing on its way yet.
    pub fn new(group: &'a Group) -> Reduction<'a> {
        let (names, bucket) = (Vec::new(), Vec::new());
        Reduction { group, names, bucket, floats: 0, flying: Vec::new(), lengths: Vec::new() }
    }

    /// Takes a finished gradient. All processes give the same names in the same order.
    ///
    /// # Errors
    /// As [`Group::gather`].
    pub fn add(&mut self, e: &Eager<'_>, name: &str, gradient: Tensor) -> Result<()> {
        let [length] = e.run(&Length, &[&gradient])?;
        self.lengths.push((name.to_string(), length));
        self.floats += gradient.shape().count();
        self.names.push(name.to_string());
        self.bucket.push(gradient);
        if self.floats >= BUCKET { self.send(e.cx().workspace) } else { Ok(()) }
    }

    fn send(&mut self, memory: &Workspace) -> Result<()> {
        let (bucket, names) = (std::mem::take(&mut self.bucket), std::mem::take(&mut self.names));
        self.floats = 0;
        let Some(carrier) = &self.group.0 else {
            return Err(Error::internal("one process alone has nobody to send to"));
        };
        self.flying.push(Flying { sum: carrier.start_sum(bucket, memory)?, names });
        Ok(())
    }

    /// Nothing more comes.
    fn send_rest(&mut self, memory: &Workspace) -> Result<()> {
        if self.names.is_empty() { Ok(()) } else { self.send(memory) }
    }

    /// Waits for what is on its way: the sums over all processes.
    ///
    /// # Errors
    /// As [`Group::gather`]; `OutOfMemory`.
    pub fn finish(mut self, memory: &Workspace) -> Result<Tensors> {
        self.send_rest(memory)?;
        let mut all = Tensors::new();
        for Flying { sum, names } in self.flying {
            all.extend(names.into_iter().zip(sum.wait(memory)?));
        }
        Ok(all)
    }

    /// The first gradient of this process that is not finite.
    fn broken(&self) -> Result<Option<String>> {
        for (name, length) in &self.lengths {
            if !value(length)?.is_finite() {
                return Ok(Some(name.clone()));
            }
        }
        Ok(None)
    }

    /// Sums a step over all processes: networks' gradients, of which the first one's may be on their way, and the numbers
    /// of the report. What is not finite is blamed on the first process where it is so; `names` are those of all weights,
    /// for that.
    ///
    /// # Errors
    /// As [`Group::gather`]; `OutOfMemory`.
    pub(in crate::train) fn sum_step(
        self,
        report: &mut Report,
        networks: &mut [&mut Tensors],
        names: &[&String],
        e: &Eager<'_>,
    ) -> Result<()> {
        let (group, memory) = (self.group, e.cx().workspace);
        let mut first = Some(self);
        let mut begun = Vec::new();
        for gradients in &mut *networks {
            let mut reduction = first.take().unwrap_or_else(|| Reduction::new(group));
            for (name, gradient) in std::mem::take(*gradients) {
                reduction.add(e, &name, gradient)?;
            }
            reduction.send_rest(memory)?;
            begun.push(reduction);
        }
        let mut broken = None;
        for reduction in &begun {
            broken = broken.map_or_else(|| reduction.broken(), |name| Ok(Some(name)))?;
        }
        let place = broken.and_then(|broken| names.iter().position(|name| **name == broken));
        for (reduction, gradients) in begun.into_iter().zip(networks) {
            **gradients = reduction.finish(memory)?;
        }
        let mut mine: Vec<f64> = report.scalars.iter().map(|scalar| scalar.value).collect();
        mine.push(group.waited());
        mine.push(place.map_or(-1.0, |place| place as f64));
        let all = group.gather_numbers(&mine)?;
        for (rank, numbers) in all.iter().enumerate() {
            let (place, numbers) = numbers.split_last().ok_or_else(|| Error::internal("no numbers"))?;
            let scalar = report.scalars.iter().zip(numbers).find(|(_, value)| !value.is_finite());
            let weight = if *place < 0.0 { None } else { names.get(*place as usize).copied() };
            let first = scalar.map(|(scalar, _)| &scalar.name).or(weight);
            if let (Some(name), None) = (first, &report.blame) {
                report.blame = Some(format!("{}: {name}", group.name(rank)));
            }
        }
        report.waited =
            all.iter().map(|numbers| numbers[report.scalars.len()]).sum::<f64>() / all.len() as f64;
        for (i, scalar) in report.scalars.iter_mut().enumerate() {
            scalar.value = all.iter().map(|numbers| numbers[i]).sum();
        }
        Ok(())
    }
}
