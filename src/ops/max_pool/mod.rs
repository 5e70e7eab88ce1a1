//! The largest of the pixels under a window, as VGG has it between its stages (2 x 2) and Inception in its blocks
//! (3 x 3).

#[cfg(feature = "cuda")]
mod cuda;

use super::check::{dims, expect, inputs};
use super::window::Window;
use crate::backend::Device;
use crate::backend::cpu::Parts;
use crate::error::{Error, Result};
use crate::exec::{Backward, Cost, Cx, Eager, Gradients, Op};
use crate::tensor::{DType, Desc, Tensor};

/// A window that moves by `stride`; pixels outside the picture do not count. What no window reaches, as a last odd row,
/// is left out.
///
/// Input: x (n, h, w, c) f32, or on a GPU bf16. Output: (n, h', w', c), as x, extents as [`Window::extent`] says. A NaN
/// stays. Only [`MaxPool::HALVE`] has a gradient; it goes to the first of equals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MaxPool(pub Window);

impl MaxPool {
    /// 2 x 2, stride 2, no padding.
    pub const HALVE: MaxPool = MaxPool(Window { side: 2, stride: 2, padding: 0 });
}

/// What stands under an output pixel of [`MaxPool::HALVE`]: the four values of its channels in the input, by index.
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
        Ok([self.0.output(&x)?])
    }

    fn cost(&self, all: &[Desc]) -> Cost {
        self.0.cost(&all[0])
    }

    fn forward(&self, cx: Cx<'_>, all: &[&Tensor], outputs: &mut [Tensor; 1]) -> Result<()> {
        match cx.device {
            #[cfg(feature = "cuda")]
            Device::Cuda(cuda) => self.0.pool(cuda, all[0], &mut outputs[0], false),
            Device::Cpu(_) if all[0].dtype() != DType::F32 => Err(cx.unsupported(Self::NAME, all[0].desc())),
            Device::Cpu(cpu) => self.0.each(cpu, all[0], &mut outputs[0], |to, under| {
                to.fill(f32::NEG_INFINITY);
                for from in under {
                    for (to, from) in to.iter_mut().zip(from) {
                        *to = if *from > *to || from.is_nan() { *from } else { *to };
                    }
                }
            }),
        }
    }

    fn backward(&self, e: &Eager<'_>, pass: &Backward<'_, 1>) -> Result<Gradients> {
        if *self != MaxPool::HALVE {
            return Err(Error::unsupported(format!("max_pool: no gradient of {:?}", self.0)));
        }
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
        expect("gradient", &grad, &[n, h / 2, w / 2, c], x.dtype)?;
        Ok([x])
    }

    fn cost(&self, all: &[Desc]) -> Cost {
        let count = all[0].shape.count() as f64;
        Cost { flops: 0.75 * count, bytes: 9.0 * count }
    }

    fn forward(&self, cx: Cx<'_>, all: &[&Tensor], outputs: &mut [Tensor; 1]) -> Result<()> {
        match cx.device {
            #[cfg(feature = "cuda")]
            Device::Cuda(cuda) => cuda::backward(cuda, all, &mut outputs[0]),
            Device::Cpu(cpu) => {
                let [n, h, w, c] = dims("x", all[0].desc())?;
                let (rows, columns) = (h / 2, w / 2);
                let (x, grad) = (all[0].data::<f32>()?, all[1].data::<f32>()?);
                let parts = Parts::new(outputs[0].data_mut::<f32>()?);
                // A last odd row is a block of its own.
                let pairs = h.div_ceil(2);
                cpu.pool.blocks(n * pairs, |_, index| {
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
                });
                Ok(())
            }
        }
    }
}
