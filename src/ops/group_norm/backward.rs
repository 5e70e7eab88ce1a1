//! GroupNorm's rules. Through the normalised value flows d(x * scale + shift); through scale and shift, back to
//! x by way of mean and variance, flows an affine function of x again, so that the forward's own [`Apply`]
//! computes it.

use super::{Apply, Coefficients, also, cpu};
use crate::backend::Device;
use crate::error::{Error, Result};
use crate::exec::{Backward, Cost, Cx, Eager, Gradients, Op};
use crate::ops::check::{dims, expect, expect_type, inputs};
use crate::ops::fill::filled;
use crate::tensor::{DType, Desc, Tensor};

/// Inputs: x (n, h, w, c) f32 or bf16, coefficients (n, 2, c), gradient of the output, as x; a fourth, as x, is added to
/// x's gradient. Outputs: gradients of x, as x, and of the coefficients.
#[derive(Clone, Copy, Debug)]
pub struct ApplyBackward {
    /// As in [`Apply`].
    pub silu: bool,
}

impl Op<2> for ApplyBackward {
    const NAME: &'static str = "group_norm";

    fn outputs(&self, all: &[Desc]) -> Result<[Desc; 2]> {
        let (first, added) = all.split_at(all.len().min(3));
        let [x, coefficients, grad] = inputs::<3>(first)?;
        let [n, _, _, c] = dims("x", &x)?;
        expect_type("x", &x, &[DType::F32, DType::BF16])?;
        expect("coefficients", &coefficients, &[n, 2, c], DType::F32)?;
        expect("gradient", &grad, &x.shape, x.dtype)?;
        also(&x, added)?;
        Ok([x, coefficients])
    }

    fn cost(&self, all: &[Desc]) -> Cost {
        let count = all[0].shape.count() as f64;
        let bytes = (all.len() * all[0].dtype.size()) as f64 * count;
        Cost { flops: if self.silu { 24.0 } else { 5.0 } * count, bytes }
    }

    fn forward(&self, cx: Cx<'_>, all: &[&Tensor], outputs: &mut [Tensor; 2]) -> Result<()> {
        match cx.device {
            #[cfg(feature = "cuda")]
            Device::Cuda(cuda) => super::cuda::apply_backward(self, cx, cuda, all, outputs),
            Device::Cpu(cpu) => cpu::apply_backward(self, cx, cpu, all, outputs),
        }
    }
}

/// Inputs: the coefficients (n, 2, c) for weight 1 and bias 0, weight (c), and the gradient (n, 2, c) of the
/// coefficients. Outputs: the coefficients (n, 2, c) that make x its gradient, and the gradients of weight and bias.
#[derive(Clone, Copy, Debug)]
struct CoefficientsBackward {
    groups: usize,
    /// Positions of an image.
    positions: usize,
}

impl Op<3> for CoefficientsBackward {
    const NAME: &'static str = "group_norm";

    fn outputs(&self, all: &[Desc]) -> Result<[Desc; 3]> {
        let [unit, weight, grad] = inputs::<3>(all)?;
        let [_, _, c] = dims("coefficients", &unit)?;
        expect("weight", &weight, &[c], DType::F32)?;
        expect("gradient", &grad, &unit.shape, DType::F32)?;
        Ok([unit, weight, weight])
    }

    fn cost(&self, all: &[Desc]) -> Cost {
        let count = all[0].shape.count() as f64;
        Cost { flops: 8.0 * count, bytes: 12.0 * count }
    }

    fn forward(&self, cx: Cx<'_>, all: &[&Tensor], outputs: &mut [Tensor; 3]) -> Result<()> {
        match cx.device {
            #[cfg(feature = "cuda")]
            Device::Cuda(cuda) => {
                super::cuda::coefficients_backward((self.groups, self.positions), cx, cuda, all, outputs)
            }
            Device::Cpu(_) => self.run(all, outputs),
        }
    }
}

impl CoefficientsBackward {
    fn run(&self, all: &[&Tensor], outputs: &mut [Tensor; 3]) -> Result<()> {
        let [n, _, c] = dims("coefficients", all[0].desc())?;
        let (unit, weight, grad) = (all[0].data::<f32>()?, all[1].data::<f32>()?, all[2].data::<f32>()?);
        let [affine, d_weight, d_bias] = outputs;
        let (affine, d_weight) = (affine.data_mut::<f32>()?, d_weight.data_mut::<f32>()?);
        let d_bias = d_bias.data_mut::<f32>()?;
        d_weight.fill(0.0);
        d_bias.fill(0.0);
        let width = c / self.groups;
        let count = (self.positions * width) as f64;
        for image in 0..n {
            let at = |row: usize, channel: usize| (image * 2 + row) * c + channel;
            for first in (0..c).step_by(width.max(1)) {
                // scale = weight * r and shift = bias - mean * weight * r, with r = (variance + eps)^-1/2.
                let r = f64::from(unit[at(0, first)]);
                let mean = -f64::from(unit[at(1, first)]) / r;
                let (mut d_mean, mut d_r) = (0.0, 0.0);
                for channel in first..first + width {
                    let w = f64::from(weight[channel]);
                    let (d_scale, d_shift) =
                        (f64::from(grad[at(0, channel)]), f64::from(grad[at(1, channel)]));
                    d_weight[channel] += ((d_scale - d_shift * mean) * r) as f32;
                    d_bias[channel] += d_shift as f32;
                    d_mean -= d_shift * w * r;
                    d_r += (d_scale - d_shift * mean) * w;
                }
                // d mean / dx = 1 / count; d variance / dx = 2 (x - mean) / count.
                let d_variance = -0.5 * d_r * r * r * r;
                for channel in first..first + width {
                    affine[at(0, channel)] = (2.0 * d_variance / count) as f32;
                    affine[at(1, channel)] = ((d_mean - 2.0 * d_variance * mean) / count) as f32;
                }
            }
        }
        Ok(())
    }
}

pub(super) fn apply(op: &Apply, e: &Eager<'_>, pass: &Backward<'_, 1>) -> Result<Gradients> {
    let grad = pass.grads[0].as_ref().ok_or_else(|| Error::internal("no gradient"))?;
    let (x, sum) = (pass.inputs[0], pass.take_sum(0));
    let all = [x, pass.inputs[1], grad, sum.as_ref().unwrap_or(x)];
    let [dx, d_coefficients] =
        e.run(&ApplyBackward { silu: op.silu }, &all[..3 + usize::from(sum.is_some())])?;
    let mut found = Gradients::default();
    found[0] = Some(dx);
    found[1] = Some(d_coefficients);
    if pass.inputs.len() > 2 {
        found[2] = Some(grad.clone());
    }
    Ok(found)
}

pub(super) fn coefficients(op: &Coefficients, e: &Eager<'_>, pass: &Backward<'_, 1>) -> Result<Gradients> {
    let grad = pass.grads[0].as_ref().ok_or_else(|| Error::internal("no gradient"))?;
    let [_, h, w, _] = dims("x", pass.inputs[0].desc())?;
    op.rule(e, pass, &op.unit(e, pass.inputs)?, grad, h * w)
}

impl Coefficients {
    /// The coefficients for weight 1 and bias 0.
    ///
    /// # Errors
    /// The operation's.
    pub fn unit(&self, e: &Eager<'_>, all: &[&Tensor]) -> Result<Tensor> {
        let weight = *all[1].desc();
        let (one, zero) = (filled(e.cx(), weight, 1.0)?, filled(e.cx(), weight, 0.0)?);
        let sums = *all.last().unwrap_or(&all[0]);
        let [unit] = e.run(self, &[all[0], &one, &zero, sums][..all.len().min(4)])?;
        Ok(unit)
    }

    /// The rule, from the coefficients for weight 1 and bias 0 and from the coefficients' gradient, where both are of
    /// `positions` positions an image, which may be more than x has.
    ///
    /// # Errors
    /// The operations'.
    pub fn rule(
        &self,
        e: &Eager<'_>,
        pass: &Backward<'_, 1>,
        unit: &Tensor,
        grad: &Tensor,
        positions: usize,
    ) -> Result<Gradients> {
        let rule = CoefficientsBackward { groups: self.groups, positions };
        let [affine, d_weight, d_bias] = e.run(&rule, &[unit, pass.inputs[1], grad])?;
        let mut found = Gradients::default();
        if pass.wanted[0] {
            let (x, sum) = (pass.inputs[0], pass.take_sum(0));
            let all = [x, &affine, sum.as_ref().unwrap_or(x)];
            let [dx] = e.run(&Apply { silu: false }, &all[..2 + usize::from(sum.is_some())])?;
            found[0] = Some(dx);
        }
        found[1] = Some(d_weight);
        found[2] = Some(d_bias);
        Ok(found)
    }
}
