//! The blur before a picture is made smaller, so that no fine pattern turns into a coarse one (Zhang, 2019): each axis by
//! the filter (1, 3, 3, 1) / 8.

use super::check::{dims, expect_type, inputs};
use crate::backend::Device;
use crate::backend::cpu::simd::{Kernel, Simd};
use crate::backend::cpu::{Cpu, Parts};
use crate::error::{Error, Result};
use crate::exec::{Backward, Cost, Cx, Eager, Gradients, Op};
#[cfg(feature = "cuda")]
use crate::ops::launch::{int, pixels};
use crate::tensor::{DType, Desc, Tensor};

/// Of an axis.
const FILTER: [f32; TAPS] = [0.125, 0.375, 0.375, 0.125];
const TAPS: usize = 4;

/// y\[i\] = sum over a of filter\[a\] * x\[i + a - before\] along rows and columns, x zero outside.
///
/// Input: x (n, h, w, c) f32, or on a GPU bf16. Output: (n, h + before + after - 3, w + before + after - 3, c), as x.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Blur {
    /// Zeros above and to the left, at most 3.
    pub before: usize,
    /// Zeros below and to the right, at most 3.
    pub after: usize,
}

impl Blur {
    fn extent(self, size: usize) -> Option<usize> {
        size.checked_add(self.before + self.after)?.checked_sub(TAPS - 1).filter(|size| *size > 0)
    }
}

impl Op for Blur {
    const NAME: &'static str = "blur";

    fn outputs(&self, all: &[Desc]) -> Result<[Desc; 1]> {
        let [x] = inputs::<1>(all)?;
        expect_type("x", &x, &[DType::F32, DType::BF16])?;
        let [n, h, w, c] = dims("x", &x)?;
        if self.before.max(self.after) >= TAPS {
            return Err(Error::invalid(format!("{self:?}: at most {} zeros on a side", TAPS - 1)));
        }
        match (self.extent(h), self.extent(w)) {
            (Some(oh), Some(ow)) => Ok([Desc::plain([n, oh, ow, c], x.dtype)]),
            _ => Err(Error::invalid(format!("x is {x}: with {self:?} smaller than the filter of {TAPS}"))),
        }
    }

    fn cost(&self, all: &[Desc]) -> Cost {
        let count = all[0].shape.count() as f64;
        // One axis after the other.
        Cost { flops: 4.0 * TAPS as f64 * count, bytes: 8.0 * count }
    }

    fn forward(&self, cx: Cx<'_>, all: &[&Tensor], outputs: &mut [Tensor; 1]) -> Result<()> {
        match cx.device {
            #[cfg(feature = "cuda")]
            Device::Cuda(cuda) => {
                let kernels = ["fqgan_blur_forward_f32", "fqgan_blur_forward_bf16"];
                pixels(cuda, kernels, all[0], &mut outputs[0], &[int(self.before)?])
            }
            Device::Cpu(_) if all[0].dtype() != DType::F32 => Err(cx.unsupported(Self::NAME, all[0].desc())),
            Device::Cpu(cpu) => filter(cpu, self.before, all[0], &mut outputs[0]),
        }
    }

    /// The filter is the same from both ends: the gradient is blurred likewise.
    fn backward(&self, e: &Eager<'_>, pass: &Backward<'_, 1>) -> Result<Gradients> {
        let dy = pass.grads[0].as_ref().ok_or_else(|| Error::internal("no gradient"))?;
        let rule = Blur { before: TAPS - 1 - self.before, after: TAPS - 1 - self.after };
        let [dx] = e.run(&rule, &[dy])?;
        let mut found = Gradients::default();
        found[0] = Some(dx);
        Ok(found)
    }
}

fn filter(cpu: &Cpu, before: usize, x: &Tensor, out: &mut Tensor) -> Result<()> {
    let [_, h, w, c] = dims("x", x.desc())?;
    let [n, oh, ow, _] = dims("output", out.desc())?;
    let x = x.data::<f32>()?;
    let parts = Parts::new(out.data_mut::<f32>()?);
    cpu.pool.blocks(n * oh, |_, row| {
        let (image, y) = (row / oh, row % oh);
        // SAFETY: one part a row.
        let to = unsafe { parts.slice(row * ow * c..(row + 1) * ow * c) };
        cpu.isa.dispatch(Row {
            x: &x[image * h * w * c..(image + 1) * h * w * c],
            size: [h, w, c],
            before,
            y,
            to,
        });
    });
    Ok(())
}

/// A row of outputs.
struct Row<'a> {
    x: &'a [f32],
    size: [usize; 3],
    before: usize,
    y: usize,
    to: &'a mut [f32],
}

impl Kernel for Row<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self) {
        let ([h, w, c], before) = (self.size, self.before);
        for (x, to) in self.to.chunks_exact_mut(c.max(1)).enumerate() {
            for first in (0..c).step_by(S::LANES) {
                let n = S::LANES.min(c - first);
                // SAFETY: pixels lie inside the picture, and `first + n` inside the channels.
                unsafe {
                    let mut sum = S::splat(0.0);
                    for (a, down) in FILTER.iter().enumerate() {
                        if self.y + a < before || self.y + a - before >= h {
                            continue;
                        }
                        let row = (self.y + a - before) * w;
                        for (b, across) in FILTER.iter().enumerate() {
                            if x + b < before || x + b - before >= w {
                                continue;
                            }
                            let from = self.x.as_ptr().add((row + x + b - before) * c + first);
                            sum = S::fma(S::splat(down * across), S::load_up_to(from, n), sum);
                        }
                    }
                    S::store_up_to(to.as_mut_ptr().add(first), sum, n);
                }
            }
        }
    }
}
