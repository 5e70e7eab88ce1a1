//! Tensors side by side along the last axis: the sub-codebooks' codes before the decoder.

#[cfg(feature = "cuda")]
mod cuda;
#[cfg(feature = "cuda")]
pub(in crate::ops) use cuda::{Range, copy};

use super::check::{expect_type, inputs};
use crate::backend::Device;
use crate::backend::cpu::Parts;
use crate::error::{Error, Result};
use crate::exec::{Backward, Cost, Cx, Eager, Gradients, MAX_INPUTS, Op};
use crate::ops::fill::zeros;
use crate::tensor::{DType, Desc, Tensor};

/// Inputs: one or more of shape (..., d_i) f32, or on a GPU bf16, alike but for the last extent. Output: (..., sum of d_i).
#[derive(Clone, Copy, Debug)]
pub struct Concat;

/// Columns `first..first + count` of the last axis: the rule of [`Concat`], and for whoever wants a part.
///
/// Input: x (..., d) f32, or on a GPU bf16. Output: (..., count), as x.
#[derive(Clone, Copy, Debug)]
pub struct Columns {
    /// The first column.
    pub first: usize,
    /// How many.
    pub count: usize,
}

fn last(x: &Desc) -> usize {
    x.shape.last().copied().unwrap_or(0)
}

impl Op for Concat {
    const NAME: &'static str = "concat";

    fn outputs(&self, all: &[Desc]) -> Result<[Desc; 1]> {
        let [first, ..] = all else { return Err(Error::internal("no input")) };
        let mut width = 0usize;
        for x in all {
            expect_type(
                "an input",
                x,
                if first.dtype == DType::BF16 { &[DType::BF16] } else { &[DType::F32] },
            )?;
            let fits = match (x.shape.split_last(), first.shape.split_last()) {
                (Some((d, leading)), Some((_, same))) if leading == same => width.checked_add(*d),
                _ => None,
            };
            width = fits.ok_or_else(|| {
                Error::invalid(format!(
                    "inputs are {first} and {x}, expected one shape but for the last extent"
                ))
            })?;
        }
        let mut shape = first.shape;
        shape.set_last(width);
        shape.checked_count().ok_or_else(|| Error::invalid(format!("{shape}: too large to address")))?;
        Ok([Desc::plain(shape, first.dtype)])
    }

    fn cost(&self, all: &[Desc]) -> Cost {
        Cost { flops: 0.0, bytes: 8.0 * all.iter().map(|d| d.shape.count()).sum::<usize>() as f64 }
    }

    fn forward(&self, cx: Cx<'_>, all: &[&Tensor], outputs: &mut [Tensor; 1]) -> Result<()> {
        match cx.device {
            #[cfg(feature = "cuda")]
            Device::Cuda(cuda) => cuda::concat(cuda, all, &mut outputs[0]),
            Device::Cpu(_) if all[0].dtype() != DType::F32 => Err(cx.unsupported(Self::NAME, all[0].desc())),
            Device::Cpu(cpu) => {
                let width = last(outputs[0].desc());
                let mut from: [&[f32]; MAX_INPUTS] = [&[]; MAX_INPUTS];
                for (slot, x) in from.iter_mut().zip(all) {
                    *slot = x.data::<f32>()?;
                }
                let out = outputs[0].data_mut::<f32>()?;
                let rows = out.len().checked_div(width).unwrap_or(0);
                let parts = Parts::new(out);
                cpu.pool.blocks(rows, |_, row| {
                    // SAFETY: one part a row.
                    let mut to = unsafe { parts.slice(row * width..(row + 1) * width) };
                    for (x, from) in all.iter().zip(from) {
                        let d = last(x.desc());
                        let (now, later) = to.split_at_mut(d);
                        now.copy_from_slice(&from[row * d..(row + 1) * d]);
                        to = later;
                    }
                });
                Ok(())
            }
        }
    }

    fn backward(&self, e: &Eager<'_>, pass: &Backward<'_, 1>) -> Result<Gradients> {
        let grad = pass.grads[0].as_ref().ok_or_else(|| Error::internal("no gradient"))?;
        let mut found = Gradients::default();
        let mut first = 0;
        for (index, x) in pass.inputs.iter().enumerate() {
            let count = last(x.desc());
            if pass.wanted[index] {
                let [part] = e.run(&Columns { first, count }, &[grad])?;
                found[index] = Some(part);
            }
            first += count;
        }
        Ok(found)
    }
}

impl Op for Columns {
    const NAME: &'static str = "concat";

    fn outputs(&self, all: &[Desc]) -> Result<[Desc; 1]> {
        let [x] = inputs::<1>(all)?;
        expect_type("x", &x, &[DType::F32, DType::BF16])?;
        if x.shape.is_empty() || self.first.checked_add(self.count).is_none_or(|end| end > last(&x)) {
            return Err(Error::invalid(format!("x is {x}: no columns {}..+{}", self.first, self.count)));
        }
        let mut shape = x.shape;
        shape.set_last(self.count);
        Ok([Desc::plain(shape, x.dtype)])
    }

    fn cost(&self, all: &[Desc]) -> Cost {
        let rows = all[0].shape.count() / last(&all[0]).max(1);
        Cost { flops: 0.0, bytes: 8.0 * (rows * self.count) as f64 }
    }

    fn forward(&self, cx: Cx<'_>, all: &[&Tensor], outputs: &mut [Tensor; 1]) -> Result<()> {
        match cx.device {
            #[cfg(feature = "cuda")]
            Device::Cuda(cuda) => cuda::columns(*self, cuda, all[0], &mut outputs[0]),
            Device::Cpu(_) if all[0].dtype() != DType::F32 => Err(cx.unsupported(Self::NAME, all[0].desc())),
            Device::Cpu(cpu) => {
                let (width, count) = (last(all[0].desc()), self.count);
                let x = all[0].data::<f32>()?;
                let out = outputs[0].data_mut::<f32>()?;
                let rows = out.len().checked_div(count).unwrap_or(0);
                let parts = Parts::new(out);
                cpu.pool.blocks(rows, |_, row| {
                    // SAFETY: one part a row.
                    let to = unsafe { parts.slice(row * count..(row + 1) * count) };
                    to.copy_from_slice(&x[row * width + self.first..][..count]);
                });
                Ok(())
            }
        }
    }

    fn backward(&self, e: &Eager<'_>, pass: &Backward<'_, 1>) -> Result<Gradients> {
        let grad = pass.grads[0].as_ref().ok_or_else(|| Error::internal("no gradient"))?;
        let x = pass.inputs[0].desc();
        let width = last(x);
        let around = |count: usize| {
            let mut shape = x.shape;
            shape.set_last(count);
            zeros(e.cx(), Desc::plain(shape, x.dtype))
        };
        let (before, after) = (around(self.first)?, around(width - self.first - self.count)?);
        let [dx] = e.run(&Concat, &[&before, grad, &after])?;
        let mut found = Gradients::default();
        found[0] = Some(dx);
        Ok(found)
    }
}
