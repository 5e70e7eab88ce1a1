//! What batch normalisation (Ioffe and Szegedy, 2015) has beyond GroupNorm. Over the statistics of a batch it is
//! GroupNorm with a group a channel, the batch taken for one tall picture (`nn::BatchNorm`); here are the statistics
//! that it keeps from batch to batch. Those are a few numbers a channel, whatever type values have: f32, always.

#[cfg(feature = "cuda")]
mod cuda;

use super::check::{expect, inputs};
use crate::backend::Device;
use crate::error::{Error, Result};
use crate::exec::{Cost, Cx, Op};
use crate::tensor::{DType, Desc, Tensor};

/// The scale and shift that normalisation by kept statistics amounts to.
///
/// Inputs: weight, bias, mean and variance, each (c) f32. Output: (1, 2, c) f32 for `group_norm::Apply`.
#[derive(Clone, Copy, Debug)]
pub struct Kept {
    /// Added to the variance.
    pub eps: f32,
}

/// The statistics after one more batch: kept + momentum * (batch's - kept), the batch's variance unbiased.
///
/// Inputs: the batch's `group_norm::Coefficients` (1, 2, c) for weight 1 and bias 0, with the same `eps`; mean and
/// variance (c) as kept so far. Outputs: mean and variance (c).
#[derive(Clone, Copy, Debug)]
pub struct Keep {
    /// Share of the new batch.
    pub momentum: f32,
    /// Added to the variance.
    pub eps: f32,
    /// Positions of the batch: pictures times pixels, at least 2.
    pub positions: usize,
}

fn channels(desc: &Desc) -> Result<usize> {
    match desc.shape[..] {
        [c] => Ok(c),
        _ => Err(Error::invalid(format!("a statistic is {desc}, expected 1 axis"))),
    }
}

impl Op for Kept {
    const NAME: &'static str = "batch_norm";

    fn outputs(&self, all: &[Desc]) -> Result<[Desc; 1]> {
        let each = inputs::<4>(all)?;
        let c = channels(&each[0])?;
        for (name, desc) in ["weight", "bias", "mean", "variance"].iter().zip(&each) {
            expect(name, desc, &[c], DType::F32)?;
        }
        Ok([Desc::plain([1, 2, c], DType::F32)])
    }

    fn cost(&self, all: &[Desc]) -> Cost {
        let c = all[0].shape.count() as f64;
        Cost { flops: 5.0 * c, bytes: 24.0 * c }
    }

    fn forward(&self, cx: Cx<'_>, all: &[&Tensor], outputs: &mut [Tensor; 1]) -> Result<()> {
        match cx.device {
            #[cfg(feature = "cuda")]
            Device::Cuda(cuda) => cuda::kept(self, cuda, all, &mut outputs[0]),
            Device::Cpu(_) => {
                let (weight, bias) = (all[0].data::<f32>()?, all[1].data::<f32>()?);
                let (mean, variance) = (all[2].data::<f32>()?, all[3].data::<f32>()?);
                let (scales, shifts) = outputs[0].data_mut::<f32>()?.split_at_mut(weight.len());
                // A few hundred numbers.
                for c in 0..weight.len() {
                    let inverse = 1.0 / (f64::from(variance[c]) + f64::from(self.eps)).sqrt();
                    let scale = f64::from(weight[c]) * inverse;
                    scales[c] = scale as f32;
                    shifts[c] = (f64::from(bias[c]) - f64::from(mean[c]) * scale) as f32;
                }
                Ok(())
            }
        }
    }
}

impl Op<2> for Keep {
    const NAME: &'static str = "batch_norm";

    fn outputs(&self, all: &[Desc]) -> Result<[Desc; 2]> {
        let [unit, mean, variance] = inputs::<3>(all)?;
        let c = channels(&mean)?;
        expect("coefficients", &unit, &[1, 2, c], DType::F32)?;
        expect("mean", &mean, &[c], DType::F32)?;
        expect("variance", &variance, &[c], DType::F32)?;
        if self.positions < 2 {
            return Err(Error::invalid(format!("{} positions have no variance", self.positions)));
        }
        Ok([mean, variance])
    }

    fn cost(&self, all: &[Desc]) -> Cost {
        let c = all[1].shape.count() as f64;
        Cost { flops: 10.0 * c, bytes: 24.0 * c }
    }

    fn forward(&self, cx: Cx<'_>, all: &[&Tensor], outputs: &mut [Tensor; 2]) -> Result<()> {
        match cx.device {
            #[cfg(feature = "cuda")]
            Device::Cuda(cuda) => cuda::keep(self, cuda, all, outputs),
            Device::Cpu(_) => {
                let (unit, mean, variance) =
                    (all[0].data::<f32>()?, all[1].data::<f32>()?, all[2].data::<f32>()?);
                let (inverses, shifts) = unit.split_at(mean.len());
                let [new_mean, new_variance] = outputs;
                let (new_mean, new_variance) = (new_mean.data_mut::<f32>()?, new_variance.data_mut::<f32>()?);
                let (momentum, count) = (f64::from(self.momentum), self.positions as f64);
                let step = |old: f32, new: f64| (f64::from(old) + momentum * (new - f64::from(old))) as f32;
                for c in 0..mean.len() {
                    let r = f64::from(inverses[c]);
                    let biased = (1.0 / (r * r) - f64::from(self.eps)).max(0.0);
                    new_mean[c] = step(mean[c], -f64::from(shifts[c]) / r);
                    new_variance[c] = step(variance[c], biased * count / (count - 1.0));
                }
                Ok(())
            }
        }
    }
}
