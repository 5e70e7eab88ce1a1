//! Root-mean-square normalisation over the last axis: y = x / sqrt(mean(x^2) + eps) * weight (Zhang and
//! Sennrich, 2019).

mod backward;
mod cpu;
#[cfg(feature = "cuda")]
mod cuda;

use super::check::{expect, expect_type, inputs};
use crate::backend::Device;
use crate::error::{Error, Result};
use crate::exec::{Backward, Cost, Cx, Eager, Gradients, Op};
use crate::tensor::{DType, Desc, Tensor};

/// Each row divided by its root mean square, then scaled per channel.
///
/// Inputs: x (..., c), weight (c), f32. Output: as x. On a GPU x may be bf16.
#[derive(Clone, Copy, Debug)]
pub struct RmsNorm {
    /// Added to the mean square.
    pub eps: f32,
}

impl Op for RmsNorm {
    const NAME: &'static str = "rms_norm";

    fn outputs(&self, all: &[Desc]) -> Result<[Desc; 1]> {
        let [x, weight] = inputs::<2>(all)?;
        expect_type("x", &x, &[DType::F32, DType::BF16])?;
        let c = *x.shape.last().ok_or_else(|| Error::invalid("x has no axis to take a mean along"))?;
        if c == 0 {
            return Err(Error::invalid(format!("x is {x}: nothing to take a mean of")));
        }
        expect("weight", &weight, &[c], DType::F32)?;
        Ok([x])
    }

    fn cost(&self, all: &[Desc]) -> Cost {
        let count = all[0].shape.count() as f64;
        Cost { flops: 4.0 * count, bytes: 8.0 * count }
    }

    fn forward(&self, cx: Cx<'_>, all: &[&Tensor], outputs: &mut [Tensor; 1]) -> Result<()> {
        match cx.device {
            #[cfg(feature = "cuda")]
            Device::Cuda(cuda) => cuda::forward(self.eps, cuda, all, &mut outputs[0]),
            Device::Cpu(_) if all[0].dtype() != DType::F32 => Err(cx.unsupported(Self::NAME, all[0].desc())),
            Device::Cpu(cpu) => cpu::rms_norm(self, cpu, all, &mut outputs[0]),
        }
    }

    fn backward(&self, e: &Eager<'_>, pass: &Backward<'_, 1>) -> Result<Gradients> {
        backward::rms_norm(self, e, pass)
    }
}
