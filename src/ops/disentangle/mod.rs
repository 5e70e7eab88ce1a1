//! The disentanglement of two sub-codebooks (FQGAN, equation 7): the mean over positions of the squared dot product
//! of their codes, which must be unit vectors already.

#[cfg(feature = "cuda")]
mod cuda;

use super::check::{expect, expect_type, inputs};
use crate::backend::Device;
use crate::backend::cpu::Parts;
use crate::error::{Error, Result};
use crate::exec::{Backward, Cost, Cx, Eager, Gradients, Op};
use crate::tensor::{DType, Desc, Tensor};

/// mean over rows of (a . b)^2.
///
/// Inputs: a and b (..., d) f32 of one shape, at least one row, or on a GPU bf16. Output: a number of f32, of shape \[\].
#[derive(Clone, Copy, Debug)]
pub struct Disentangle;

fn rows(x: &Desc) -> [usize; 2] {
    let d = x.shape.last().copied().unwrap_or(0);
    [x.shape.count().checked_div(d).unwrap_or(0), d]
}

fn dot(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum()
}

impl Op for Disentangle {
    const NAME: &'static str = "disentangle";

    fn outputs(&self, all: &[Desc]) -> Result<[Desc; 1]> {
        let [a, b] = inputs::<2>(all)?;
        expect_type("a", &a, &[DType::F32, DType::BF16])?;
        expect("b", &b, &a.shape, a.dtype)?;
        if rows(&a)[0] == 0 {
            return Err(Error::invalid(format!("a is {a}: nothing to take a mean of")));
        }
        Ok([Desc::plain([], DType::F32)])
    }

    fn cost(&self, all: &[Desc]) -> Cost {
        let count = all[0].shape.count() as f64;
        Cost { flops: 2.0 * count, bytes: 8.0 * count }
    }

    fn forward(&self, cx: Cx<'_>, all: &[&Tensor], outputs: &mut [Tensor; 1]) -> Result<()> {
        match cx.device {
            #[cfg(feature = "cuda")]
            Device::Cuda(cuda) => cuda::forward(cx, cuda, all, &mut outputs[0]),
            Device::Cpu(_) if all[0].dtype() != DType::F32 => Err(cx.unsupported(Self::NAME, all[0].desc())),
            Device::Cpu(_) => {
                let [rows, d] = rows(all[0].desc());
                let (a, b) = (all[0].data::<f32>()?, all[1].data::<f32>()?);
                let square = |(a, b): (&[f32], &[f32])| dot(a, b) * dot(a, b);
                // A few thousand numbers: plain loops in f64.
                let sum: f64 = a.chunks_exact(d).zip(b.chunks_exact(d)).map(square).sum();
                outputs[0].data_mut::<f32>()?[0] = (sum / rows as f64) as f32;
                Ok(())
            }
        }
    }

    fn backward(&self, e: &Eager<'_>, pass: &Backward<'_, 1>) -> Result<Gradients> {
        let grad = pass.grads[0].as_ref().ok_or_else(|| Error::internal("no gradient"))?;
        let [da, db] = e.run(&DisentangleBackward, &[pass.inputs[0], pass.inputs[1], grad])?;
        let mut found = Gradients::default();
        found[0] = Some(da);
        found[1] = Some(db);
        Ok(found)
    }
}

/// Inputs: a, b, gradient of the mean. Outputs: gradients of a, 2 (a . b) b / rows, and of b.
#[derive(Clone, Copy, Debug)]
struct DisentangleBackward;

impl Op<2> for DisentangleBackward {
    const NAME: &'static str = "disentangle";

    fn outputs(&self, all: &[Desc]) -> Result<[Desc; 2]> {
        let [a, b, grad] = inputs::<3>(all)?;
        expect("gradient", &grad, &[], DType::F32)?;
        Ok([a, b])
    }

    fn cost(&self, all: &[Desc]) -> Cost {
        let count = all[0].shape.count() as f64;
        Cost { flops: 4.0 * count, bytes: 16.0 * count }
    }

    fn forward(&self, cx: Cx<'_>, all: &[&Tensor], outputs: &mut [Tensor; 2]) -> Result<()> {
        match cx.device {
            #[cfg(feature = "cuda")]
            Device::Cuda(cuda) => cuda::backward(cuda, all, outputs),
            Device::Cpu(cpu) => {
                let [rows, d] = rows(all[0].desc());
                let (a, b) = (all[0].data::<f32>()?, all[1].data::<f32>()?);
                let factor = 2.0 * f64::from(all[2].data::<f32>()?[0]) / rows as f64;
                let [da, db] = outputs;
                let (da, db) = (Parts::new(da.data_mut::<f32>()?), Parts::new(db.data_mut::<f32>()?));
                cpu.pool.blocks(rows, |_, row| {
                    let range = row * d..(row + 1) * d;
                    let (a, b) = (&a[range.clone()], &b[range.clone()]);
                    let factor = factor * dot(a, b);
                    // SAFETY: one part a row, of both.
                    let (da, db) = unsafe { (da.slice(range.clone()), db.slice(range)) };
                    da.iter_mut().zip(b).for_each(|(o, &x)| *o = (factor * f64::from(x)) as f32);
                    db.iter_mut().zip(a).for_each(|(o, &x)| *o = (factor * f64::from(x)) as f32);
                });
                Ok(())
            }
        }
    }
}
