//! The mean of all elements.

#[cfg(feature = "cuda")]
mod cuda;

use super::check::{expect_type, inputs};
use super::elementwise::{Binary, sum};
use crate::backend::Device;
use crate::backend::cpu::simd::Simd;
use crate::error::{Error, Result};
use crate::exec::{Backward, Cost, Cx, Eager, Gradients, Op};
use crate::tensor::{DType, Desc, Tensor};

/// The mean. Input: x f32 of any shape, not empty, or on a GPU bf16. Output: a number of f32, of shape \[\].
#[derive(Clone, Copy, Debug)]
pub struct Mean;

#[derive(Clone, Copy)]
struct First;

impl Binary for First {
    #[inline(always)]
    unsafe fn apply<S: Simd>(self, a: S::V, _: S::V) -> S::V {
        a
    }
}

impl Op for Mean {
    const NAME: &'static str = "mean";

    fn outputs(&self, all: &[Desc]) -> Result<[Desc; 1]> {
        let [x] = inputs::<1>(all)?;
        expect_type("x", &x, &[DType::F32, DType::BF16])?;
        if x.shape.count() == 0 {
            return Err(Error::invalid(format!("x is {x}: nothing to take a mean of")));
        }
        Ok([Desc::plain([], DType::F32)])
    }

    fn cost(&self, all: &[Desc]) -> Cost {
        let count = all[0].shape.count() as f64;
        Cost { flops: count, bytes: 4.0 * count }
    }

    fn forward(&self, cx: Cx<'_>, all: &[&Tensor], outputs: &mut [Tensor; 1]) -> Result<()> {
        match cx.device {
            #[cfg(feature = "cuda")]
            Device::Cuda(cuda) => cuda::forward(cx, cuda, all[0], &mut outputs[0]),
            Device::Cpu(_) if all[0].dtype() != DType::F32 => Err(cx.unsupported(Self::NAME, all[0].desc())),
            Device::Cpu(cpu) => {
                let x = all[0].data::<f32>()?;
                let sum = sum(cx, cpu, First, x, x)?;
                outputs[0].data_mut::<f32>()?[0] = (sum / x.len() as f64) as f32;
                Ok(())
            }
        }
    }

    fn backward(&self, e: &Eager<'_>, pass: &Backward<'_, 1>) -> Result<Gradients> {
        let grad = pass.grads[0].as_ref().ok_or_else(|| Error::internal("no gradient"))?;
        let x = pass.inputs[0].desc();
        let mut dx = e.cx().workspace.tensor(*x)?;
        match e.cx().device {
            #[cfg(feature = "cuda")]
            Device::Cuda(cuda) => cuda::spread(cuda, grad, &mut dx)?,
            Device::Cpu(_) => {
                let share = grad.data::<f32>()?[0] / x.shape.count() as f32;
                dx.data_mut::<f32>()?.fill(share);
            }
        }
        let mut found = Gradients::default();
        found[0] = Some(dx);
        Ok(found)
    }
}
