//! 2-D convolution over channels-last activations, with what stands around it in the tokenizer fused in:
//! the GroupNorm's scale and shift and SiLU on load, nearest up-sampling, bias and residual on store.
//!
//! y\[i, j, k\] = bias\[k\] + sum over a, b, c of weight\[k, c, a, b\] * u\[stride*i + a - top, stride*j + b - left, c\]
//! (+ residual\[i, j, k\]), where u is x, or silu(x * scale + shift), twice as large if up-sampled, and zero
//! outside the picture.

mod backward;
mod cpu;
#[cfg(feature = "cuda")]
mod cuda;
mod filter;
mod filter_bf16;
mod filter_few;
mod filter_window;
mod filter_winograd;
mod pack;

pub use pack::{Pack, Variant, most_elements};

use super::check::{dims, expect, expect_type, inputs};
use crate::backend::Device;
use crate::error::{Error, Result};
use crate::exec::{Backward, Cost, Cx, Eager, Gradients, Op};
use crate::tensor::{DType, Desc, Layout, Tensor};

/// What a normalised input goes through on load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Norm {
    /// x * sigmoid(x) after scale and shift.
    pub silu: bool,
}

/// A convolution.
///
/// Inputs: x (n, h, w, c) f32; weight (k, c, r, s), plain f32 or made by [`Pack`]; bias (k) f32; then, as
/// configured, the coefficients (n, 2, c) f32 of [`super::group_norm::Coefficients`] and the residual, shaped as the
/// output. Output: (n, oh, ow, k). x and the residual are f32 or bf16; the output is bf16 if `narrow`, else f32.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conv2d {
    /// Step between outputs, at least 1.
    pub stride: usize,
    /// Zeros around the (up-sampled) picture: top, left, bottom, right.
    pub padding: [usize; 4],
    /// Each pixel of x stands for 2 x 2 of the picture that is convolved.
    pub upsample: bool,
    /// The input is normalised on load, by a fourth input.
    pub norm: Option<Norm>,
    /// The last input is added to the output.
    pub residual: bool,
    /// Of a plain weight, and of the input's gradient: F32, or BF16 as [`Pack`] has it.
    pub operands: DType,
    /// Of the weight's gradient: likewise.
    pub gradient: DType,
    /// Whether the output is bf16.
    pub narrow: bool,
}

impl Conv2d {
    /// The plain convolution of an odd kernel that keeps the picture's size.
    pub fn same(kernel: usize) -> Conv2d {
        let p = kernel / 2;
        let (norm, residual) = (None, false);
        let (upsample, narrow) = (false, false);
        let (operands, gradient) = (DType::F32, DType::F32);
        Conv2d { stride: 1, padding: [p; 4], upsample, norm, residual, operands, gradient, narrow }
    }

    /// How the weight of this convolution is packed.
    pub fn pack(&self) -> Pack {
        Pack { op: *self, compact: false, few: false, operands: self.operands, variant: None }
    }
}

/// Rows of the sums of a part: how many positions, a value of the channel near all of them (its pivot), the sum of
/// x - pivot, and the sum of its square.
pub const SUMS: usize = 4;

/// A convolution that also gathers what a GroupNorm of its output needs, so that it need not be read for that.
///
/// Inputs as of [`Conv2d`]. Outputs: its output, and (n, parts, [`SUMS`], k) f32 for some parts of an image, which
/// [`super::group_norm::Coefficients`] takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WithSums(pub Conv2d);

/// Extents of one convolution, checked.
#[derive(Clone, Copy, Debug)]
struct Geometry {
    n: usize,
    h: usize,
    w: usize,
    c: usize,
    k: usize,
    r: usize,
    s: usize,
    oh: usize,
    ow: usize,
    stride: usize,
    top: usize,
    left: usize,
    /// 1 where the picture is twice as large as x, else 0.
    up: u32,
}

impl Geometry {
    fn new(op: &Conv2d, x: &Desc, weight: &Desc) -> Result<Geometry> {
        let [n, h, w, c] = dims("x", x)?;
        let [k, wc, r, s] = dims("weight", weight)?;
        if wc != c {
            return Err(Error::invalid(format!(
                "weight is {weight}, x is {x}: expected weight (k, {c}, r, s)"
            )));
        }
        if k == 0 || c == 0 || r == 0 || s == 0 {
            return Err(Error::invalid(format!("weight is {weight}: no extent may be 0")));
        }
        if op.stride == 0 {
            return Err(Error::invalid("stride is 0, expected at least 1"));
        }
        let [top, left, bottom, right] = op.padding;
        let up = u32::from(op.upsample);
        let extent = |size: usize, before: usize, after: usize, kernel: usize| {
            let padded = size.checked_mul(1 << up)?.checked_add(before)?.checked_add(after)?;
            // Staging addresses the padded picture with signed coordinates.
            isize::try_from(padded).ok()?;
            Some(padded.checked_sub(kernel)? / op.stride + 1)
        };
        let oh = extent(h, top, bottom, r);
        let ow = extent(w, left, right, s);
        let (Some(oh), Some(ow)) = (oh, ow) else {
            return Err(Error::invalid(format!(
                "x is {x}, padded by {:?}: smaller than the kernel, {r} x {s}",
                op.padding
            )));
        };
        Ok(Geometry { n, h, w, c, k, r, s, oh, ow, stride: op.stride, top, left, up })
    }

    /// Parts of an image that sums are taken over, where its positions can be counted.
    fn checked_parts(&self, weight: &Desc) -> Option<usize> {
        self.oh.checked_mul(self.ow)?;
        Some(cpu::sum_parts(weight, self))
    }

    fn output(&self) -> [usize; 4] {
        [self.n, self.oh, self.ow, self.k]
    }
}

impl Op for Conv2d {
    const NAME: &'static str = "conv2d";

    fn outputs(&self, all: &[Desc]) -> Result<[Desc; 1]> {
        let (first, rest) = all.split_at(all.len().min(3));
        let [x, weight, bias] = inputs::<3>(first)?;
        expect_type("x", &x, &[DType::F32, DType::BF16])?;
        if weight.layout == Layout::Plain {
            expect_type("weight", &weight, &[DType::F32])?;
        }
        let g = Geometry::new(self, &x, &weight)?;
        if weight.layout != Layout::Plain
            && !Variant::of(&weight).is_some_and(|v| v.takes(self, weight.dtype, [g.k, g.c, g.r, g.s]))
        {
            return Err(Error::invalid(format!("weight is {weight}, which was not packed for {self:?}")));
        }
        expect("bias", &bias, &[g.k], DType::F32)?;
        let mut rest = rest.iter();
        let mut next =
            || rest.next().ok_or_else(|| Error::internal(format!("{} inputs, expected more", all.len())));
        if self.norm.is_some() {
            expect("coefficients", next()?, &[g.n, 2, g.c], DType::F32)?;
        }
        if self.residual {
            let residual = next()?;
            expect_type("residual", residual, &[DType::F32, DType::BF16])?;
            expect("residual", residual, &g.output(), residual.dtype)?;
        }
        if rest.next().is_some() {
            return Err(Error::internal(format!("{} inputs, expected fewer", all.len())));
        }
        Ok([Desc::plain(g.output(), if self.narrow { DType::BF16 } else { DType::F32 })])
    }

    fn cost(&self, all: &[Desc]) -> Cost {
        let Ok(g) = Geometry::new(self, &all[0], &all[1]) else { return Cost::default() };
        let outputs = (g.n * g.oh * g.ow * g.k) as f64;
        let residual = if self.residual { 2.0 } else { 1.0 };
        let weights = (g.k * g.c * g.r * g.s) as f64;
        let pixels = (g.n * g.h * g.w * g.c) as f64;
        Cost {
            flops: 2.0 * outputs * (g.c * g.r * g.s) as f64,
            bytes: 4.0 * (outputs * residual + weights + pixels),
        }
    }

    fn forward(&self, cx: Cx<'_>, all: &[&Tensor], outputs: &mut [Tensor; 1]) -> Result<()> {
        let g = Geometry::new(self, all[0].desc(), all[1].desc())?;
        match cx.device {
            #[cfg(feature = "cuda")]
            Device::Cuda(cuda) => cuda::forward(self, &g, cx, cuda, all, &mut outputs[0]),
            Device::Cpu(cpu) => cpu::forward(self, &g, cx, cpu, all, &mut outputs[0], None),
        }
    }

    fn backward(&self, e: &Eager<'_>, pass: &Backward<'_, 1>) -> Result<Gradients> {
        backward::conv2d(self, e, pass)
    }
}

impl Op<2> for WithSums {
    const NAME: &'static str = "conv2d";

    fn outputs(&self, all: &[Desc]) -> Result<[Desc; 2]> {
        let [out] = self.0.outputs(all)?;
        let g = Geometry::new(&self.0, &all[0], &all[1])?;
        let Some(parts) = g.checked_parts(&all[1]) else {
            return Err(Error::invalid(format!("{out}: too large to sum")));
        };
        Ok([out, Desc::plain([g.n, parts, SUMS, g.k], DType::F32)])
    }

    fn cost(&self, all: &[Desc]) -> Cost {
        self.0.cost(all)
    }

    fn forward(&self, cx: Cx<'_>, all: &[&Tensor], outputs: &mut [Tensor; 2]) -> Result<()> {
        let g = Geometry::new(&self.0, all[0].desc(), all[1].desc())?;
        let [out, sums] = outputs;
        match cx.device {
            #[cfg(feature = "cuda")]
            Device::Cuda(cuda) => {
                cuda::forward(&self.0, &g, cx, cuda, all, out)?;
                cuda::sums(&g, cuda, out, sums)
            }
            Device::Cpu(cpu) => cpu::forward(&self.0, &g, cx, cpu, all, out, Some(sums)),
        }
    }

    /// Through the output alone: what takes the sums takes the output too, and sends its gradient there.
    fn backward(&self, e: &Eager<'_>, pass: &Backward<'_, 2>) -> Result<Gradients> {
        let [grad, _] = pass.grads;
        let grads = [grad.clone()];
        let pass = Backward { inputs: pass.inputs, grads: &grads, wanted: pass.wanted, sums: pass.sums };
        self.0.backward(e, &pass)
    }
}
