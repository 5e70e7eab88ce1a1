//! cuDNN convolves; what stands around it are kernels of ours. Filters are channels-last there: a weight that was
//! packed for a GPU has that order, and its layout is [`Variant::Direct`]'s.

use super::filter::FilterGradient;
use super::{Conv2d, Geometry, SUMS, Variant};
use crate::backend::Device;
use crate::backend::cuda::{Arg, Convolution, Cuda, Launch};
use crate::error::{Error, Result};
use crate::exec::{Cost, Cx, Eager, Op};
use crate::ops::check::dims;
use crate::ops::group_norm::Apply;
use crate::ops::launch::{Tile, int};
use crate::ops::upsample::Upsample;
use crate::tensor::{Allocate, DType, Desc, Layout, Tensor};

/// `THREADS` of `cuda/conv2d.cu` and `MAP_THREADS` of `cuda/elementwise.cuh`.
const THREADS: u32 = 256;
/// Positions of a part of the sums: as on the processor.
const PART: usize = 256;
/// Channels from which on products of 16 bits are worth their conversion.
const NARROW: usize = 16;

/// The weight in the order that cuDNN reads, kept in the GPU's memory.
pub(super) fn pack(cuda: &Cuda, weight: &Tensor, operands: DType) -> Result<Tensor> {
    let [_, c, ..] = dims::<4>("weight", weight.desc())?;
    let memory = cuda.memory();
    let kept = cuda.upload(weight, memory)?;
    turned(cuda, memory, &cuda.convert(memory, &kept, factors(operands, c))?)
}

/// The type that is multiplied in, of c channels.
fn factors(operands: DType, c: usize) -> DType {
    match operands {
        DType::BF16 if c >= NARROW && c.is_multiple_of(2) => DType::BF16,
        _ => DType::F32,
    }
}

/// A weight (k, c, r, s) in the order (k, r, s, c).
fn turned(cuda: &Cuda, memory: &impl Allocate, weight: &Tensor) -> Result<Tensor> {
    let [_, c, r, s] = dims("weight", weight.desc())?;
    let desc = Desc { layout: Layout::Packed(Variant::Direct as u16), ..*weight.desc() };
    let mut to = Tensor::new(desc, memory.allocate(weight.desc().bytes().unwrap_or(usize::MAX))?)?;
    turn(cuda, weight, &mut to, [c, r * s])?;
    Ok(to)
}

/// Each matrix of rows x columns turned.
fn turn(cuda: &Cuda, from: &Tensor, to: &mut Tensor, [rows, columns]: [usize; 2]) -> Result<()> {
    let kernel = match from.dtype() {
        DType::BF16 => "fqgan_conv2d_turn_bf16",
        _ => "fqgan_conv2d_turn_f32",
    };
    let count = from.shape().count();
    let args = [Arg::read(from)?, Arg::write(to)?, count.into(), int(rows)?, int(columns)?];
    cuda.launch(kernel, Launch::over(count, THREADS), &args)
}

/// How much of a picture is convolved: with as many zeros on both sides, or with what a frame of its own adds.
struct Frame {
    /// Rows, columns, and the zeros before them; `None` where cuDNN adds the zeros itself.
    own: Option<[usize; 4]>,
    convolution: Convolution,
}

impl Frame {
    fn new(g: &Geometry, dtype: DType) -> Frame {
        let (h, w) = (g.h << g.up, g.w << g.up);
        // What the last window reaches, counted from the first row of the padded picture.
        let reach = |out: usize, kernel: usize| (out - 1) * g.stride + kernel;
        let same = |size: usize, before: usize, out: usize, kernel: usize| {
            (size + 2 * before).checked_sub(kernel).is_some_and(|room| room / g.stride + 1 == out)
        };
        let plain = same(h, g.top, g.oh, g.r) && same(w, g.left, g.ow, g.s);
        let (rows, columns) = (reach(g.oh, g.r), reach(g.ow, g.s));
        let (x, padding) = match plain {
            true => ([g.n, h, w, g.c], [g.top, g.left]),
            false => ([g.n, rows, columns, g.c], [0, 0]),
        };
        let (filter, out) = ([g.k, g.r, g.s], [g.oh, g.ow]);
        let convolution = Convolution { x, filter, out, stride: g.stride, padding, dtype };
        Frame { own: (!plain).then_some([rows, columns, g.top, g.left]), convolution }
    }

    /// The picture with its frame.
    fn around(&self, cx: Cx<'_>, cuda: &Cuda, x: &Tensor) -> Result<Tensor> {
        let Some([rows, columns, top, left]) = self.own else { return Ok(x.clone()) };
        let [n, _, _, c] = dims("x", x.desc())?;
        let mut framed = cx.workspace.tensor(Desc::plain([n, rows, columns, c], x.dtype()))?;
        let (top, left) = (i32::try_from(top).unwrap_or(i32::MAX), i32::try_from(left).unwrap_or(i32::MAX));
        frame(cuda, x, &mut framed, [top, left])?;
        Ok(framed)
    }
}

/// Pixel (y, x) of `to` is pixel (y - top, x - left) of `from`, or zero.
fn frame(cuda: &Cuda, from: &Tensor, to: &mut Tensor, [top, left]: [i32; 2]) -> Result<()> {
    let ([_, h, w, c], [n, rows, columns, _]) = (dims("x", from.desc())?, dims("frame", to.desc())?);
    let kernel = match from.dtype() {
        DType::BF16 => "fqgan_concat_frame_bf16",
        _ => "fqgan_concat_frame_f32",
    };
    let (pixels, tile) = (n * rows * columns, Tile::new(c, from.dtype().size()));
    let sizes = [int(h)?, int(w)?, int(rows)?, int(columns)?, int(c)?, top.into(), left.into()];
    let args = [&[Arg::read(from)?, Arg::write(to)?, pixels.into(), int(tile.rows())?], &sizes[..]].concat();
    cuda.launch(kernel, tile.launch(pixels, tile.rows(), 1), &args)
}

pub(super) fn forward(
    op: &Conv2d,
    g: &Geometry,
    cx: Cx<'_>,
    cuda: &Cuda,
    all: &[&Tensor],
    out: &mut Tensor,
) -> Result<()> {
    let ([x, weight, bias], rest) = (*all.first_chunk().ok_or_else(lost)?, &all[3..]);
    let e = Eager::new(cx.device, cx.workspace);
    let mut u = x.clone();
    if let Some(norm) = op.norm {
        [u] = e.run(&Apply { silu: norm.silu }, &[&u, rest.first().ok_or_else(lost)?])?;
    }
    if op.upsample {
        [u] = e.run(&Upsample, &[&u])?;
    }
    let own;
    let weight = match weight.desc().layout {
        Layout::Plain => {
            let memory = cx.workspace;
            own = turned(cuda, memory, &cuda.convert(memory, weight, factors(op.operands, g.c))?)?;
            &own
        }
        Layout::Packed(_) => weight,
    };
    let (factor, kept) = (weight.dtype(), out.dtype());
    let frame = Frame::new(g, factor);
    let u = frame.around(cx, cuda, &cuda.convert(cx.workspace, &u, factor)?)?;
    let of = |dtype| match rest.last().filter(|_| op.residual) {
        Some(residual) => cuda.convert(cx.workspace, residual, dtype).map(Some),
        None => Ok(None),
    };
    if factor == kept {
        let (own, residual) = (cuda.convert(cx.workspace, bias, kept)?, of(kept)?);
        let added = [Some(&own), residual.as_ref()];
        return match cuda.convolve(cx.workspace, &frame.convolution, [&u, weight], added, out)? {
            true => Ok(()),
            false => after(cuda, bias, residual.as_ref(), None, out),
        };
    }
    // Products of one type, of which values of the other are made.
    let mut y = cx.workspace.tensor(Desc { dtype: factor, ..*out.desc() })?;
    cuda.convolve(cx.workspace, &frame.convolution, [&u, weight], [None; 2], &mut y)?;
    let y = cuda.convert(cx.workspace, &y, kept)?;
    after(cuda, bias, of(kept)?.as_ref(), Some(&y), out)
}

/// out = y + bias + residual; y is `out` itself where it is not given.
fn after(
    cuda: &Cuda,
    bias: &Tensor,
    residual: Option<&Tensor>,
    y: Option<&Tensor>,
    out: &mut Tensor,
) -> Result<()> {
    let (count, k) = (out.shape().count(), bias.shape().count());
    let kernel = match out.dtype() {
        DType::BF16 => "fqgan_linear_after_bf16",
        _ => "fqgan_linear_after_f32",
    };
    let to = Arg::write(out)?;
    let y = y.map_or(Ok(to), Arg::read)?;
    let residual = residual.map_or(Ok(Arg::NONE), Arg::read)?;
    let args = [y, Arg::NONE, Arg::read(bias)?, residual, to, count.into(), int(k)?, 0i32.into()];
    cuda.launch(kernel, Launch::over(count, THREADS), &args)
}

/// The sums of an output for a GroupNorm, see [`super::WithSums`].
pub(super) fn sums(g: &Geometry, cuda: &Cuda, out: &Tensor, sums: &mut Tensor) -> Result<()> {
    let positions = g.oh * g.ow;
    if sums.shape()[..] != [g.n, positions.div_ceil(PART), SUMS, g.k] {
        return Err(Error::internal(format!("sums {} of a convolution on a GPU", sums.desc())));
    }
    let args = [Arg::read(out)?, Arg::write(sums)?, int(positions)?, int(PART)?, int(g.k)?];
    let tile = Tile::new(g.k, out.dtype().size());
    let kernel = match out.dtype() {
        DType::BF16 => "fqgan_group_norm_sums_bf16",
        _ => "fqgan_group_norm_sums_f32",
    };
    cuda.launch(kernel, tile.launch(positions, PART, g.n), &args)
}

/// The gradient of what is convolved, after up-sampling.
///
/// Inputs: the weight (k, c, r, s) and the output's gradient, f32 or bf16. Output: (n, h, w, c).
#[derive(Clone, Copy, Debug)]
pub(super) struct DataGradient {
    pub geometry: Geometry,
    /// Of the products.
    pub operands: DType,
    /// Whether the output is bf16.
    pub narrow: bool,
}

impl Op for DataGradient {
    const NAME: &'static str = "conv2d";

    fn outputs(&self, _: &[Desc]) -> Result<[Desc; 1]> {
        let Geometry { n, h, w, c, up, .. } = self.geometry;
        let dtype = if self.narrow { DType::BF16 } else { DType::F32 };
        Ok([Desc::plain([n, h << up, w << up, c], dtype)])
    }

    fn cost(&self, all: &[Desc]) -> Cost {
        let Geometry { c, r, s, .. } = self.geometry;
        let (taps, outputs) = ((c * r * s) as f64, all[1].shape.count() as f64);
        Cost { flops: 2.0 * outputs * taps, bytes: 4.0 * (outputs + all[0].shape.count() as f64) }
    }

    fn forward(&self, cx: Cx<'_>, all: &[&Tensor], outputs: &mut [Tensor; 1]) -> Result<()> {
        let (Device::Cuda(cuda), [weight, dy], [dx]) = (cx.device, all, outputs) else {
            return Err(cx.unsupported(Self::NAME, all[0].desc()));
        };
        let factor = factors(self.operands, self.geometry.c);
        let frame = Frame::new(&self.geometry, factor);
        let convert = |t| cuda.convert(cx.workspace, t, factor);
        let (weight, dy) = (turned(cuda, cx.workspace, &convert(weight)?)?, convert(dy)?);
        if frame.own.is_none() && factor == dx.dtype() {
            return cuda.data_gradient(cx.workspace, &frame.convolution, [&weight, &dy], dx);
        }
        let mut framed = cx.workspace.tensor(Desc::plain(frame.convolution.x, factor))?;
        cuda.data_gradient(cx.workspace, &frame.convolution, [&weight, &dy], &mut framed)?;
        let Some([_, _, top, left]) = frame.own else { return cuda.convert_into(&framed, dx) };
        let framed = cuda.convert(cx.workspace, &framed, dx.dtype())?;
        let back = |before: usize| i32::try_from(before).map_or(i32::MIN, |before| -before);
        self::frame(cuda, &framed, dx, [back(top), back(left)])
    }
}

/// The gradient of the weight, (k, c, r, s).
pub(super) fn filter_gradient(
    op: &FilterGradient,
    cx: Cx<'_>,
    cuda: &Cuda,
    [u, dy]: [&Tensor; 2],
    out: &mut Tensor,
) -> Result<()> {
    let ([n, h, w, c], [_, oh, ow, k]) = (dims("x", u.desc())?, dims("gradient", dy.desc())?);
    let ([r, s], FilterGradient { stride, top, left, .. }) = (op.kernel, *op);
    let g = Geometry { n, h, w, c, k, r, s, oh, ow, stride, top, left, up: 0 };
    let factor = factors(op.operands, c);
    let frame = Frame::new(&g, factor);
    let convert = |t| cuda.convert(cx.workspace, t, factor);
    let (u, dy) = (frame.around(cx, cuda, &convert(u)?)?, convert(dy)?);
    let mut dw = cx.workspace.tensor(Desc::plain([k, r, s, c], factor))?;
    cuda.filter_gradient(cx.workspace, &frame.convolution, [&u, &dy], &mut dw)?;
    turn(cuda, &cuda.convert(cx.workspace, &dw, DType::F32)?, out, [r * s, c])
}

fn lost() -> Error {
    Error::internal("an input was lost")
}
