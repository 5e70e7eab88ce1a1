//! Cross entropy of logits: ``-ln softmax(logits)[target]``, in nats, each row by itself.

mod backward;
mod cpu;
#[cfg(feature = "cuda")]
mod cuda;

use super::check::{dims, expect, expect_type, inputs};
use crate::backend::Device;
use crate::error::{Error, Result};
use crate::exec::{Backward, Cost, Cx, Eager, Gradients, Op};
use crate::tensor::{DType, Desc, Tensor};

/// The cross entropy of each row.
///
/// Inputs: logits (rows, N) f32, targets (rows) u32, each below N. Output: (rows) f32. Sums are in f64. On a GPU logits may be
/// bf16.
#[derive(Clone, Copy, Debug, Default)]
pub struct CrossEntropy;

impl Op for CrossEntropy {
    const NAME: &'static str = "cross_entropy";

    fn outputs(&self, all: &[Desc]) -> Result<[Desc; 1]> {
        let [logits, targets] = inputs::<2>(all)?;
        let [rows, n] = dims("logits", &logits)?;
        expect_type("logits", &logits, &[DType::F32, DType::BF16])?;
        expect("targets", &targets, &[rows], DType::U32)?;
        if n == 0 {
            return Err(Error::invalid(format!("logits are {logits}: there is no class")));
        }
        Ok([Desc::plain([rows], DType::F32)])
    }

    fn cost(&self, all: &[Desc]) -> Cost {
        let count = all[0].shape.count() as f64;
        Cost { flops: 12.0 * count, bytes: 4.0 * count }
    }

    fn forward(&self, cx: Cx<'_>, all: &[&Tensor], outputs: &mut [Tensor; 1]) -> Result<()> {
        match cx.device {
            #[cfg(feature = "cuda")]
            Device::Cuda(cuda) => cuda::forward(cx, cuda, all, &mut outputs[0]),
            Device::Cpu(_) if all[0].dtype() != DType::F32 => Err(cx.unsupported(Self::NAME, all[0].desc())),
            Device::Cpu(cpu) => cpu::cross_entropy(cpu, all, &mut outputs[0]),
        }
    }

    fn backward(&self, e: &Eager<'_>, pass: &Backward<'_, 1>) -> Result<Gradients> {
        backward::cross_entropy(self, e, pass)
    }
}
