//! The rule: what was turned is turned back, by the transposed matrix of each pair.

use super::Rotary;
use super::cpu::rotary as run;
use crate::backend::Device;
use crate::error::{Error, Result};
use crate::exec::{Backward, Cost, Cx, Eager, Gradients, Op};
use crate::tensor::{Desc, Tensor};

pub(super) fn rotary(op: &Rotary, e: &Eager<'_>, pass: &Backward<'_, 1>) -> Result<Gradients> {
    let grad = pass.grads[0].as_ref().ok_or_else(|| Error::internal("no gradient"))?;
    if pass.wanted[1] {
        return Err(Error::unsupported("the angles' table has no gradient"));
    }
    let [dx] = e.run(&RotaryBackward(*op), &[grad, pass.inputs[1]])?;
    let mut found = Gradients::default();
    found[0] = Some(dx);
    Ok(found)
}

/// Inputs: the output's gradient and the table. Output: the gradient of qkv.
#[derive(Clone, Copy, Debug)]
struct RotaryBackward(Rotary);

impl Op for RotaryBackward {
    const NAME: &'static str = "rotary";

    fn outputs(&self, all: &[Desc]) -> Result<[Desc; 1]> {
        self.0.outputs(all)
    }

    fn cost(&self, all: &[Desc]) -> Cost {
        self.0.cost(all)
    }

    fn forward(&self, cx: Cx<'_>, all: &[&Tensor], outputs: &mut [Tensor; 1]) -> Result<()> {
        match cx.device {
            #[cfg(feature = "cuda")]
            Device::Cuda(cuda) => super::cuda::turn(&self.0, cuda, all, &mut outputs[0], -1.0),
            Device::Cpu(cpu) => run(&self.0, cpu, all, &mut outputs[0], turn_back),
        }
    }
}

/// As the forward's, by the opposite angles. A row of zeros, which is no rotation, gives zeros.
#[inline(always)]
fn turn_back(from: &[f32], angles: &[f32], to: &mut [f32]) {
    for ((to, from), turn) in to.chunks_exact_mut(2).zip(from.chunks_exact(2)).zip(angles.chunks_exact(2)) {
        to[0] = from[0] * turn[0] + from[1] * turn[1];
        to[1] = from[1] * turn[0] - from[0] * turn[1];
    }
}
