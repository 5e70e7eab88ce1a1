//! Nearest up-sampling by two, as a step of its own. Inference has it inside the convolution that follows
//! (`conv2d`); a filter's gradient wants the picture itself.

mod cpu;
#[cfg(feature = "cuda")]
mod cuda;

use super::check::{dims, expect_type, inputs};
use crate::backend::Device;
use crate::error::{Error, Result};
use crate::exec::{Backward, Cost, Cx, Eager, Gradients, Op};
use crate::tensor::{DType, Desc, Tensor};
use half::bf16;

/// (n, h, w, c) to (n, 2 h, 2 w, c), each pixel four times. f32 or bf16.
#[derive(Clone, Copy, Debug)]
pub struct Upsample;

/// (n, 2 h, 2 w, c) to (n, h, w, c), the sum of each four pixels: the rule of [`Upsample`], and the reverse. f32 or
/// bf16.
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
        let x = all[0];
        match cx.device {
            #[cfg(feature = "cuda")]
            Device::Cuda(cuda) => cuda::upsample(cuda, x, &mut outputs[0]),
            Device::Cpu(cpu) if x.dtype() == DType::BF16 => cpu::upsample::<bf16>(cpu, x, &mut outputs[0]),
            Device::Cpu(cpu) => cpu::upsample::<f32>(cpu, x, &mut outputs[0]),
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
        let x = all[0];
        match cx.device {
            #[cfg(feature = "cuda")]
            Device::Cuda(cuda) => cuda::fold(cuda, x, &mut outputs[0]),
            Device::Cpu(cpu) if x.dtype() == DType::BF16 => cpu::fold::<bf16>(cpu, x, &mut outputs[0]),
            Device::Cpu(cpu) => cpu::fold::<f32>(cpu, x, &mut outputs[0]),
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
