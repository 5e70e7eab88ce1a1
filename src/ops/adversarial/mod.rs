//! What a discriminator's logits are worth: the mean of a function of them, of which the losses of generator and
//! discriminator are made. Hinge: Lim and Ye, 2017; softplus: Goodfellow et al., 2014.

#[cfg(feature = "cuda")]
mod cuda;

use super::check::{expect, expect_type, inputs};
use super::elementwise::{Binary, map, sum};
use crate::backend::Device;
use crate::backend::cpu::simd::{Simd, math};
use crate::error::{Error, Result};
use crate::exec::{Backward, Cost, Cx, Eager, Gradients, Op};
use crate::tensor::{DType, Desc, Tensor};

/// A function of s * logit, s being the sign.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Function {
    /// The value itself.
    Linear,
    /// max(0, 1 + v).
    Hinge,
    /// ln(1 + e^v).
    Softplus,
}

/// The mean of `function` (sign * logit).
///
/// Input: logits f32 of any shape, not empty, or on a GPU bf16. Output: a number of f32, of shape \[\].
#[derive(Clone, Copy, Debug)]
pub struct Score {
    /// What is applied.
    pub function: Function,
    /// Whether logits are negated first: high ones are wanted.
    pub negated: bool,
}

impl Score {
    fn sign(self) -> f32 {
        if self.negated { -1.0 } else { 1.0 }
    }
}

impl Binary for Score {
    #[inline(always)]
    unsafe fn apply<S: Simd>(self, a: S::V, _: S::V) -> S::V {
        // SAFETY: the caller's.
        unsafe {
            let (zero, one) = (S::splat(0.0), S::splat(1.0));
            let v = S::mul(S::splat(self.sign()), a);
            match self.function {
                Function::Linear => v,
                Function::Hinge => S::max(zero, S::add(one, v)),
                // max(v, 0) + ln(1 + e^-|v|); ln by two Newton steps on y -> y - 1 + x e^-y, x in [1, 2].
                Function::Softplus => {
                    let x = S::add(one, math::exp::<S>(S::sub(zero, S::abs(v))));
                    let r = S::div(S::sub(x, one), S::add(x, one));
                    let r2 = S::mul(r, r);
                    let mut p = S::splat(1.0 / 7.0);
                    for c in [1.0 / 5.0, 1.0 / 3.0, 1.0] {
                        p = S::fma(p, r2, S::splat(c));
                    }
                    let mut y = S::mul(S::splat(2.0), S::mul(r, p));
                    for _ in 0..2 {
                        let step = S::sub(S::mul(x, math::exp::<S>(S::sub(zero, y))), one);
                        y = S::add(y, step);
                    }
                    S::add(S::max(zero, v), y)
                }
            }
        }
    }
}

/// The derivative by the logit, times a factor.
#[derive(Clone, Copy)]
struct Slope(Score, f32);

impl Binary for Slope {
    #[inline(always)]
    unsafe fn apply<S: Simd>(self, a: S::V, _: S::V) -> S::V {
        // SAFETY: the caller's.
        unsafe {
            let full = S::splat(self.1 * self.0.sign());
            let v = S::mul(S::splat(self.0.sign()), a);
            match self.0.function {
                Function::Linear => full,
                Function::Hinge => S::select_gt(v, S::splat(-1.0), full, S::splat(0.0)),
                Function::Softplus => S::mul(full, math::sigmoid::<S>(v)),
            }
        }
    }
}

impl Op for Score {
    const NAME: &'static str = "adversarial";

    fn outputs(&self, all: &[Desc]) -> Result<[Desc; 1]> {
        let [logits] = inputs::<1>(all)?;
        expect_type("logits", &logits, &[DType::F32, DType::BF16])?;
        if logits.shape.count() == 0 {
            return Err(Error::invalid(format!("logits are {logits}: nothing to take a mean of")));
        }
        Ok([Desc::plain([], DType::F32)])
    }

    fn cost(&self, all: &[Desc]) -> Cost {
        let count = all[0].shape.count() as f64;
        Cost { flops: 3.0 * count, bytes: 4.0 * count }
    }

    fn forward(&self, cx: Cx<'_>, all: &[&Tensor], outputs: &mut [Tensor; 1]) -> Result<()> {
        match cx.device {
            #[cfg(feature = "cuda")]
            Device::Cuda(cuda) => cuda::forward(*self, cx, cuda, all[0], &mut outputs[0]),
            Device::Cpu(_) if all[0].dtype() != DType::F32 => Err(cx.unsupported(Self::NAME, all[0].desc())),
            Device::Cpu(cpu) => {
                let logits = all[0].data::<f32>()?;
                let sum = sum(cx, cpu, *self, logits, logits)?;
                outputs[0].data_mut::<f32>()?[0] = (sum / logits.len() as f64) as f32;
                Ok(())
            }
        }
    }

    fn backward(&self, e: &Eager<'_>, pass: &Backward<'_, 1>) -> Result<Gradients> {
        let grad = pass.grads[0].as_ref().ok_or_else(|| Error::internal("no gradient"))?;
        let [d] = e.run(&ScoreBackward(*self), &[pass.inputs[0], grad])?;
        let mut found = Gradients::default();
        found[0] = Some(d);
        Ok(found)
    }
}

/// Inputs: logits, gradient of the mean. Output: gradient of the logits.
#[derive(Clone, Copy, Debug)]
struct ScoreBackward(Score);

impl Op for ScoreBackward {
    const NAME: &'static str = "adversarial";

    fn outputs(&self, all: &[Desc]) -> Result<[Desc; 1]> {
        let [logits, grad] = inputs::<2>(all)?;
        expect("gradient", &grad, &[], DType::F32)?;
        Ok([logits])
    }

    fn cost(&self, all: &[Desc]) -> Cost {
        let count = all[0].shape.count() as f64;
        Cost { flops: 3.0 * count, bytes: 8.0 * count }
    }

    fn forward(&self, cx: Cx<'_>, all: &[&Tensor], outputs: &mut [Tensor; 1]) -> Result<()> {
        match cx.device {
            #[cfg(feature = "cuda")]
            Device::Cuda(cuda) => cuda::backward(self.0, cuda, all, &mut outputs[0]),
            Device::Cpu(cpu) => {
                let logits = all[0].data::<f32>()?;
                let factor = f64::from(all[1].data::<f32>()?[0]) / logits.len() as f64;
                let rule = Slope(self.0, factor as f32);
                map(cpu, rule, logits, logits, outputs[0].data_mut::<f32>()?);
                Ok(())
            }
        }
    }
}
