//! The largest of each 2 x 2 pixels, as VGG has it between its stages.

use super::check::{dims, expect, expect_type, inputs};
use crate::backend::Device;
use crate::backend::cpu::Parts;
use crate::error::{Error, Result};
use crate::exec::{Backward, Cost, Cx, Eager, Gradients, Op};
use crate::tensor::{DType, Desc, Tensor};

/// 2 x 2, stride 2, no padding: a last odd row or column is left out. The gradient goes to the first of equals.
///
/// Input: x (n, h, w, c) f32. Output: (n, h / 2, w / 2, c) f32. A NaN stays.
#[derive(Clone, Copy, Debug)]
pub struct MaxPool;

/// What stands under an output pixel: the four values of its channels in the input, by index.
fn four(w: usize, c: usize, x: usize) -> [usize; 4] {
    let at = 2 * x * c;
    [at, at + c, at + w * c, at + w * c + c]
}

/// The place of the largest, the first of equals; a NaN is larger than all.
fn largest(values: [f32; 4]) -> usize {
    let mut best = 0;
    for i in 1..4 {
        if values[i] > values[best] || values[i].is_nan() && !values[best].is_nan() {
            best = i;
        }
    }
    best
}

impl Op for MaxPool {
    const NAME: &'static str = "max_pool";

    fn outputs(&self, all: &[Desc]) -> Result<[Desc; 1]> {
        let [x] = inputs::<1>(all)?;
        let [n, h, w, c] = dims("x", &x)?;
        expect_type("x", &x, &[DType::F32])?;
        Ok([Desc::plain([n, h / 2, w / 2, c], DType::F32)])
    }

    fn cost(&self, all: &[Desc]) -> Cost {
        let count = all[0].shape.count() as f64;
        Cost { flops: 0.75 * count, bytes: 5.0 * count }
    }

    fn forward(&self, cx: Cx<'_>, all: &[&Tensor], outputs: &mut [Tensor; 1]) -> Result<()> {
        let [_, h, w, c] = dims("x", all[0].desc())?;
        let [n, rows, columns, _] = dims("output", outputs[0].desc())?;
        let x = all[0].data::<f32>()?;
        let parts = Parts::new(outputs[0].data_mut::<f32>()?);
        match cx.device {
            Device::Cpu(cpu) => cpu.pool.blocks(n * rows, |_, row| {
                let (image, y) = (row / rows, row % rows);
                let from = &x[(image * h + 2 * y) * w * c..][..2 * w * c];
                // SAFETY: one part a row of the output.
                let to = unsafe { parts.slice(row * columns * c..(row + 1) * columns * c) };
                for (column, to) in to.chunks_exact_mut(c.max(1)).enumerate() {
                    let at = four(w, c, column);
                    for (channel, to) in to.iter_mut().enumerate() {
                        let values = at.map(|at| from[at + channel]);
                        *to = values[largest(values)];
                    }
                }
            }),
        }
        Ok(())
    }

    fn backward(&self, e: &Eager<'_>, pass: &Backward<'_, 1>) -> Result<Gradients> {
        let grad = pass.grads[0].as_ref().ok_or_else(|| Error::internal("no gradient"))?;
        let [dx] = e.run(&MaxPoolBackward, &[pass.inputs[0], grad])?;
        let mut found = Gradients::default();
        found[0] = Some(dx);
        Ok(found)
    }
}

/// Inputs: x and the output's gradient. Output: x's.
#[derive(Clone, Copy, Debug)]
struct MaxPoolBackward;

impl Op for MaxPoolBackward {
    const NAME: &'static str = "max_pool";

    fn outputs(&self, all: &[Desc]) -> Result<[Desc; 1]> {
        let [x, grad] = inputs::<2>(all)?;
        let [n, h, w, c] = dims("x", &x)?;
        expect("gradient", &grad, &[n, h / 2, w / 2, c], DType::F32)?;
        Ok([x])
    }

    fn cost(&self, all: &[Desc]) -> Cost {
        let count = all[0].shape.count() as f64;
        Cost { flops: 0.75 * count, bytes: 9.0 * count }
    }

    fn forward(&self, cx: Cx<'_>, all: &[&Tensor], outputs: &mut [Tensor; 1]) -> Result<()> {
        let [n, h, w, c] = dims("x", all[0].desc())?;
        let (rows, columns) = (h / 2, w / 2);
        let (x, grad) = (all[0].data::<f32>()?, all[1].data::<f32>()?);
        let parts = Parts::new(outputs[0].data_mut::<f32>()?);
        // A last odd row is a block of its own.
        let pairs = h.div_ceil(2);
        match cx.device {
            Device::Cpu(cpu) => cpu.pool.blocks(n * pairs, |_, index| {
                let (image, pair) = (index / pairs, index % pairs);
                let begin = (image * h + 2 * pair) * w * c;
                let end = (image * h + h.min(2 * pair + 2)) * w * c;
                // SAFETY: one part a pair of rows of x.
                let to = unsafe { parts.slice(begin..end) };
                to.fill(0.0);
                if pair >= rows {
                    return;
                }
                let (from, grad) = (&x[begin..end], &grad[(image * rows + pair) * columns * c..]);
                for (column, grad) in grad.chunks_exact(c.max(1)).take(columns).enumerate() {
                    let at = four(w, c, column);
                    for (channel, grad) in grad.iter().enumerate() {
                        to[at[largest(at.map(|at| from[at + channel]))] + channel] = *grad;
                    }
                }
            }),
        }
        Ok(())
    }
}
