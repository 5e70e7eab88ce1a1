//! The convolution's rule. The gradient of the (normalised) input is a convolution of stride 1 again: of the
//! output's gradient, its pixels set apart by the stride, by the kernel turned round, its channels exchanged.
//! So it takes the forward's own variants. The filter's gradient is in `filter.rs`.

use super::filter::FilterGradient;
use super::{Conv2d, Geometry};
#[cfg(feature = "cuda")]
use crate::backend::Device;
use crate::backend::cpu::Parts;
use crate::error::{Error, Result};
use crate::exec::{Backward, Cost, Cx, Eager, Gradients, Op};
use crate::ops::check::{dims, expect_type, inputs};
use crate::ops::fill::converted;
use crate::ops::group_norm::{Apply, ApplyBackward};
use crate::ops::sum_rows::SumRows;
use crate::ops::upsample::{FoldUpsample, Upsample};
use crate::tensor::{DType, Desc, Element, Tensor};
use half::bf16;

pub(super) fn conv2d(op: &Conv2d, e: &Eager<'_>, pass: &Backward<'_, 1>) -> Result<Gradients> {
    let dy = pass.grads[0].as_ref().ok_or_else(|| Error::internal("no gradient"))?;
    let (x, weight) = (pass.inputs[0], pass.inputs[1]);
    let g = Geometry::new(op, x.desc(), weight.desc())?;
    let mut found = Gradients::default();
    if op.residual {
        let last = pass.inputs.len() - 1;
        found[last] = Some(converted(e.cx(), dy, pass.inputs[last].dtype())?);
    }
    if pass.wanted[2] {
        let [sum] = e.run(&SumRows { keep: 1 }, &[dy])?;
        found[2] = Some(sum);
    }
    if pass.wanted[1] {
        let mut u = match op.norm {
            Some(norm) => {
                let [u] = e.run(&Apply { silu: norm.silu }, &[x, pass.inputs[3]])?;
                u
            }
            None => x.clone(),
        };
        if op.upsample {
            [u] = e.run(&Upsample, &[&u])?;
        }
        let (kernel, operands) = ([g.r, g.s], op.gradient);
        let rule = FilterGradient { kernel, stride: g.stride, top: g.top, left: g.left, operands };
        let [dw] = e.run(&rule, &[&u, dy])?;
        found[1] = Some(dw);
    }
    if pass.wanted[0] || (op.norm.is_some() && pass.wanted[3]) {
        let du = input_gradient(op, &g, e, weight, dy, x.dtype())?;
        if let Some(norm) = op.norm {
            let rule = ApplyBackward { silu: norm.silu };
            let sum = pass.take_sum(0);
            let all = [x, pass.inputs[3], &du, sum.as_ref().unwrap_or(x)];
            let [dx, d_coefficients] = e.run(&rule, &all[..3 + usize::from(sum.is_some())])?;
            found[0] = Some(dx);
            found[3] = Some(d_coefficients);
        } else {
            found[0] = Some(du);
        }
    }
    Ok(found)
}

/// The gradient of what is convolved, before up-sampling, in its type.
fn input_gradient(
    op: &Conv2d,
    g: &Geometry,
    e: &Eager<'_>,
    weight: &Tensor,
    dy: &Tensor,
    dtype: DType,
) -> Result<Tensor> {
    let narrow = dtype == DType::BF16;
    let (height, width) = (g.h << g.up, g.w << g.up);
    #[cfg(feature = "cuda")]
    if let Device::Cuda(_) = e.cx().device {
        let rule = super::cuda::DataGradient { geometry: *g, operands: op.operands, narrow };
        let [du] = e.run(&rule, &[weight, dy])?;
        return folded(g, e, du);
    }
    // Rows of the gradient, set apart, and the zeros around them that make `height` rows of the result.
    let around = |out: usize, size: usize, kernel: usize, before: usize| -> Result<(usize, usize)> {
        let apart = (out - 1) * g.stride + 1;
        let first = (kernel - 1).checked_sub(before);
        let last = first.and_then(|f| (size + kernel - 1).checked_sub(apart + f));
        first.zip(last).ok_or_else(|| {
            Error::unsupported(format!("no gradient for padding {before} by a kernel of {kernel}"))
        })
    };
    let (top, bottom) = around(g.oh, height, g.r, g.top)?;
    let (left, right) = around(g.ow, width, g.s, g.left)?;
    let apart = if g.stride == 1 {
        dy.clone()
    } else {
        let [apart] = e.run(&Spread { stride: g.stride }, &[dy])?;
        apart
    };
    let [turned] = e.run(&TurnFilter, &[weight])?;
    let mut bias = e.cx().workspace.tensor(Desc::plain([g.c], DType::F32))?;
    bias.data_mut::<f32>()?.fill(0.0);
    let (padding, operands) = ([top, left, bottom, right], op.operands);
    let op = Conv2d { padding, operands, narrow, ..Conv2d::same(1) };
    let [du] = e.run(&op, &[&apart, &turned, &bias])?;
    folded(g, e, du)
}

/// What up-sampling spread, summed.
fn folded(g: &Geometry, e: &Eager<'_>, du: Tensor) -> Result<Tensor> {
    if g.up == 0 {
        return Ok(du);
    }
    let [dx] = e.run(&FoldUpsample, &[&du])?;
    Ok(dx)
}

/// A weight (k, c, r, s) to (c, k, r, s), each kernel turned by half a circle.
#[derive(Clone, Copy, Debug)]
struct TurnFilter;

impl Op for TurnFilter {
    const NAME: &'static str = "conv2d";

    fn outputs(&self, all: &[Desc]) -> Result<[Desc; 1]> {
        let [weight] = inputs::<1>(all)?;
        let [k, c, r, s] = dims("weight", &weight)?;
        expect_type("weight", &weight, &[DType::F32])?;
        Ok([Desc::plain([c, k, r, s], DType::F32)])
    }

    fn cost(&self, all: &[Desc]) -> Cost {
        Cost { flops: 0.0, bytes: 8.0 * all[0].shape.count() as f64 }
    }

    fn forward(&self, cx: Cx<'_>, all: &[&Tensor], outputs: &mut [Tensor; 1]) -> Result<()> {
        let [k, c, r, s] = dims("weight", all[0].desc())?;
        let taps = r * s;
        let weight = all[0].data::<f32>()?;
        let parts = Parts::new(outputs[0].data_mut::<f32>()?);
        // Together: their kernels lie side by side in memory.
        const CHANNELS: usize = 16;
        cx.cpu("turning filters")?.pool.blocks(c.div_ceil(CHANNELS), |_, block| {
            let channels = block * CHANNELS..c.min((block + 1) * CHANNELS);
            // SAFETY: one part so many channels.
            let to = unsafe { parts.slice(channels.start * k * taps..channels.end * k * taps) };
            for i in 0..k {
                let from = &weight[(i * c + channels.start) * taps..(i * c + channels.end) * taps];
                for (channel, from) in from.chunks_exact(taps).enumerate() {
                    let to = &mut to[(channel * k + i) * taps..][..taps];
                    match (<&[f32; 9]>::try_from(from), <&mut [f32; 9]>::try_from(&mut *to)) {
                        // Of a length that the compiler knows, it is a few vectors.
                        (Ok(&[a, b, c, d, e, f, g, h, i]), Ok(to)) => *to = [i, h, g, f, e, d, c, b, a],
                        _ => to.iter_mut().zip(from.iter().rev()).for_each(|(t, f)| *t = *f),
                    }
                }
            }
        });
        Ok(())
    }
}

/// Pixels (n, h, w, c), f32 or bf16, set `stride` apart, zeros between.
#[derive(Clone, Copy, Debug)]
struct Spread {
    stride: usize,
}

impl Op for Spread {
    const NAME: &'static str = "conv2d";

    fn outputs(&self, all: &[Desc]) -> Result<[Desc; 1]> {
        let [x] = inputs::<1>(all)?;
        let [n, h, w, c] = dims("x", &x)?;
        expect_type("x", &x, &[DType::F32, DType::BF16])?;
        let apart = |size: usize| size.saturating_sub(1) * self.stride + usize::from(size > 0);
        Ok([Desc::plain([n, apart(h), apart(w), c], x.dtype)])
    }

    fn cost(&self, all: &[Desc]) -> Cost {
        let count = all[0].shape.count() as f64;
        let size = all[0].dtype.size() as f64;
        Cost { flops: 0.0, bytes: size * count * (1.0 + (self.stride * self.stride) as f64) }
    }

    fn forward(&self, cx: Cx<'_>, all: &[&Tensor], outputs: &mut [Tensor; 1]) -> Result<()> {
        match all[0].dtype() {
            DType::BF16 => self.run::<bf16>(cx, all[0], &mut outputs[0]),
            _ => self.run::<f32>(cx, all[0], &mut outputs[0]),
        }
    }
}

impl Spread {
    fn run<T: Element + Default>(self, cx: Cx<'_>, x: &Tensor, out: &mut Tensor) -> Result<()> {
        let [_, h, w, c] = dims("x", x.desc())?;
        let [n, rows, columns, _] = dims("output", out.desc())?;
        let x = x.data::<T>()?;
        let parts = Parts::new(out.data_mut::<T>()?);
        cx.cpu("spreading pixels")?.pool.blocks(n * rows, |_, row| {
            let (image, y) = (row / rows, row % rows);
            // SAFETY: one part a row.
            let to = unsafe { parts.slice(row * columns * c..(row + 1) * columns * c) };
            to.fill(T::default());
            if y.is_multiple_of(self.stride) {
                let from = &x[(image * h + y / self.stride) * w * c..][..w * c];
                let apart = to.chunks_mut((self.stride * c).max(1));
                apart.zip(from.chunks_exact(c.max(1))).for_each(|(t, f)| t[..c].copy_from_slice(f));
            }
        });
        Ok(())
    }
}
