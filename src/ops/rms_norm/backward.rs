//! The rule: with n = x r, r = (mean(x^2) + eps)^-1/2 and g = dy * weight, dx = r (g - n mean(g n)), dweight = sum of
//! dy n.

use super::RmsNorm;
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

pub(super) fn rms_norm(op: &RmsNorm, e: &Eager<'_>, pass: &Backward<'_, 1>) -> Result<Gradients> {
    let dy = pass.grads[0].as_ref().ok_or_else(|| Error::internal("no gradient"))?;
    let [dx, d_weight] = e.run(&RmsNormBackward(*op), &[pass.inputs[0], pass.inputs[1], dy])?;
    let mut found = Gradients::default();
    found[0] = Some(dx);
    found[1] = Some(d_weight);
    Ok(found)
}

/// Inputs: x (..., c), weight (c), gradient of the output. Outputs: gradients of x and weight.
#[derive(Clone, Copy, Debug)]
struct RmsNormBackward(RmsNorm);

impl Op<2> for RmsNormBackward {
    const NAME: &'static str = "rms_norm";

    fn outputs(&self, all: &[Desc]) -> Result<[Desc; 2]> {
        let [x, weight, dy] = inputs::<3>(all)?;
        expect("gradient", &dy, &x.shape, x.dtype)?;
        Ok([x, weight])
    }

    fn cost(&self, all: &[Desc]) -> Cost {
        let count = all[0].shape.count() as f64;
        Cost { flops: 12.0 * count, bytes: 12.0 * count }
    }

    fn forward(&self, cx: Cx<'_>, all: &[&Tensor], outputs: &mut [Tensor; 2]) -> Result<()> {
        match cx.device {
            #[cfg(feature = "cuda")]
            Device::Cuda(cuda) => super::cuda::backward(self.0.eps, cx, cuda, all, outputs),
            Device::Cpu(cpu) => self.run(cx, cpu, all, outputs),
        }
    }
}

impl RmsNormBackward {
    fn run(self, cx: Cx<'_>, cpu: &Cpu, all: &[&Tensor], outputs: &mut [Tensor; 2]) -> Result<()> {
        let (x, weight, dy) = (all[0].data::<f32>()?, all[1].data::<f32>()?, all[2].data::<f32>()?);
        let c = weight.len();
        let blocks = (x.len() / c).div_ceil(BLOCK);
        let mut partial = cx.workspace.tensor(Desc::plain([blocks, c], DType::F32))?;
        let [dx, d_weight] = outputs;
        let (parts, partials) = (Parts::new(dx.data_mut::<f32>()?), Parts::new(partial.data_mut::<f32>()?));
        cpu.pool.blocks(blocks, |_, block| {
            let range = block * BLOCK * c..x.len().min((block + 1) * BLOCK * c);
            // SAFETY: one part a block, of both.
            let (dx, sums) =
                unsafe { (parts.slice(range.clone()), partials.slice(block * c..(block + 1) * c)) };
            sums.fill(0.0);
            cpu.isa.dispatch(Rows {
                x: &x[range.clone()],
                weight,
                dy: &dy[range],
                dx,
                sums,
                eps: self.0.eps,
            });
        });
        reduce(partial.data::<f32>()?, d_weight.data_mut::<f32>()?);
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
        let (weight, d_weight) = (self.weight.as_ptr(), self.sums.as_mut_ptr());
        let rows = self.x.chunks_exact(c).zip(self.dy.chunks_exact(c)).zip(self.dx.chunks_exact_mut(c));
        for ((x, dy), dx) in rows {
            let (x, dy, dx) = (x.as_ptr(), dy.as_ptr(), dx.as_mut_ptr());
            // SAFETY: `first + n <= c`, the length of all slices behind these pointers.
            unsafe {
                // Lanes past the row are zero and add nothing.
                let (mut square, mut product) = (S::splat(0.0), S::splat(0.0));
                for first in (0..c).step_by(S::LANES) {
                    let n = S::LANES.min(c - first);
                    let v = S::load_up_to(x.add(first), n);
                    let g = S::mul(S::load_up_to(dy.add(first), n), S::load_up_to(weight.add(first), n));
                    square = S::fma(v, v, square);
                    product = S::fma(g, v, product);
                }
                let r = 1.0 / (S::sum(square) / c as f32 + self.eps).sqrt();
                // n mean(g n) = x r^2 mean(g x).
                let slope = S::splat(S::sum(product) / c as f32 * r * r);
                let r = S::splat(r);
                for first in (0..c).step_by(S::LANES) {
                    let n = S::LANES.min(c - first);
                    let load = |p: *const f32| S::load_up_to(p.add(first), n);
                    let (v, d) = (load(x), load(dy));
                    let g = S::sub(S::mul(d, load(weight)), S::mul(v, slope));
                    S::store_up_to(d_weight.add(first), S::fma(S::mul(d, v), r, load(d_weight)), n);
                    S::store_up_to(dx.add(first), S::mul(g, r), n);
                }
            }
        }
    }
}
