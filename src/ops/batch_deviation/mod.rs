//! How different the pictures of a batch are from each other, told to a discriminator as one more channel, so that a
//! generator that always makes the same is found out (minibatch standard deviation; Karras et al., 2018).

#[cfg(feature = "cuda")]
mod cuda;

use super::check::{dims, expect, expect_type, inputs};
use crate::backend::Device;
use crate::backend::cpu::Parts;
use crate::error::{Error, Result};
use crate::exec::{Backward, Cost, Cx, Eager, Gradients, Op};
use crate::tensor::{DType, Desc, Tensor};

/// The mean over all places and channels of the standard deviation within a set of pictures, at every place of each of
/// them.
///
/// Input: x (n, h, w, c) f32, or on a GPU bf16, not empty. Output: (n, h, w, 1) of x's type. A set has g pictures, g being
/// the largest divisor of n that is not larger than `group`: picture i is of set i mod (n / g). The deviation is the root
/// of the mean square plus 1e-8.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchDeviation {
    /// The most pictures of a set, at least 1.
    pub group: usize,
}

/// Keeps the root's slope finite.
const EPS: f64 = 1e-8;

impl BatchDeviation {
    /// Pictures of a set.
    fn size(self, n: usize) -> usize {
        (1..=self.group.min(n)).rev().find(|g| n.is_multiple_of(*g)).unwrap_or(1)
    }

    fn check(self, x: &Desc) -> Result<[usize; 4]> {
        expect_type("x", x, &[DType::F32, DType::BF16])?;
        let extents = dims("x", x)?;
        if self.group == 0 || x.shape.count() == 0 {
            return Err(Error::invalid(format!(
                "{self:?} of {x}: expected pictures, and sets of at least one"
            )));
        }
        Ok(extents)
    }
}

impl Op for BatchDeviation {
    const NAME: &'static str = "batch_deviation";

    fn outputs(&self, all: &[Desc]) -> Result<[Desc; 1]> {
        let [x] = inputs::<1>(all)?;
        let [n, h, w, _] = self.check(&x)?;
        Ok([Desc::plain([n, h, w, 1], x.dtype)])
    }

    fn cost(&self, all: &[Desc]) -> Cost {
        let count = all[0].shape.count() as f64;
        Cost { flops: 5.0 * count, bytes: 4.0 * count }
    }

    fn forward(&self, cx: Cx<'_>, all: &[&Tensor], outputs: &mut [Tensor; 1]) -> Result<()> {
        match cx.device {
            #[cfg(feature = "cuda")]
            Device::Cuda(cuda) => {
                cuda::forward(self.size(all[0].shape()[0]), cx, cuda, all[0], &mut outputs[0])
            }
            Device::Cpu(_) if all[0].dtype() != DType::F32 => Err(cx.unsupported(Self::NAME, all[0].desc())),
            Device::Cpu(cpu) => {
                let [n, h, w, c] = dims("x", all[0].desc())?;
                let (g, x) = (self.size(n), all[0].data::<f32>()?);
                let (sets, each, places) = (n / g, h * w * c, h * w);
                let parts = Parts::new(outputs[0].data_mut::<f32>()?);
                cpu.pool.blocks(sets, |_, set| {
                    let sum: f64 = (0..each).map(|at| spread(x, [set, sets, g], each, at)[1]).sum();
                    for picture in (set..n).step_by(sets) {
                        // SAFETY: a picture is of one set.
                        let to = unsafe { parts.slice(picture * places..(picture + 1) * places) };
                        to.fill((sum / each as f64) as f32);
                    }
                });
                Ok(())
            }
        }
    }

    fn backward(&self, e: &Eager<'_>, pass: &Backward<'_, 1>) -> Result<Gradients> {
        let dy = pass.grads[0].as_ref().ok_or_else(|| Error::internal("no gradient"))?;
        let [dx] = e.run(&Rule(*self), &[pass.inputs[0], dy])?;
        let mut found = Gradients::default();
        found[0] = Some(dx);
        Ok(found)
    }
}

/// Mean and deviation of an element over a set.
fn spread(x: &[f32], [set, sets, g]: [usize; 3], each: usize, at: usize) -> [f64; 2] {
    let values = |i: usize| f64::from(x[(set + i * sets) * each + at]);
    let mean = (0..g).map(values).sum::<f64>() / g as f64;
    let variance = (0..g).map(|i| (values(i) - mean).powi(2)).sum::<f64>() / g as f64;
    [mean, (variance + EPS).sqrt()]
}

/// Inputs: x and the output's gradient. Output: x's gradient, (x - mean) / (g deviation) times the sum of the gradients of
/// the set over the elements of a picture.
#[derive(Clone, Copy, Debug)]
struct Rule(BatchDeviation);

impl Op for Rule {
    const NAME: &'static str = "batch_deviation";

    fn outputs(&self, all: &[Desc]) -> Result<[Desc; 1]> {
        let [x, dy] = inputs::<2>(all)?;
        let [n, h, w, _] = self.0.check(&x)?;
        expect("gradient", &dy, &[n, h, w, 1], x.dtype)?;
        Ok([x])
    }

    fn cost(&self, all: &[Desc]) -> Cost {
        let count = all[0].shape.count() as f64;
        Cost { flops: 8.0 * count, bytes: 8.0 * count }
    }

    fn forward(&self, cx: Cx<'_>, all: &[&Tensor], outputs: &mut [Tensor; 1]) -> Result<()> {
        match cx.device {
            #[cfg(feature = "cuda")]
            Device::Cuda(cuda) => {
                cuda::backward(self.0.size(all[0].shape()[0]), cx, cuda, all, &mut outputs[0])
            }
            Device::Cpu(cpu) => {
                let [n, h, w, c] = dims("x", all[0].desc())?;
                let (g, x, dy) = (self.0.size(n), all[0].data::<f32>()?, all[1].data::<f32>()?);
                let (sets, each, places) = (n / g, h * w * c, h * w);
                let parts = Parts::new(outputs[0].data_mut::<f32>()?);
                cpu.pool.blocks(sets, |_, set| {
                    let of = |picture: usize| &dy[picture * places..(picture + 1) * places];
                    let pictures = (set..n).step_by(sets);
                    let sum: f64 = pictures.clone().flat_map(of).map(|&dy| f64::from(dy)).sum();
                    for at in 0..each {
                        let [mean, deviation] = spread(x, [set, sets, g], each, at);
                        for picture in pictures.clone() {
                            // SAFETY: a picture is of one set.
                            let to = unsafe { parts.slice(picture * each + at..picture * each + at + 1) };
                            let from = f64::from(x[picture * each + at]) - mean;
                            to[0] = (sum * from / (g as f64 * deviation * each as f64)) as f32;
                        }
                    }
                });
                Ok(())
            }
        }
    }
}
