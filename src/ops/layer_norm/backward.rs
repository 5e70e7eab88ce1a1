//! The rule: with n = (x - mean) r, r = (variance + eps)^-1/2 and g = dy * weight,
//! dx = r (g - mean(g) - n mean(g n)), dweight = sum of dy n, dbias = sum of dy.

use super::LayerNorm;
use crate::backend::Device;
use crate::backend::cpu::simd::{Kernel, Simd};
use crate::backend::cpu::{Cpu, Parts};
use crate::error::{Error, Result};
use crate::exec::{Backward, Cost, Cx, Eager, Gradients, Op};
use crate::ops::check::{expect, inputs};
use crate::ops::sum_rows::reduce;
use crate::tensor::{DType, Desc, Tensor};

/// Rows a block: the cut does not depend on the threads.
const BLOCK: usize = 64;

pub(super) fn layer_norm(op: &LayerNorm, e: &Eager<'_>, pass: &Backward<'_, 1>) -> Result<Gradients> {
    let dy = pass.grads[0].as_ref().ok_or_else(|| Error::internal("no gradient"))?;
    let rule = LayerNormBackward { eps: op.eps };
    let [dx, d_weight, d_bias] = e.run(&rule, &[pass.inputs[0], pass.inputs[1], dy])?;
    let mut found = Gradients::default();
    found[0] = Some(dx);
    found[1] = Some(d_weight);
    found[2] = Some(d_bias);
    Ok(found)
}

/// Inputs: x (..., c), weight (c), gradient of the output. Outputs: gradients of x, weight and bias.
#[derive(Clone, Copy, Debug)]
struct LayerNormBackward {
    eps: f32,
}

impl Op<3> for LayerNormBackward {
    const NAME: &'static str = "layer_norm";

    fn outputs(&self, all: &[Desc]) -> Result<[Desc; 3]> {
        let [x, weight, dy] = inputs::<3>(all)?;
        expect("gradient", &dy, &x.shape, x.dtype)?;
        Ok([x, weight, weight])
    }

    fn cost(&self, all: &[Desc]) -> Cost {
        let count = all[0].shape.count() as f64;
        Cost { flops: 16.0 * count, bytes: 12.0 * count }
    }

    fn forward(&self, cx: Cx<'_>, all: &[&Tensor], outputs: &mut [Tensor; 3]) -> Result<()> {
        match cx.device {
            #[cfg(feature = "cuda")]
            Device::Cuda(cuda) => super::cuda::backward(self.eps, cx, cuda, all, outputs),
            Device::Cpu(cpu) => self.run(cx, cpu, all, outputs),
        }
    }
}

impl LayerNormBackward {
    fn run(self, cx: Cx<'_>, cpu: &Cpu, all: &[&Tensor], outputs: &mut [Tensor; 3]) -> Result<()> {
        let (x, weight, dy) = (all[0].data::<f32>()?, all[1].data::<f32>()?, all[2].data::<f32>()?);
        let c = weight.len();
        let blocks = (x.len() / c).div_ceil(BLOCK);
        let mut partial = cx.workspace.tensor(Desc::plain([blocks, 2, c], DType::F32))?;
        let mut sums = cx.workspace.tensor(Desc::plain([2, c], DType::F32))?;
        let [dx, d_weight, d_bias] = outputs;
        let (parts, partials) = (Parts::new(dx.data_mut::<f32>()?), Parts::new(partial.data_mut::<f32>()?));
        cpu.pool.blocks(blocks, |_, block| {
            let range = block * BLOCK * c..x.len().min((block + 1) * BLOCK * c);
            // SAFETY: one part a block, of both.
            let (dx, sums) =
                unsafe { (parts.slice(range.clone()), partials.slice(block * 2 * c..(block + 1) * 2 * c)) };
            sums.fill(0.0);
            cpu.isa.dispatch(Rows { x: &x[range.clone()], weight, dy: &dy[range], dx, sums, eps: self.eps });
        });
        reduce(partial.data::<f32>()?, sums.data_mut::<f32>()?);
        let (of_weight, of_bias) = sums.data::<f32>()?.split_at(c);
        d_weight.data_mut::<f32>()?.copy_from_slice(of_weight);
        d_bias.data_mut::<f32>()?.copy_from_slice(of_bias);
        Ok(())
    }
}

struct Rows<'a> {
    x: &'a [f32],
    weight: &'a [f32],
    dy: &'a [f32],
    dx: &'a mut [f32],
    sums: &'a mut [f32],
    eps: f32,
}

impl Kernel for Rows<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self) {
        let c = self.weight.len();
        let (d_weight, d_bias) = self.sums.split_at_mut(c);
        let (d_weight, d_bias) = (d_weight.as_mut_ptr(), d_bias.as_mut_ptr());
        let weight = self.weight.as_ptr();
        let rows = self.x.chunks_exact(c).zip(self.dy.chunks_exact(c)).zip(self.dx.chunks_exact_mut(c));
        for ((x, dy), dx) in rows {
            let mean = x.iter().map(|&v| f64::from(v)).sum::<f64>() / c as f64;
            let square =
                x.iter().map(|&v| (f64::from(v) - mean) * (f64::from(v) - mean)).sum::<f64>() / c as f64;
            let r = 1.0 / (square + f64::from(self.eps)).sqrt();
            let (x, dy, dx) = (x.as_ptr(), dy.as_ptr(), dx.as_mut_ptr());
            // SAFETY: `first + n <= c`, the length of all slices behind these pointers.
            unsafe {
                let (pivot, inverse) = (S::splat(mean as f32), S::splat(r as f32));
                let (mut sum_g, mut sum_gn) = (S::splat(0.0), S::splat(0.0));
                for first in (0..c).step_by(S::LANES) {
                    let n = S::LANES.min(c - first);
                    let load = |p: *const f32| S::load_up_to(p.add(first), n);
                    // Lanes past the row have dy = 0 and add nothing.
                    let normed = S::mul(S::sub(load(x), pivot), inverse);
                    let d = load(dy);
                    let g = S::mul(d, load(weight));
                    sum_g = S::add(sum_g, g);
                    sum_gn = S::fma(g, normed, sum_gn);
                    S::store_up_to(d_weight.add(first), S::fma(d, normed, load(d_weight)), n);
                    S::store_up_to(d_bias.add(first), S::add(d, load(d_bias)), n);
                }
                let mean_g = S::splat(S::sum(sum_g) / c as f32);
                let mean_gn = S::splat(S::sum(sum_gn) / c as f32);
                for first in (0..c).step_by(S::LANES) {
                    let n = S::LANES.min(c - first);
                    let load = |p: *const f32| S::load_up_to(p.add(first), n);
                    let normed = S::mul(S::sub(load(x), pivot), inverse);
                    let g = S::sub(S::mul(load(dy), load(weight)), mean_g);
                    let d = S::sub(g, S::mul(normed, mean_gn));
                    S::store_up_to(dx.add(first), S::mul(d, inverse), n);
                }
            }
        }
    }
}
