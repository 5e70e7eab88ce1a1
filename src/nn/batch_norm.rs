use super::Params;
use crate::error::Result;
use crate::exec::{Eager, Exec, Op, Param};
use crate::ops::batch_norm::{Keep, Kept};
use crate::ops::group_norm::{Apply, Coefficients};
use crate::tensor::Tensor;

const EPS: f32 = 1e-5;
const MOMENTUM: f32 = 0.1;

/// Whose positions a batch's statistics are of.
pub trait Statistics {
    /// Finds the `group_norm::Coefficients` of a batch; inputs and output are that one's.
    type Op: Op + 'static;

    /// The operation that does what `own` does for a batch by itself.
    fn of(&self, own: Coefficients) -> Self::Op;

    /// How many batches, of one size, they are of.
    fn batches(&self) -> usize;
}

/// A batch's own.
#[derive(Clone, Copy, Debug)]
pub struct Own;

impl Statistics for Own {
    type Op = Coefficients;

    fn of(&self, own: Coefficients) -> Coefficients {
        own
    }

    fn batches(&self) -> usize {
        1
    }
}

/// Batch normalisation over channels-last activations, under PyTorch's names, eps and momentum.
pub struct BatchNorm {
    weight: Param,
    bias: Param,
    running_mean: Param,
    running_var: Param,
    channels: usize,
}

impl BatchNorm {
    /// `weight`, `bias`, `running_mean` and `running_var` of `channels` elements.
    ///
    /// # Errors
    /// Those of [`Params::get`].
    pub fn new(at: &Params<'_>, channels: usize) -> Result<BatchNorm> {
        let get = |name| at.get(name, &[channels]);
        Ok(BatchNorm {
            weight: get("weight")?,
            bias: get("bias")?,
            running_mean: get("running_mean")?,
            running_var: get("running_var")?,
            channels,
        })
    }

    /// The names of the statistics that it keeps: mean and variance.
    pub fn statistics(&self) -> [&Param; 2] {
        [&self.running_mean, &self.running_var]
    }

    /// x (n, h, w, c) normalised by its batch's mean and variance: training.
    ///
    /// # Errors
    /// The operations'.
    pub fn of_batch<E: Exec>(&self, e: &E, x: &E::Value, statistics: &impl Statistics) -> Result<E::Value> {
        let shape = e.desc(x).shape;
        // The batch as one tall picture, a group a channel.
        let tall = e.reshape(x, &[1, shape[0] * shape[1], shape[2], shape[3]])?;
        let (weight, bias) = (e.param(&self.weight)?, e.param(&self.bias)?);
        let op = statistics.of(Coefficients { groups: self.channels, eps: EPS });
        let [coefficients] = e.apply(op, &[&tall, &weight, &bias])?;
        let [y] = e.apply(Apply { silu: false }, &[&tall, &coefficients])?;
        e.reshape(&y, &shape)
    }

    /// x (n, h, w, c) normalised by the kept statistics: inference.
    ///
    /// # Errors
    /// The operations'.
    pub fn of_kept<E: Exec>(&self, e: &E, x: &E::Value) -> Result<E::Value> {
        let shape = e.desc(x).shape;
        let tall = e.reshape(x, &[1, shape[0] * shape[1], shape[2], shape[3]])?;
        let (weight, bias) = (e.param(&self.weight)?, e.param(&self.bias)?);
        let (mean, variance) = (e.param(&self.running_mean)?, e.param(&self.running_var)?);
        let [coefficients] = e.apply(Kept { eps: EPS }, &[&weight, &bias, &mean, &variance])?;
        let [y] = e.apply(Apply { silu: false }, &[&tall, &coefficients])?;
        e.reshape(&y, &shape)
    }

    /// The statistics after a batch x (n, h, w, c), from those kept so far.
    ///
    /// # Errors
    /// The operations'.
    pub fn keep(
        &self,
        e: &Eager<'_>,
        x: &Tensor,
        kept: [&Tensor; 2],
        statistics: &impl Statistics,
    ) -> Result<[Tensor; 2]> {
        let shape = *x.shape();
        let positions = shape[0] * shape[1] * shape[2] * statistics.batches();
        let tall = x.reshape([1, shape[0] * shape[1], shape[2], shape[3]])?;
        let constant = |value: f32| {
            e.cx().written::<f32>([self.channels], |to| {
                to.fill(value);
                Ok(())
            })
        };
        let op = statistics.of(Coefficients { groups: self.channels, eps: EPS });
        let [unit] = e.run(&op, &[&tall, &constant(1.0)?, &constant(0.0)?])?;
        e.run(&Keep { momentum: MOMENTUM, eps: EPS, positions }, &[&unit, kept[0], kept[1]])
    }
}
