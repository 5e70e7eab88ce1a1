//! A number times everything: what keeps the sizes of weights alike (the equalised learning rate of Karras et al., 2018).

#[cfg(feature = "cuda")]
mod cuda;

use super::check::{expect_type, inputs};
use super::elementwise::{Binary, map};
use crate::backend::Device;
use crate::backend::cpu::simd::Simd;
use crate::error::{Error, Result};
use crate::exec::{Backward, Cost, Cx, Eager, Gradients, Op};
use crate::tensor::{DType, Desc, Tensor};

/// x times a number.
///
/// Input: x f32 of any shape, or on a GPU bf16. Output: as x.
#[derive(Clone, Copy, Debug)]
pub struct Scale(pub f32);

impl Binary for Scale {
    #[inline(always)]
    unsafe fn apply<S: Simd>(self, x: S::V, _: S::V) -> S::V {
        // SAFETY: the caller's.
        unsafe { S::mul(x, S::splat(self.0)) }
    }
}

impl Op for Scale {
    const NAME: &'static str = "scale";

    fn outputs(&self, all: &[Desc]) -> Result<[Desc; 1]> {
        let [x] = inputs::<1>(all)?;
        expect_type("x", &x, &[DType::F32, DType::BF16])?;
        Ok([x])
    }

    fn cost(&self, all: &[Desc]) -> Cost {
        let count = all[0].shape.count() as f64;
        Cost { flops: count, bytes: 8.0 * count }
    }

    fn forward(&self, cx: Cx<'_>, all: &[&Tensor], outputs: &mut [Tensor; 1]) -> Result<()> {
        match cx.device {
            #[cfg(feature = "cuda")]
            Device::Cuda(cuda) => cuda::scale(self.0, cuda, all[0], &mut outputs[0]),
            Device::Cpu(_) if all[0].dtype() != DType::F32 => Err(cx.unsupported(Self::NAME, all[0].desc())),
            Device::Cpu(cpu) => {
                let x = all[0].data::<f32>()?;
                map(cpu, *self, x, x, outputs[0].data_mut::<f32>()?);
                Ok(())
            }
        }
    }

    fn backward(&self, e: &Eager<'_>, pass: &Backward<'_, 1>) -> Result<Gradients> {
        let dy = pass.grads[0].as_ref().ok_or_else(|| Error::internal("no gradient"))?;
        let [dx] = e.run(self, &[dy])?;
        let mut found = Gradients::default();
        found[0] = Some(dx);
        Ok(found)
    }
}
