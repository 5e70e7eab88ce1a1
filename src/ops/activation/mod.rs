//! Activations that stand by themselves, between a convolution and what reads it. Those after a linear layer are
//! part of it (`linear`).

#[cfg(feature = "cuda")]
mod cuda;

use super::check::{expect, expect_type, inputs};
use super::elementwise::{Binary, map};
use crate::backend::Device;
use crate::backend::cpu::simd::Simd;
use crate::error::{Error, Result};
use crate::exec::{Backward, Cost, Cx, Eager, Gradients, Op};
use crate::tensor::{DType, Desc, Tensor};

/// x where x > 0, else slope * x: ReLU with slope 0, LeakyReLU with another.
///
/// Input: x f32 of any shape, or on a GPU bf16. Output: as x. A NaN stays.
#[derive(Clone, Copy, Debug)]
pub struct LeakyRelu {
    /// Of the negative half.
    pub slope: f32,
}

impl Binary for LeakyRelu {
    #[inline(always)]
    unsafe fn apply<S: Simd>(self, x: S::V, _: S::V) -> S::V {
        // SAFETY: the caller's.
        unsafe { S::select_gt(x, S::splat(0.0), x, S::mul(x, S::splat(self.slope))) }
    }
}

#[derive(Clone, Copy)]
struct Slope(f32);

impl Binary for Slope {
    #[inline(always)]
    unsafe fn apply<S: Simd>(self, x: S::V, grad: S::V) -> S::V {
        // SAFETY: the caller's.
        unsafe { S::select_gt(x, S::splat(0.0), grad, S::mul(grad, S::splat(self.0))) }
    }
}

impl Op for LeakyRelu {
    const NAME: &'static str = "activation";

    fn outputs(&self, all: &[Desc]) -> Result<[Desc; 1]> {
        let [x] = inputs::<1>(all)?;
        expect_type("x", &x, &[DType::F32, DType::BF16])?;
        Ok([x])
    }

    fn cost(&self, all: &[Desc]) -> Cost {
        let count = all[0].shape.count() as f64;
        Cost { flops: count, bytes: 8.0 * count }
    }

    fn forward(&self, cx: Cx<'_>, all: &[&Tensor], outputs: &mut [Tensor; 1]) -> Result<()> {
        match cx.device {
            #[cfg(feature = "cuda")]
            Device::Cuda(cuda) => cuda::forward(self.slope, cuda, all[0], &mut outputs[0]),
            Device::Cpu(_) if all[0].dtype() != DType::F32 => Err(cx.unsupported(Self::NAME, all[0].desc())),
            Device::Cpu(cpu) => {
                let x = all[0].data::<f32>()?;
                map(cpu, *self, x, x, outputs[0].data_mut::<f32>()?);
                Ok(())
            }
        }
    }

    fn backward(&self, e: &Eager<'_>, pass: &Backward<'_, 1>) -> Result<Gradients> {
        let grad = pass.grads[0].as_ref().ok_or_else(|| Error::internal("no gradient"))?;
        let [dx] = e.run(&LeakyReluBackward(*self), &[pass.inputs[0], grad])?;
        let mut found = Gradients::default();
        found[0] = Some(dx);
        Ok(found)
    }
}

/// Inputs: x and the output's gradient. Output: x's.
#[derive(Clone, Copy, Debug)]
struct LeakyReluBackward(LeakyRelu);

impl Op for LeakyReluBackward {
    const NAME: &'static str = "activation";

    fn outputs(&self, all: &[Desc]) -> Result<[Desc; 1]> {
        let [x, grad] = inputs::<2>(all)?;
        expect("gradient", &grad, &x.shape, x.dtype)?;
        Ok([x])
    }

    fn cost(&self, all: &[Desc]) -> Cost {
        let count = all[0].shape.count() as f64;
        Cost { flops: count, bytes: 12.0 * count }
    }

    fn forward(&self, cx: Cx<'_>, all: &[&Tensor], outputs: &mut [Tensor; 1]) -> Result<()> {
        match cx.device {
            #[cfg(feature = "cuda")]
            Device::Cuda(cuda) => cuda::backward(self.0.slope, cuda, all, &mut outputs[0]),
            Device::Cpu(cpu) => {
                let (x, grad) = (all[0].data::<f32>()?, all[1].data::<f32>()?);
                map(cpu, Slope(self.0.slope), x, grad, outputs[0].data_mut::<f32>()?);
                Ok(())
            }
        }
    }
}
