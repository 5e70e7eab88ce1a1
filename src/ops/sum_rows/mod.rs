//! Sums over all axes but the last ones: the gradient of whatever was added, or multiplied, to each row.

mod cpu;
#[cfg(feature = "cuda")]
mod cuda;

pub(in crate::ops) use cpu::reduce;
#[cfg(feature = "cuda")]
pub(in crate::ops) use cuda::columns;

use super::check::{expect_type, inputs};
use crate::backend::Device;
use crate::error::{Error, Result};
use crate::exec::{Cost, Cx, Op};
use crate::tensor::{DType, Desc, Shape, Tensor};

/// The sum over the leading axes. Input: (..., shape) f32 or bf16. Output: shape f32.
#[derive(Clone, Copy, Debug)]
pub struct SumRows {
    /// How many of the last axes stay.
    pub keep: usize,
}

impl Op for SumRows {
    const NAME: &'static str = "sum_rows";

    fn outputs(&self, all: &[Desc]) -> Result<[Desc; 1]> {
        let [x] = inputs::<1>(all)?;
        expect_type("x", &x, &[DType::F32, DType::BF16])?;
        let kept = x.shape.len().checked_sub(self.keep).and_then(|n| Shape::try_from_slice(&x.shape[n..]));
        let kept = kept.ok_or_else(|| Error::invalid(format!("x is {x}: it has not {} axes", self.keep)))?;
        Ok([Desc::plain(kept, DType::F32)])
    }

    fn cost(&self, all: &[Desc]) -> Cost {
        let count = all[0].shape.count() as f64;
        Cost { flops: count, bytes: 4.0 * count }
    }

    fn forward(&self, cx: Cx<'_>, all: &[&Tensor], outputs: &mut [Tensor; 1]) -> Result<()> {
        match cx.device {
            #[cfg(feature = "cuda")]
            Device::Cuda(cuda) => cuda::forward(cx, cuda, all[0], &mut outputs[0]),
            Device::Cpu(cpu) => cpu::forward(cx, cpu, all[0], &mut outputs[0]),
        }
    }
}
