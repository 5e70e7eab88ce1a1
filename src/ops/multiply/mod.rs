//! a * b, where b may lack leading axes of a: LayerScale of a vision transformer, a mask, a factor.

#[cfg(feature = "cuda")]
mod cuda;

use super::check::{expect_type, inputs};
use crate::backend::Device;
use crate::backend::cpu::Parts;
use crate::error::{Error, Result};
use crate::exec::{Backward, Cost, Cx, Eager, Gradients, Op};
use crate::ops::fill::converted;
use crate::ops::sum_rows::SumRows;
use crate::tensor::{DType, Desc, Tensor};

/// The elementwise product.
///
/// Inputs: a f32 of any shape; b f32, whose shape is a suffix of a's. Output: as a. On a GPU both may be bf16.
#[derive(Clone, Copy, Debug)]
pub struct Multiply;

/// Elements a block.
const BLOCK: usize = 8192;

impl Op for Multiply {
    const NAME: &'static str = "multiply";

    fn outputs(&self, all: &[Desc]) -> Result<[Desc; 1]> {
        let [a, b] = inputs::<2>(all)?;
        expect_type("a", &a, &[DType::F32, DType::BF16])?;
        expect_type("b", &b, &[a.dtype])?;
        if !a.shape.ends_with(&b.shape) {
            return Err(Error::invalid(format!(
                "b has shape {}, expected {} or what is left of it without leading axes",
                b.shape, a.shape
            )));
        }
        Ok([a])
    }

    fn cost(&self, all: &[Desc]) -> Cost {
        let (a, b) = (all[0].shape.count(), all[1].shape.count());
        Cost { flops: a as f64, bytes: 4.0 * (2 * a + b) as f64 }
    }

    fn forward(&self, cx: Cx<'_>, all: &[&Tensor], outputs: &mut [Tensor; 1]) -> Result<()> {
        match cx.device {
            #[cfg(feature = "cuda")]
            Device::Cuda(cuda) => cuda::multiply(cuda, all[0], all[1], &mut outputs[0]),
            Device::Cpu(_) if all[0].dtype() != DType::F32 => Err(cx.unsupported(Self::NAME, all[0].desc())),
            Device::Cpu(cpu) => {
                let (a, b) = (all[0].data::<f32>()?, all[1].data::<f32>()?);
                if a.is_empty() {
                    return Ok(());
                }
                let parts = Parts::new(outputs[0].data_mut::<f32>()?);
                cpu.pool.blocks(a.len().div_ceil(BLOCK), |_, block| {
                    let range = block * BLOCK..a.len().min((block + 1) * BLOCK);
                    // SAFETY: one part a block.
                    let mut out = unsafe { parts.slice(range.clone()) };
                    let (mut a, mut phase) = (&a[range.clone()], range.start % b.len());
                    // b is not empty: its extents are among a's.
                    while !a.is_empty() {
                        let run = (b.len() - phase).min(a.len());
                        let (now, later) = out.split_at_mut(run);
                        let factors = &b[phase..phase + run];
                        now.iter_mut().zip(a.iter().zip(factors)).for_each(|(o, (a, b))| *o = a * b);
                        (out, a, phase) = (later, &a[run..], 0);
                    }
                });
                Ok(())
            }
        }
    }

    fn backward(&self, e: &Eager<'_>, pass: &Backward<'_, 1>) -> Result<Gradients> {
        let grad = pass.grads[0].as_ref().ok_or_else(|| Error::internal("no gradient"))?;
        let (a, b) = (pass.inputs[0], pass.inputs[1]);
        let mut found = Gradients::default();
        if pass.wanted[0] {
            let [da] = e.run(&Multiply, &[grad, b])?;
            found[0] = Some(da);
        }
        if pass.wanted[1] {
            let [each] = e.run(&Multiply, &[grad, a])?;
            let [db] = e.run(&SumRows { keep: b.shape().len() }, &[&each])?;
            found[1] = Some(converted(e.cx(), &db, b.dtype())?);
        }
        Ok(found)
    }
}
