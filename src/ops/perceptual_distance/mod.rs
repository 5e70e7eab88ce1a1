//! One layer of LPIPS (Zhang et al., 2018): features of two pictures, each position's channels divided by their
//! length, squared differences weighted by channel, summed, and averaged over positions.
//!
//! The length is sqrt(sum of squares) + 1e-10. A column of zeros has no direction; its gradient is 0.

mod cpu;
#[cfg(feature = "cuda")]
mod cuda;

use super::check::{dims, expect, expect_type, inputs};
use crate::backend::Device;
use crate::error::{Error, Result};
use crate::exec::{Backward, Cost, Cx, Eager, Gradients, Op};
use crate::tensor::{DType, Desc, Tensor};

/// Inputs: a and b (n, h, w, c) f32 of one shape, at least one position; weight (c) f32. Output: (n) f32. On a GPU a and
/// b may be bf16.
///
/// The gradient is a's: b, the features of the true picture, and the weight are taken as given.
#[derive(Clone, Copy, Debug)]
pub struct PerceptualDistance;

impl Op for PerceptualDistance {
    const NAME: &'static str = "perceptual_distance";

    fn outputs(&self, all: &[Desc]) -> Result<[Desc; 1]> {
        let [a, b, weight] = inputs::<3>(all)?;
        let [n, h, w, c] = dims("a", &a)?;
        expect_type("a", &a, &[DType::F32, DType::BF16])?;
        expect("b", &b, &a.shape, a.dtype)?;
        expect("weight", &weight, &[c], DType::F32)?;
        if h == 0 || w == 0 || c == 0 {
            return Err(Error::invalid(format!("a is {a}: nothing to take a mean of")));
        }
        Ok([Desc::plain([n], DType::F32)])
    }

    fn cost(&self, all: &[Desc]) -> Cost {
        let count = all[0].shape.count() as f64;
        Cost { flops: 9.0 * count, bytes: 8.0 * count }
    }

    fn forward(&self, cx: Cx<'_>, all: &[&Tensor], outputs: &mut [Tensor; 1]) -> Result<()> {
        match cx.device {
            #[cfg(feature = "cuda")]
            Device::Cuda(cuda) => cuda::forward(cx, cuda, all, &mut outputs[0]),
            Device::Cpu(_) if all[0].dtype() != DType::F32 => Err(cx.unsupported(Self::NAME, all[0].desc())),
            Device::Cpu(cpu) => cpu::forward(cx, cpu, all, &mut outputs[0]),
        }
    }

    fn backward(&self, e: &Eager<'_>, pass: &Backward<'_, 1>) -> Result<Gradients> {
        let grad = pass.grads[0].as_ref().ok_or_else(|| Error::internal("no gradient"))?;
        if pass.wanted[1] || pass.wanted[2] {
            return Err(Error::unsupported("only the first picture of a perceptual distance has a gradient"));
        }
        let [da] =
            e.run(&PerceptualDistanceBackward, &[pass.inputs[0], pass.inputs[1], pass.inputs[2], grad])?;
        let mut found = Gradients::default();
        found[0] = Some(da);
        Ok(found)
    }
}

/// Inputs: a, b, weight, gradient of the distances (n). Output: gradient of a.
#[derive(Clone, Copy, Debug)]
struct PerceptualDistanceBackward;

impl Op for PerceptualDistanceBackward {
    const NAME: &'static str = "perceptual_distance";

    fn outputs(&self, all: &[Desc]) -> Result<[Desc; 1]> {
        let [a, _, _, grad] = inputs::<4>(all)?;
        expect("gradient", &grad, &a.shape[..1], DType::F32)?;
        Ok([a])
    }

    fn cost(&self, all: &[Desc]) -> Cost {
        let count = all[0].shape.count() as f64;
        Cost { flops: 16.0 * count, bytes: 12.0 * count }
    }

    fn forward(&self, cx: Cx<'_>, all: &[&Tensor], outputs: &mut [Tensor; 1]) -> Result<()> {
        match cx.device {
            #[cfg(feature = "cuda")]
            Device::Cuda(cuda) => cuda::backward(cuda, all, &mut outputs[0]),
            Device::Cpu(cpu) => cpu::backward(cpu, all, &mut outputs[0]),
        }
    }
}
