//! GroupNorm over channels-last activations (Wu and He, 2018): each image's channels are normalised in groups
//! by the mean and (biased) variance over the group's channels and all positions, then scaled and shifted.
//!
//! y = x * scale + shift with scale = weight / sqrt(var + eps), shift = bias - mean * scale. The two rows are an
//! output of their own ([`Coefficients`]), so that a convolution can apply them, and SiLU, to its input on
//! load and the normalised tensor is never written.

mod backward;
mod cpu;
#[cfg(feature = "cuda")]
mod cuda;

pub use backward::ApplyBackward;

use super::check::{dims, expect, expect_type, inputs};
use crate::backend::Device;
use crate::error::{Error, Result};
use crate::exec::{Backward, Cost, Cx, Eager, Gradients, Op};
use crate::tensor::{DType, Desc, Tensor};

/// The per-image, per-channel scale and shift that GroupNorm amounts to.
///
/// Inputs: x (n, h, w, c) f32 or bf16; weight (c) and bias (c) f32. Output: (n, 2, c) f32, scale then shift.
/// A fourth input may be sums of x (n, parts, 4, c) f32, as [`super::conv2d::WithSums`] gathers them: then x is not
/// read. For each part of an image's positions and each channel: how many there are, a pivot, and the
/// sums of x - pivot and of its square.
#[derive(Clone, Copy, Debug)]
pub struct Coefficients {
    /// Groups; divides c.
    pub groups: usize,
    /// Added to the variance.
    pub eps: f32,
}

impl Op for Coefficients {
    const NAME: &'static str = "group_norm";

    fn outputs(&self, all: &[Desc]) -> Result<[Desc; 1]> {
        let (first, sums) = all.split_at(all.len().min(3));
        let [x, weight, bias] = inputs::<3>(first)?;
        let [n, h, w, c] = dims("x", &x)?;
        expect_type("x", &x, &[DType::F32, DType::BF16])?;
        if let Some(sums) = sums.first() {
            let [_, parts, _, _] = dims("sums", sums)?;
            expect("sums", sums, &[n, parts, 4, c], DType::F32)?;
        }
        if sums.len() > 1 {
            return Err(Error::internal(format!("{} inputs, expected at most 4", all.len())));
        }
        expect("weight", &weight, &[c], DType::F32)?;
        expect("bias", &bias, &[c], DType::F32)?;
        if self.groups == 0 || !c.is_multiple_of(self.groups) {
            return Err(Error::invalid(format!("{c} channels do not divide into {} groups", self.groups)));
        }
        if h * w == 0 {
            return Err(Error::invalid(format!("x is {x}: nothing to take a mean of")));
        }
        Ok([Desc::plain([n, 2, c], DType::F32)])
    }

    fn cost(&self, all: &[Desc]) -> Cost {
        let read = all.get(3).unwrap_or(&all[0]);
        Cost {
            flops: 3.0 * read.shape.count() as f64,
            bytes: (read.shape.count() * read.dtype.size()) as f64,
        }
    }

    fn forward(&self, cx: Cx<'_>, all: &[&Tensor], outputs: &mut [Tensor; 1]) -> Result<()> {
        match cx.device {
            #[cfg(feature = "cuda")]
            Device::Cuda(cuda) => cuda::coefficients(self, cx, cuda, all, &mut outputs[0]),
            Device::Cpu(cpu) => cpu::coefficients(self, cx, cpu, all, &mut outputs[0]),
        }
    }

    fn backward(&self, e: &Eager<'_>, pass: &Backward<'_, 1>) -> Result<Gradients> {
        backward::coefficients(self, e, pass)
    }
}

/// What is added to the result, if anything: one input as x.
fn also(x: &Desc, added: &[Desc]) -> Result<()> {
    match added {
        [] => Ok(()),
        [added] => expect("what is added", added, &x.shape, x.dtype),
        _ => Err(Error::internal(format!("{} inputs too many", added.len() - 1))),
    }
}

/// Scale and shift, with SiLU after them or not.
///
/// Inputs: x (n, h, w, c) f32 or bf16, coefficients (n, 2, c) f32; a third, as x, is added to the result. Output: as x.
#[derive(Clone, Copy, Debug)]
pub struct Apply {
    /// x * sigmoid(x) of the normalised value.
    pub silu: bool,
}

impl Op for Apply {
    const NAME: &'static str = "group_norm";

    fn outputs(&self, all: &[Desc]) -> Result<[Desc; 1]> {
        let (first, added) = all.split_at(all.len().min(2));
        let [x, coefficients] = inputs::<2>(first)?;
        let [n, _, _, c] = dims("x", &x)?;
        expect_type("x", &x, &[DType::F32, DType::BF16])?;
        expect("coefficients", &coefficients, &[n, 2, c], DType::F32)?;
        also(&x, added)?;
        Ok([x])
    }

    fn cost(&self, all: &[Desc]) -> Cost {
        let count = all[0].shape.count();
        let each = if self.silu { 16.0 } else { 2.0 };
        Cost { flops: each * count as f64, bytes: (all.len() * count * all[0].dtype.size()) as f64 }
    }

    fn forward(&self, cx: Cx<'_>, all: &[&Tensor], outputs: &mut [Tensor; 1]) -> Result<()> {
        match cx.device {
            #[cfg(feature = "cuda")]
            Device::Cuda(cuda) => cuda::apply(self, cx, cuda, all, &mut outputs[0]),
            Device::Cpu(cpu) => cpu::apply(self, cpu, all, &mut outputs[0]),
        }
    }

    fn backward(&self, e: &Eager<'_>, pass: &Backward<'_, 1>) -> Result<Gradients> {
        backward::apply(self, e, pass)
    }
}
