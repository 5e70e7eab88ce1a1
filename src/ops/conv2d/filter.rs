//! The gradient of a convolution's weight: for each tap the product of the output's gradient, turned, with the
//! pixels that the tap saw, summed over pixels.

use super::{filter_bf16, filter_few, filter_winograd};
use crate::backend::Device;
use crate::backend::cpu::{Cpu, Parts};
use crate::error::Result;
use crate::exec::{Cost, Cx, Op, forced_variant};
use crate::ops::check::{dims, expect_type, inputs};
use crate::ops::fill::converted;
use crate::ops::matmul::Product;
use crate::tensor::{DType, Desc, Tensor};

/// Inputs: what was convolved (n, h, w, c) and the output's gradient (n, oh, ow, k), each f32 or bf16. Output: the
/// weight's gradient (k, c, r, s) f32.
#[derive(Clone, Copy, Debug)]
pub(super) struct FilterGradient {
    pub kernel: [usize; 2],
    pub stride: usize,
    pub top: usize,
    pub left: usize,
    /// F32, or BF16: (transformed) pixels and gradients are rounded where the processor has instructions for it and where
    /// it gains, products summed in f32.
    pub operands: DType,
}

/// Output channels that are one part's.
const CHANNELS: usize = 64;
/// Pixels whose sums are kept apart: few, for each needs memory of the weight's size, and a number that does not
/// depend on the threads.
const PIXELS: usize = 8192;
const MOST: usize = 16;

impl Op for FilterGradient {
    const NAME: &'static str = "conv2d";

    fn outputs(&self, all: &[Desc]) -> Result<[Desc; 1]> {
        let [u, dy] = inputs::<2>(all)?;
        expect_type("x", &u, &[DType::F32, DType::BF16])?;
        expect_type("gradient", &dy, &[DType::F32, DType::BF16])?;
        let ([_, _, _, c], [_, _, _, k]) = (dims("x", &u)?, dims("gradient", &dy)?);
        Ok([Desc::plain([k, c, self.kernel[0], self.kernel[1]], DType::F32)])
    }

    fn cost(&self, all: &[Desc]) -> Cost {
        let (pixels, c) = (all[1].shape.count() as f64, all[0].shape[3] as f64);
        let taps = (self.kernel[0] * self.kernel[1]) as f64;
        let bytes = 4.0 * (pixels + all[0].shape.count() as f64 + taps * c * all[1].shape[3] as f64);
        Cost { flops: 2.0 * pixels * c * taps, bytes }
    }

    fn forward(&self, cx: Cx<'_>, all: &[&Tensor], outputs: &mut [Tensor; 1]) -> Result<()> {
        match cx.device {
            #[cfg(feature = "cuda")]
            Device::Cuda(cuda) => {
                super::cuda::filter_gradient(self, cx, cuda, [all[0], all[1]], &mut outputs[0])
            }
            Device::Cpu(cpu) => {
                let ([.., c], [.., k]) =
                    (dims::<4>("x", all[0].desc())?, dims::<4>("gradient", all[1].desc())?);
                let direct = forced_variant("conv2d") == Some("direct");
                let winograd = !direct && filter_winograd::takes(self, c, k);
                let [u, dy] = [all[0], all[1]];
                if !direct && filter_few::takes(self, c, k) {
                    return filter_few::run(self, cx, cpu, u, dy, &mut outputs[0]);
                }
                match (winograd, filter_bf16::takes(cpu, self, c, k)) {
                    (true, false) => filter_winograd::run(self, cx, cpu, u, dy, &mut outputs[0]),
                    (true, true) => filter_bf16::winograd(self, cx, cpu, u, dy, &mut outputs[0]),
                    (false, true) => filter_bf16::direct(self, cx, cpu, u, dy, &mut outputs[0]),
                    (false, false) => self.run(cx, cpu, u, dy, &mut outputs[0]),
                }
            }
        }
    }
}

impl FilterGradient {
    fn run(self, cx: Cx<'_>, cpu: &Cpu, u: &Tensor, dy: &Tensor, out: &mut Tensor) -> Result<()> {
        let (u, dy) = (&converted(cx, u, DType::F32)?, &converted(cx, dy, DType::F32)?);
        let [_, h, w, c] = dims("x", u.desc())?;
        let [n, oh, ow, k] = dims("gradient", dy.desc())?;
        let [r, s] = self.kernel;
        let taps = r * s;
        let rows = n * oh;
        let runs = (rows * ow / PIXELS).clamp(1, MOST).min(rows.max(1));
        let run_rows = rows.div_ceil(runs);
        let groups = k.div_ceil(CHANNELS);
        let mut sums = cx.workspace.tensor(Desc::plain([runs, taps, k, c], DType::F32))?;
        let (u, dy) = (u.data::<f32>()?, dy.data::<f32>()?);
        let parts = Parts::new(sums.data_mut::<f32>()?);
        cpu.pool.blocks(runs * taps * groups, |_, index| {
            let (run, rest) = (index / (taps * groups), index % (taps * groups));
            let (tap, first) = (rest / groups, rest % groups * CHANNELS);
            let channels = CHANNELS.min(k - first);
            let at = ((run * taps + tap) * k + first) * c;
            // SAFETY: one part a block.
            let sum = unsafe { parts.slice(at..at + channels * c) };
            sum.fill(0.0);
            let (down, right) = (tap / s, tap % s);
            // Outputs j whose tap lies inside the row: 0 <= j * stride + right - left < w.
            let begin = self.left.saturating_sub(right).div_ceil(self.stride);
            let end = ow.min((w + self.left).saturating_sub(right).div_ceil(self.stride));
            if begin >= end {
                return;
            }
            for row in run * run_rows..rows.min((run + 1) * run_rows) {
                let (image, i) = (row / oh, row % oh);
                let Some(y) = (i * self.stride + down).checked_sub(self.top).filter(|y| *y < h) else {
                    continue;
                };
                let pixel = (image * h + y) * w + begin * self.stride + right - self.left;
                let product = Product {
                    m: channels,
                    n: c,
                    k: end - begin,
                    a: dy[(row * ow + begin) * k + first..].as_ptr(),
                    a_row: 1,
                    a_depth: k,
                    b: u[pixel * c..].as_ptr(),
                    b_row: self.stride * c,
                    c: sum.as_mut_ptr(),
                    c_row: c,
                    add: true,
                };
                cpu.isa.dispatch(product);
            }
        });
        let sums = sums.data::<f32>()?;
        let parts = Parts::new(out.data_mut::<f32>()?);
        cpu.pool.blocks(k, |_, channel| {
            // SAFETY: one part an output channel.
            let out = unsafe { parts.slice(channel * c * taps..(channel + 1) * c * taps) };
            for (i, out) in out.iter_mut().enumerate() {
                let (from, tap) = (i / taps, i % taps);
                let of_run = |run: usize| f64::from(sums[((run * taps + tap) * k + channel) * c + from]);
                *out = (0..runs).map(of_run).sum::<f64>() as f32;
            }
        });
        Ok(())
    }
}
