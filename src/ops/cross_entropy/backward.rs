//! The rule: the gradient of a row's logits is (softmax(logits) - one at the target) times that of its loss.

use super::CrossEntropy;
use super::cpu::Sum;
use crate::backend::Device;
use crate::backend::cpu::Parts;
use crate::backend::cpu::simd::{Kernel, Simd, math};
use crate::error::{Error, Result};
use crate::exec::{Backward, Cost, Cx, Eager, Gradients, Op};
use crate::ops::check::{expect, inputs};
use crate::tensor::{DType, Desc, Tensor};

pub(super) fn cross_entropy(_: &CrossEntropy, e: &Eager<'_>, pass: &Backward<'_, 1>) -> Result<Gradients> {
    let grad = pass.grads[0].as_ref().ok_or_else(|| Error::internal("no gradient"))?;
    let [d] = e.run(&CrossEntropyBackward, &[pass.inputs[0], pass.inputs[1], grad])?;
    let mut found = Gradients::default();
    found[0] = Some(d);
    Ok(found)
}

/// Inputs: logits (rows, N), targets (rows), gradient of the losses (rows). Output: that of the logits.
#[derive(Clone, Copy, Debug)]
struct CrossEntropyBackward;

impl Op for CrossEntropyBackward {
    const NAME: &'static str = "cross_entropy";

    fn outputs(&self, all: &[Desc]) -> Result<[Desc; 1]> {
        let [logits, targets, grad] = inputs::<3>(all)?;
        expect("gradient", &grad, &targets.shape, DType::F32)?;
        Ok([logits])
    }

    fn cost(&self, all: &[Desc]) -> Cost {
        let count = all[0].shape.count() as f64;
        Cost { flops: 24.0 * count, bytes: 8.0 * count }
    }

    fn forward(&self, cx: Cx<'_>, all: &[&Tensor], outputs: &mut [Tensor; 1]) -> Result<()> {
        match cx.device {
            #[cfg(feature = "cuda")]
            Device::Cuda(cuda) => super::cuda::backward(cuda, all, &mut outputs[0]),
            Device::Cpu(cpu) => {
                let n = all[0].shape()[1];
                let (logits, targets) = (all[0].data::<f32>()?, all[1].data::<u32>()?);
                let grad = all[2].data::<f32>()?;
                let parts = Parts::new(outputs[0].data_mut::<f32>()?);
                cpu.pool.blocks(targets.len(), |_, row| {
                    let logits = &logits[row * n..(row + 1) * n];
                    // SAFETY: one part a row.
                    let out = unsafe { parts.slice(row * n..(row + 1) * n) };
                    let (largest, sum) = cpu.isa.dispatch(Sum { logits });
                    let factor = (f64::from(grad[row]) / sum) as f32;
                    cpu.isa.dispatch(Softmax { logits, largest, factor, out });
                    out[targets[row] as usize] -= grad[row];
                });
                Ok(())
            }
        }
    }
}

/// factor * e^(logit - largest).
struct Softmax<'a> {
    logits: &'a [f32],
    largest: f32,
    factor: f32,
    out: &'a mut [f32],
}

impl Kernel for Softmax<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self) {
        for first in (0..self.logits.len()).step_by(S::LANES) {
            let n = S::LANES.min(self.logits.len() - first);
            // SAFETY: `first + n` is at most the length of both.
            unsafe {
                let v = S::sub(S::load_up_to(self.logits.as_ptr().add(first), n), S::splat(self.largest));
                let x = S::mul(math::exp::<S>(v), S::splat(self.factor));
                S::store_up_to(self.out.as_mut_ptr().add(first), x, n);
            }
        }
    }
}
