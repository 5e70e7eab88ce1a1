//! Nearest up-sampling by two, as a step of its own. Inference has it inside the convolution that follows
//! (`conv2d`); a filter's gradient wants the picture itself.

#[cfg(feature = "cuda")]
mod cuda;

use super::check::{dims, expect_type, inputs};
use crate::backend::Device;
use crate::backend::cpu::Parts;
use crate::error::{Error, Result};
use crate::exec::{Backward, Cost, Cx, Eager, Gradients, Op};
use crate::tensor::{DType, Desc, Tensor};

/// (n, h, w, c) to (n, 2 h, 2 w, c), each pixel four times. f32, or on a GPU bf16.
#[derive(Clone, Copy, Debug)]
pub struct Upsample;

/// (n, 2 h, 2 w, c) to (n, h, w, c), the sum of each four pixels: the rule of [`Upsample`], and the reverse. f32, or
/// on a GPU bf16.
#[derive(Clone, Copy, Debug)]
pub struct FoldUpsample;

fn cost(all: &[Desc]) -> Cost {
    let count = all[0].shape.count() as f64;
    Cost { flops: count, bytes: 20.0 * count }
}

impl Op for Upsample {
    const NAME: &'static str = "upsample";

    fn outputs(&self, all: &[Desc]) -> Result<[Desc; 1]> {
        let [x] = inputs::<1>(all)?;
        let [n, h, w, c] = dims("x", &x)?;
        expect_type("x", &x, &[DType::F32, DType::BF16])?;
        let twice = |size: usize| size.checked_mul(2);
        let large = twice(h).zip(twice(w)).ok_or_else(|| Error::invalid(format!("x is {x}: too large")))?;
        Ok([Desc::plain([n, large.0, large.1, c], x.dtype)])
    }

    fn cost(&self, all: &[Desc]) -> Cost {
        cost(all)
    }

    fn forward(&self, cx: Cx<'_>, all: &[&Tensor], outputs: &mut [Tensor; 1]) -> Result<()> {
        match cx.device {
            #[cfg(feature = "cuda")]
            Device::Cuda(cuda) => cuda::upsample(cuda, all[0], &mut outputs[0]),
            Device::Cpu(_) if all[0].dtype() != DType::F32 => Err(cx.unsupported(Self::NAME, all[0].desc())),
            Device::Cpu(cpu) => {
                let [n, h, w, c] = dims("x", all[0].desc())?;
                let x = all[0].data::<f32>()?;
                let parts = Parts::new(outputs[0].data_mut::<f32>()?);
                cpu.pool.blocks(n * h, |_, row| {
                    let line = 2 * w * c;
                    // SAFETY: one part a row of x.
                    let (upper, lower) =
                        unsafe { parts.slice(row * 2 * line..(row + 1) * 2 * line) }.split_at_mut(line);
                    let pixels = x[row * w * c..][..w * c].chunks_exact(c.max(1));
                    for (to, from) in upper.chunks_exact_mut((2 * c).max(1)).zip(pixels) {
                        to[..c].copy_from_slice(from);
                        to[c..].copy_from_slice(from);
                    }
                    lower.copy_from_slice(upper);
                });
                Ok(())
            }
        }
    }

    fn backward(&self, e: &Eager<'_>, pass: &Backward<'_, 1>) -> Result<Gradients> {
        let grad = pass.grads[0].as_ref().ok_or_else(|| Error::internal("no gradient"))?;
        let [dx] = e.run(&FoldUpsample, &[grad])?;
        let mut found = Gradients::default();
        found[0] = Some(dx);
        Ok(found)
    }
}

impl Op for FoldUpsample {
    const NAME: &'static str = "upsample";

    fn outputs(&self, all: &[Desc]) -> Result<[Desc; 1]> {
        let [x] = inputs::<1>(all)?;
        let [n, h, w, c] = dims("x", &x)?;
        expect_type("x", &x, &[DType::F32, DType::BF16])?;
        if !h.is_multiple_of(2) || !w.is_multiple_of(2) {
            return Err(Error::invalid(format!("x is {x}: expected even sides")));
        }
        Ok([Desc::plain([n, h / 2, w / 2, c], x.dtype)])
    }

    fn cost(&self, all: &[Desc]) -> Cost {
        cost(all)
    }

    fn forward(&self, cx: Cx<'_>, all: &[&Tensor], outputs: &mut [Tensor; 1]) -> Result<()> {
        match cx.device {
            #[cfg(feature = "cuda")]
            Device::Cuda(cuda) => cuda::fold(cuda, all[0], &mut outputs[0]),
            Device::Cpu(_) if all[0].dtype() != DType::F32 => Err(cx.unsupported(Self::NAME, all[0].desc())),
            Device::Cpu(cpu) => {
                let [n, h, w, c] = dims("output", outputs[0].desc())?;
                let x = all[0].data::<f32>()?;
                let parts = Parts::new(outputs[0].data_mut::<f32>()?);
                cpu.pool.blocks(n * h, |_, row| {
                    let line = 2 * w * c;
                    let (upper, lower) = x[row * 2 * line..(row + 1) * 2 * line].split_at(line);
                    // SAFETY: one part a row of the output.
                    let to = unsafe { parts.slice(row * w * c..(row + 1) * w * c) };
                    for (i, to) in to.iter_mut().enumerate() {
                        let at = i / c * 2 * c + i % c;
                        *to = (upper[at] + upper[at + c]) + (lower[at] + lower[at + c]);
                    }
                });
                Ok(())
            }
        }
    }

    fn backward(&self, e: &Eager<'_>, pass: &Backward<'_, 1>) -> Result<Gradients> {
        let grad = pass.grads[0].as_ref().ok_or_else(|| Error::internal("no gradient"))?;
        let [dx] = e.run(&Upsample, &[grad])?;
        let mut found = Gradients::default();
        found[0] = Some(dx);
        Ok(found)
    }
}
