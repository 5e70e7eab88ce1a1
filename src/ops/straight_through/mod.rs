//! The straight-through estimator (Bengio et al., 2013): the value is the code's, the gradient goes to the latent as
//! if nothing had happened.

#[cfg(feature = "cuda")]
mod cuda;

use super::check::{expect, expect_type, inputs};
use super::elementwise::{Binary, map};
use crate::backend::Device;
use crate::backend::cpu::simd::Simd;
use crate::error::{Error, Result};
use crate::exec::{Backward, Cost, Cx, Eager, Gradients, Op};
use crate::tensor::{DType, Desc, Tensor};

/// z + (q - z), rounded as written; its gradient is z's, none is q's.
///
/// Inputs: z and q f32 of one shape, or on a GPU bf16. Output: as z.
#[derive(Clone, Copy, Debug)]
pub struct StraightThrough;

#[derive(Clone, Copy)]
struct Value;

impl Binary for Value {
    #[inline(always)]
    unsafe fn apply<S: Simd>(self, z: S::V, q: S::V) -> S::V {
        // SAFETY: the caller's.
        unsafe { S::add(z, S::sub(q, z)) }
    }
}

impl Op for StraightThrough {
    const NAME: &'static str = "straight_through";

    fn outputs(&self, all: &[Desc]) -> Result<[Desc; 1]> {
        let [z, q] = inputs::<2>(all)?;
        expect_type("z", &z, &[DType::F32, DType::BF16])?;
        expect("q", &q, &z.shape, z.dtype)?;
        Ok([z])
    }

    fn cost(&self, all: &[Desc]) -> Cost {
        let count = all[0].shape.count() as f64;
        Cost { flops: 2.0 * count, bytes: 12.0 * count }
    }

    fn forward(&self, cx: Cx<'_>, all: &[&Tensor], outputs: &mut [Tensor; 1]) -> Result<()> {
        match cx.device {
            #[cfg(feature = "cuda")]
            Device::Cuda(cuda) => cuda::forward(cuda, all, &mut outputs[0]),
            Device::Cpu(_) if all[0].dtype() != DType::F32 => Err(cx.unsupported(Self::NAME, all[0].desc())),
            Device::Cpu(cpu) => {
                let (z, q) = (all[0].data::<f32>()?, all[1].data::<f32>()?);
                map(cpu, Value, z, q, outputs[0].data_mut::<f32>()?);
                Ok(())
            }
        }
    }

    fn backward(&self, _: &Eager<'_>, pass: &Backward<'_, 1>) -> Result<Gradients> {
        let grad = pass.grads[0].as_ref().ok_or_else(|| Error::internal("no gradient"))?;
        let mut found = Gradients::default();
        found[0] = Some(grad.clone());
        Ok(found)
    }
}
