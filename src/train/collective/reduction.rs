use super::{Group, Pending};
use crate::error::{Error, Result};
use crate::tensor::{Allocate, Desc, Tensor};
use crate::train::optim::Tensors;
use crate::train::{Gradients, Report};

/// Floats that travel together: enough that a message's start costs nothing beside it, few enough that the first one
/// leaves early.
const BUCKET: usize = 1 << 20;

/// Gradients on their way: they are put into buckets as the backward pass gives them, and each full bucket is summed
/// over the processes while the pass goes on.
pub struct Reduction<'a> {
    group: &'a Group,
    bucket: Vec<f32>,
    inside: Vec<(String, Desc)>,
    flying: Vec<Flying>,
    /// The first tensor of this process that was not finite.
    broken: Option<String>,
}

/// A bucket on its way, and what is inside.
struct Flying {
    sum: Box<dyn Pending>,
    inside: Vec<(String, Desc)>,
}

impl<'a> Reduction<'a> {
    /// Nothing on its way yet.
    pub fn new(group: &'a Group) -> Reduction<'a> {
        Reduction { group, bucket: Vec::new(), inside: Vec::new(), flying: Vec::new(), broken: None }
    }

    /// Takes a finished gradient. All processes give the same names in the same order.
    ///
    /// # Errors
    /// As [`Group::gather`].
    pub fn add(&mut self, name: &str, gradient: &Tensor) -> Result<()> {
        let values = gradient.data::<f32>()?;
        if self.broken.is_none() && !values.iter().all(|v| v.is_finite()) {
            self.broken = Some(name.to_string());
        }
        self.bucket.extend_from_slice(values);
        self.inside.push((name.to_string(), *gradient.desc()));
        if self.bucket.len() >= BUCKET { self.send() } else { Ok(()) }
    }

    fn send(&mut self) -> Result<()> {
        let (bucket, inside) = (std::mem::take(&mut self.bucket), std::mem::take(&mut self.inside));
        let Some(carrier) = &self.group.0 else {
            return Err(Error::internal("one process alone has nobody to send to"));
        };
        self.flying.push(Flying { sum: carrier.start_sum(bucket)?, inside });
        Ok(())
    }

    /// Waits for what is on its way: the sums over all processes.
    ///
    /// # Errors
    /// As [`Group::gather`]; `OutOfMemory`.
    pub fn finish(mut self, memory: &impl Allocate) -> Result<Tensors> {
        if !self.inside.is_empty() {
            self.send()?;
        }
        let mut all = Tensors::new();
        for Flying { sum, inside } in self.flying {
            let sums = sum.wait()?;
            let mut rest = &sums[..];
            for (name, desc) in inside {
                let (mine, others) = rest
                    .split_at_checked(desc.shape.count())
                    .ok_or_else(|| Error::internal("a bucket came back shorter than it left"))?;
                let mut sum = Tensor::new(desc, memory.allocate(size_of_val(mine))?)?;
                sum.data_mut::<f32>()?.copy_from_slice(mine);
                all.insert(name, sum);
                rest = others;
            }
        }
        Ok(all)
    }

    /// Sums a step over all processes: gradients, of which some may be on their way, and the numbers of the report. What
    /// is not finite is blamed on the first process where it is so; `names` are those of all weights, for that.
    ///
    /// # Errors
    /// As [`Group::gather`]; `OutOfMemory`.
    pub(in crate::train) fn sum_step(
        mut self,
        report: &mut Report,
        gradients: &mut Gradients,
        names: &[&String],
        memory: &impl Allocate,
    ) -> Result<()> {
        let group = self.group;
        for (name, gradient) in &gradients.generator {
            self.add(name, gradient)?;
        }
        let mut other = Reduction::new(group);
        for (name, gradient) in &gradients.discriminator {
            other.add(name, gradient)?;
        }
        let broken = self.broken.as_ref().or(other.broken.as_ref());
        let place = broken.and_then(|broken| names.iter().position(|name| *name == broken));
        gradients.generator = self.finish(memory)?;
        if !gradients.discriminator.is_empty() {
            gradients.discriminator = other.finish(memory)?;
        }
        let mut mine: Vec<f64> = report.scalars.iter().map(|scalar| scalar.value).collect();
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
        for (i, scalar) in report.scalars.iter_mut().enumerate() {
            scalar.value = all.iter().map(|numbers| numbers[i]).sum();
        }
        Ok(())
    }
}
