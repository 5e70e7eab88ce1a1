//! Rows divided by their length: latents and codes before they are compared, class features before their dot
//! products. As PyTorch's `normalize`, x / max(|x|, eps).

mod cpu;
#[cfg(feature = "cuda")]
mod cuda;

use super::check::{expect, expect_type, inputs};
use crate::backend::Device;
use crate::error::{Error, Result};
use crate::exec::{Backward, Cost, Cx, Eager, Gradients, Op};
use crate::tensor::{DType, Desc, Tensor};

/// Each row of the last axis to length 1.
///
/// Input: x (..., d) f32, or on a GPU bf16. Output: as x.
#[derive(Clone, Copy, Debug)]
pub struct Normalize {
    /// Rows that are shorter are divided by this. 0: a row of zeros becomes NaN.
    pub eps: f32,
}

impl Op for Normalize {
    const NAME: &'static str = "normalize";

    fn outputs(&self, all: &[Desc]) -> Result<[Desc; 1]> {
        let [x] = inputs::<1>(all)?;
        expect_type("x", &x, &[DType::F32, DType::BF16])?;
        if x.shape.is_empty() {
            return Err(Error::invalid(format!("x is {x}: it has no row")));
        }
        Ok([x])
    }

    fn cost(&self, all: &[Desc]) -> Cost {
        let count = all[0].shape.count() as f64;
        Cost { flops: 3.0 * count, bytes: 8.0 * count }
    }

    fn forward(&self, cx: Cx<'_>, all: &[&Tensor], outputs: &mut [Tensor; 1]) -> Result<()> {
        match cx.device {
            #[cfg(feature = "cuda")]
            Device::Cuda(cuda) => cuda::normalize(self.eps, cuda, all[0], &mut outputs[0]),
            Device::Cpu(_) if all[0].dtype() != DType::F32 => Err(cx.unsupported(Self::NAME, all[0].desc())),
            Device::Cpu(cpu) => cpu::normalize(self.eps, cpu, all[0], &mut outputs[0]),
        }
    }

    fn backward(&self, e: &Eager<'_>, pass: &Backward<'_, 1>) -> Result<Gradients> {
        let grad = pass.grads[0].as_ref().ok_or_else(|| Error::internal("no gradient"))?;
        let [dx] = e.run(&NormalizeBackward(*self), &[pass.inputs[0], grad])?;
        let mut found = Gradients::default();
        found[0] = Some(dx);
        Ok(found)
    }
}

/// Inputs: x and the gradient of x / |x|. Output: that of x, (g - y (y . g)) / |x|, or g / eps of a shorter row.
#[derive(Clone, Copy, Debug)]
struct NormalizeBackward(Normalize);

impl Op for NormalizeBackward {
    const NAME: &'static str = "normalize";

    fn outputs(&self, all: &[Desc]) -> Result<[Desc; 1]> {
        let [x, grad] = inputs::<2>(all)?;
        expect("gradient", &grad, &x.shape, x.dtype)?;
        Ok([x])
    }

    fn cost(&self, all: &[Desc]) -> Cost {
        let count = all[0].shape.count() as f64;
        Cost { flops: 8.0 * count, bytes: 12.0 * count }
    }

    fn forward(&self, cx: Cx<'_>, all: &[&Tensor], outputs: &mut [Tensor; 1]) -> Result<()> {
        match cx.device {
            #[cfg(feature = "cuda")]
            Device::Cuda(cuda) => cuda::backward(self.0.eps, cuda, all, &mut outputs[0]),
            Device::Cpu(cpu) => cpu::backward(self.0.eps, cpu, all, &mut outputs[0]),
        }
    }
}
