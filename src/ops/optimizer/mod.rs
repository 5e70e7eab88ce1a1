//! One step of an optimiser on one tensor: Adam with decoupled weight decay, the average of the weights, and the
//! length of a gradient. The new values are outputs, the old ones go back to the workspace. [`step`], [`average`] and
//! [`lengths`] do the same for all tensors of a network.

mod cpu;
#[cfg(feature = "cuda")]
mod cuda;
mod many;

pub use many::{Moved, average, lengths, step};

use super::check::{expect, expect_type, inputs};
use super::elementwise::{Binary, map, sum};
use crate::backend::Device;
use crate::backend::cpu::simd::Simd;
use crate::error::Result;
use crate::exec::{Cost, Cx, Op};
use crate::tensor::{DType, Desc, Tensor};

/// Adam (Kingma and Ba, 2015) with decoupled weight decay (Loshchilov and Hutter, 2019), as PyTorch orders it.
///
/// m' = m + (1 - beta1)(g - m), v' = beta2 v + (1 - beta2) g^2,
/// w' = w (1 - rate * decay) - rate / (1 - beta1^t) * m' / (sqrt(v' / (1 - beta2^t)) + eps), g = scale * gradient.
///
/// Inputs: weight, gradient, m and v, f32 of one shape, the gradient on a GPU also bf16. Outputs: weight, m and v.
#[derive(Clone, Copy, Debug)]
pub struct Adam {
    /// Learning rate.
    pub rate: f64,
    /// Decay of the first and of the second moment.
    pub betas: [f64; 2],
    /// Added to the root of the second moment.
    pub eps: f64,
    /// Weight decay.
    pub decay: f64,
    /// Steps, this one included.
    pub step: u64,
    /// What the gradient is multiplied by first: clipping.
    pub scale: f64,
}

/// What the step multiplies with.
#[derive(Clone, Copy)]
struct Factors {
    keep: f32,
    rate: f32,
    first: f32,
    second: f32,
    fresh: f32,
    root: f32,
    eps: f32,
    scale: f32,
}

impl Adam {
    fn factors(&self) -> Factors {
        let [first, second] = self.betas;
        let power = |beta: f64| 1.0 - beta.powf(self.step as f64);
        Factors {
            keep: (1.0 - self.rate * self.decay) as f32,
            rate: (self.rate / power(first)) as f32,
            first: (1.0 - first) as f32,
            second: second as f32,
            fresh: (1.0 - second) as f32,
            root: power(second).sqrt() as f32,
            eps: self.eps as f32,
            scale: self.scale as f32,
        }
    }
}

impl Op<3> for Adam {
    const NAME: &'static str = "optimizer";

    fn outputs(&self, all: &[Desc]) -> Result<[Desc; 3]> {
        let [weight, gradient, m, v] = inputs::<4>(all)?;
        expect_type("weight", &weight, &[DType::F32])?;
        expect_type("gradient", &gradient, &[DType::F32, DType::BF16])?;
        expect("gradient", &gradient, &weight.shape, gradient.dtype)?;
        expect("m", &m, &weight.shape, DType::F32)?;
        expect("v", &v, &weight.shape, DType::F32)?;
        Ok([weight, m, v])
    }

    fn cost(&self, all: &[Desc]) -> Cost {
        let count = all[0].shape.count() as f64;
        Cost { flops: 14.0 * count, bytes: 28.0 * count }
    }

    fn forward(&self, cx: Cx<'_>, all: &[&Tensor], outputs: &mut [Tensor; 3]) -> Result<()> {
        match cx.device {
            #[cfg(feature = "cuda")]
            Device::Cuda(cuda) => cuda::adam(self, cx, cuda, all, outputs),
            Device::Cpu(_) if all[1].dtype() != DType::F32 => Err(cx.unsupported(Self::NAME, all[1].desc())),
            Device::Cpu(cpu) => cpu::adam(self, cpu, all, outputs),
        }
    }
}

/// An exponential average of weights: average + (1 - decay)(weight - average).
///
/// Inputs: average and weight, f32 of one shape. Output: the new average.
#[derive(Clone, Copy, Debug)]
pub struct Average {
    /// How much of the old average stays.
    pub decay: f32,
}

impl Binary for Average {
    #[inline(always)]
    unsafe fn apply<S: Simd>(self, average: S::V, weight: S::V) -> S::V {
        // SAFETY: the caller's.
        unsafe { S::fma(S::splat(1.0 - self.decay), S::sub(weight, average), average) }
    }
}

impl Op for Average {
    const NAME: &'static str = "optimizer";

    fn outputs(&self, all: &[Desc]) -> Result<[Desc; 1]> {
        let [average, weight] = inputs::<2>(all)?;
        expect_type("average", &average, &[DType::F32])?;
        expect("weight", &weight, &average.shape, DType::F32)?;
        Ok([average])
    }

    fn cost(&self, all: &[Desc]) -> Cost {
        let count = all[0].shape.count() as f64;
        Cost { flops: 3.0 * count, bytes: 12.0 * count }
    }

    fn forward(&self, cx: Cx<'_>, all: &[&Tensor], outputs: &mut [Tensor; 1]) -> Result<()> {
        match cx.device {
            #[cfg(feature = "cuda")]
            Device::Cuda(cuda) => cuda::average(self, cx, cuda, all, &mut outputs[0]),
            Device::Cpu(cpu) => {
                let (average, weight) = (all[0].data::<f32>()?, all[1].data::<f32>()?);
                map(cpu, *self, average, weight, outputs[0].data_mut::<f32>()?);
                Ok(())
            }
        }
    }
}

/// The length sqrt(sum of squares) of a tensor.
///
/// Input: x f32 of any shape, or on a GPU bf16. Output: a number of f32, of shape \[\].
#[derive(Clone, Copy, Debug)]
pub struct Length;

impl Binary for Length {
    #[inline(always)]
    unsafe fn apply<S: Simd>(self, x: S::V, y: S::V) -> S::V {
        // SAFETY: the caller's.
        unsafe { S::mul(x, y) }
    }
}

impl Op for Length {
    const NAME: &'static str = "optimizer";

    fn outputs(&self, all: &[Desc]) -> Result<[Desc; 1]> {
        let [x] = inputs::<1>(all)?;
        expect_type("x", &x, &[DType::F32, DType::BF16])?;
        Ok([Desc::plain([], DType::F32)])
    }

    fn cost(&self, all: &[Desc]) -> Cost {
        let count = all[0].shape.count() as f64;
        Cost { flops: 2.0 * count, bytes: 4.0 * count }
    }

    fn forward(&self, cx: Cx<'_>, all: &[&Tensor], outputs: &mut [Tensor; 1]) -> Result<()> {
        match cx.device {
            #[cfg(feature = "cuda")]
            Device::Cuda(cuda) => cuda::length(cx, cuda, all[0], &mut outputs[0]),
            Device::Cpu(_) if all[0].dtype() != DType::F32 => Err(cx.unsupported(Self::NAME, all[0].desc())),
            Device::Cpu(cpu) => {
                let x = all[0].data::<f32>()?;
                let square = sum(cx, cpu, *self, x, x)?;
                outputs[0].data_mut::<f32>()?[0] = square.sqrt() as f32;
                Ok(())
            }
        }
    }
}
