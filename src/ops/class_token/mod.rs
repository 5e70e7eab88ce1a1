//! The class token of a vision transformer: put before the others, and taken out again at the end.

#[cfg(feature = "cuda")]
mod cuda;

use super::check::{dims, expect, expect_type, inputs};
use crate::backend::Device;
use crate::backend::cpu::Parts;
use crate::error::{Error, Result};
use crate::exec::{Backward, Cost, Cx, Eager, Gradients, Op};
use crate::ops::fill::converted;
use crate::ops::sum_rows::SumRows;
use crate::tensor::{DType, Desc, Tensor};

/// Puts one token before those of every sequence.
///
/// Inputs: tokens (n, t, c) f32, token (c) f32, or on a GPU both bf16. Output: (n, t + 1, c), as they.
#[derive(Clone, Copy, Debug)]
pub struct Prepend;

/// Tokens `first..first + count` of every sequence.
///
/// Input: tokens (n, t, c) f32, or on a GPU bf16. Output: (n, count, c), as tokens.
#[derive(Clone, Copy, Debug)]
pub struct Tokens {
    /// The first token.
    pub first: usize,
    /// How many.
    pub count: usize,
}

impl Op for Prepend {
    const NAME: &'static str = "class_token";

    fn outputs(&self, all: &[Desc]) -> Result<[Desc; 1]> {
        let [tokens, token] = inputs::<2>(all)?;
        let [n, t, c] = dims("tokens", &tokens)?;
        expect_type("tokens", &tokens, &[DType::F32, DType::BF16])?;
        expect("token", &token, &[c], tokens.dtype)?;
        let more =
            t.checked_add(1).ok_or_else(|| Error::invalid(format!("tokens are {tokens}: too many")))?;
        Ok([Desc::plain([n, more, c], tokens.dtype)])
    }

    fn cost(&self, all: &[Desc]) -> Cost {
        Cost { flops: 0.0, bytes: 8.0 * all[0].shape.count() as f64 }
    }

    fn forward(&self, cx: Cx<'_>, all: &[&Tensor], outputs: &mut [Tensor; 1]) -> Result<()> {
        match cx.device {
            #[cfg(feature = "cuda")]
            Device::Cuda(cuda) => cuda::prepend(cuda, all[0], all[1], &mut outputs[0]),
            Device::Cpu(_) if all[0].dtype() != DType::F32 => Err(cx.unsupported(Self::NAME, all[0].desc())),
            Device::Cpu(cpu) => {
                let [n, t, c] = dims("tokens", all[0].desc())?;
                let (tokens, token) = (all[0].data::<f32>()?, all[1].data::<f32>()?);
                let parts = Parts::new(outputs[0].data_mut::<f32>()?);
                cpu.pool.blocks(n * (t + 1), |_, row| {
                    let (image, i) = (row / (t + 1), row % (t + 1));
                    // SAFETY: one part a token.
                    let to = unsafe { parts.slice(row * c..(row + 1) * c) };
                    to.copy_from_slice(if i == 0 { token } else { &tokens[(image * t + i - 1) * c..][..c] });
                });
                Ok(())
            }
        }
    }

    fn backward(&self, e: &Eager<'_>, pass: &Backward<'_, 1>) -> Result<Gradients> {
        let grad = pass.grads[0].as_ref().ok_or_else(|| Error::internal("no gradient"))?;
        let t = pass.inputs[0].shape()[1];
        let mut found = Gradients::default();
        if pass.wanted[0] {
            let [rest] = e.run(&Tokens { first: 1, count: t }, &[grad])?;
            found[0] = Some(rest);
        }
        if pass.wanted[1] {
            let [first] = e.run(&Tokens { first: 0, count: 1 }, &[grad])?;
            let [sum] = e.run(&SumRows { keep: 1 }, &[&first])?;
            found[1] = Some(converted(e.cx(), &sum, grad.dtype())?);
        }
        Ok(found)
    }
}

impl Op for Tokens {
    const NAME: &'static str = "class_token";

    fn outputs(&self, all: &[Desc]) -> Result<[Desc; 1]> {
        let [tokens] = inputs::<1>(all)?;
        let [n, t, c] = dims("tokens", &tokens)?;
        expect_type("tokens", &tokens, &[DType::F32, DType::BF16])?;
        if self.first.checked_add(self.count).is_none_or(|end| end > t) {
            return Err(Error::invalid(format!("tokens are {tokens}: none {}..+{}", self.first, self.count)));
        }
        Ok([Desc::plain([n, self.count, c], tokens.dtype)])
    }

    fn cost(&self, all: &[Desc]) -> Cost {
        let each = all[0].shape.count() / all[0].shape[1].max(1);
        Cost { flops: 0.0, bytes: 8.0 * (each * self.count) as f64 }
    }

    fn forward(&self, cx: Cx<'_>, all: &[&Tensor], outputs: &mut [Tensor; 1]) -> Result<()> {
        match cx.device {
            #[cfg(feature = "cuda")]
            Device::Cuda(cuda) => cuda::tokens(*self, cuda, all[0], &mut outputs[0]),
            Device::Cpu(_) if all[0].dtype() != DType::F32 => Err(cx.unsupported(Self::NAME, all[0].desc())),
            Device::Cpu(cpu) => {
                let [n, t, c] = dims("tokens", all[0].desc())?;
                let each = self.count * c;
                let x = all[0].data::<f32>()?;
                let parts = Parts::new(outputs[0].data_mut::<f32>()?);
                cpu.pool.blocks(n, |_, image| {
                    // SAFETY: one part an image.
                    let to = unsafe { parts.slice(image * each..(image + 1) * each) };
                    to.copy_from_slice(&x[(image * t + self.first) * c..][..each]);
                });
                Ok(())
            }
        }
    }

    fn backward(&self, e: &Eager<'_>, pass: &Backward<'_, 1>) -> Result<Gradients> {
        let grad = pass.grads[0].as_ref().ok_or_else(|| Error::internal("no gradient"))?;
        let [n, t, c] = dims("tokens", pass.inputs[0].desc())?;
        let each = self.count * c;
        let mut dx = e.cx().workspace.tensor(*pass.inputs[0].desc())?;
        match e.cx().device {
            #[cfg(feature = "cuda")]
            Device::Cuda(cuda) => cuda::tokens_backward(*self, cuda, grad, &mut dx)?,
            Device::Cpu(_) => {
                let (to, from) = (dx.data_mut::<f32>()?, grad.data::<f32>()?);
                to.fill(0.0);
                for image in 0..n {
                    to[(image * t + self.first) * c..][..each].copy_from_slice(&from[image * each..][..each]);
                }
            }
        }
        let mut found = Gradients::default();
        found[0] = Some(dx);
        Ok(found)
    }
}
