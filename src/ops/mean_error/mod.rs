//! The mean error between two tensors, squared (L2) or absolute (L1): reconstruction, and the two halves of vector
//! quantisation's loss.

#[cfg(feature = "cuda")]
mod cuda;

use super::check::{expect, expect_type, inputs};
use super::elementwise::{Binary, map, sum};
use crate::backend::Device;
use crate::backend::cpu::simd::Simd;
use crate::error::{Error, Result};
use crate::exec::{Backward, Cost, Cx, Eager, Gradients, Op};
use crate::tensor::{DType, Desc, Tensor};

/// What becomes of each difference.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Power {
    /// |a - b|; its gradient where they are equal is 0.
    Absolute,
    /// (a - b)^2.
    Squared,
}

/// The mean over all elements.
///
/// Inputs: a and b f32 of one shape, not empty, or on a GPU bf16. Output: a number of f32, of shape \[\].
#[derive(Clone, Copy, Debug)]
pub struct MeanError(pub Power);

impl Binary for Power {
    #[inline(always)]
    unsafe fn apply<S: Simd>(self, a: S::V, b: S::V) -> S::V {
        // SAFETY: the caller's.
        unsafe {
            let d = S::sub(a, b);
            match self {
                Power::Absolute => S::abs(d),
                Power::Squared => S::mul(d, d),
            }
        }
    }
}

/// The gradient of [`Power`] by a, times a factor.
#[derive(Clone, Copy)]
struct Slope(Power, f32);

impl Binary for Slope {
    #[inline(always)]
    unsafe fn apply<S: Simd>(self, a: S::V, b: S::V) -> S::V {
        // SAFETY: the caller's.
        unsafe {
            let (d, zero) = (S::sub(a, b), S::splat(0.0));
            match self.0 {
                Power::Squared => S::mul(d, S::splat(2.0 * self.1)),
                Power::Absolute => {
                    let below = S::select_gt(zero, d, S::splat(-self.1), S::mul(zero, d));
                    S::select_gt(d, zero, S::splat(self.1), below)
                }
            }
        }
    }
}

impl Op for MeanError {
    const NAME: &'static str = "mean_error";

    fn outputs(&self, all: &[Desc]) -> Result<[Desc; 1]> {
        let [a, b] = inputs::<2>(all)?;
        expect_type("a", &a, &[DType::F32, DType::BF16])?;
        expect("b", &b, &a.shape, a.dtype)?;
        if a.shape.count() == 0 {
            return Err(Error::invalid(format!("a is {a}: nothing to take a mean of")));
        }
        Ok([Desc::plain([], DType::F32)])
    }

    fn cost(&self, all: &[Desc]) -> Cost {
        let count = all[0].shape.count() as f64;
        Cost { flops: 3.0 * count, bytes: 8.0 * count }
    }

    fn forward(&self, cx: Cx<'_>, all: &[&Tensor], outputs: &mut [Tensor; 1]) -> Result<()> {
        match cx.device {
            #[cfg(feature = "cuda")]
            Device::Cuda(cuda) => cuda::forward(self.0, cx, cuda, all, &mut outputs[0]),
            Device::Cpu(_) if all[0].dtype() != DType::F32 => Err(cx.unsupported(Self::NAME, all[0].desc())),
            Device::Cpu(cpu) => {
                let (a, b) = (all[0].data::<f32>()?, all[1].data::<f32>()?);
                let sum = sum(cx, cpu, self.0, a, b)?;
                outputs[0].data_mut::<f32>()?[0] = (sum / a.len() as f64) as f32;
                Ok(())
            }
        }
    }

    fn backward(&self, e: &Eager<'_>, pass: &Backward<'_, 1>) -> Result<Gradients> {
        let grad = pass.grads[0].as_ref().ok_or_else(|| Error::internal("no gradient"))?;
        let (a, b) = (pass.inputs[0], pass.inputs[1]);
        let mut found = Gradients::default();
        for (index, pair) in [[a, b], [b, a]].into_iter().enumerate() {
            if pass.wanted[index] {
                let [d] = e.run(&MeanErrorBackward(self.0), &[pair[0], pair[1], grad])?;
                found[index] = Some(d);
            }
        }
        Ok(found)
    }
}

/// Inputs: a, b, gradient of the mean. Output: gradient of a.
#[derive(Clone, Copy, Debug)]
struct MeanErrorBackward(Power);

impl Op for MeanErrorBackward {
    const NAME: &'static str = "mean_error";

    fn outputs(&self, all: &[Desc]) -> Result<[Desc; 1]> {
        let [a, b, grad] = inputs::<3>(all)?;
        expect("b", &b, &a.shape, a.dtype)?;
        expect("gradient", &grad, &[], DType::F32)?;
        Ok([a])
    }

    fn cost(&self, all: &[Desc]) -> Cost {
        let count = all[0].shape.count() as f64;
        Cost { flops: 2.0 * count, bytes: 12.0 * count }
    }

    fn forward(&self, cx: Cx<'_>, all: &[&Tensor], outputs: &mut [Tensor; 1]) -> Result<()> {
        match cx.device {
            #[cfg(feature = "cuda")]
            Device::Cuda(cuda) => cuda::backward(self.0, cuda, all, &mut outputs[0]),
            Device::Cpu(cpu) => {
                let (a, b) = (all[0].data::<f32>()?, all[1].data::<f32>()?);
                let factor = f64::from(all[2].data::<f32>()?[0]) / a.len() as f64;
                map(cpu, Slope(self.0, factor as f32), a, b, outputs[0].data_mut::<f32>()?);
                Ok(())
            }
        }
    }
}
