//! cuBLAS multiplies; what follows is a kernel of ours, in place. For few rows one kernel of ours does all.

use super::pack::{LATE, PANELS};
use super::{Activation, Linear, SwiGlu};
use crate::backend::cuda::{After, Arg, Cuda, Launch, Product, Side};
use crate::error::{Error, Result};
use crate::exec::Cx;
use crate::ops::gate::forward as gate_forward;
use crate::ops::launch::{int, typed};
use crate::tensor::{DType, Desc, Layout, Tensor};

/// `MAP_THREADS` of `cuda/elementwise.cuh`, and elements that a thread takes at a time.
const THREADS: u32 = 256;
const TOGETHER: usize = 4;

fn number(activation: Activation) -> i32 {
    match activation {
        Activation::None => 0,
        Activation::Relu => 1,
        Activation::Silu => 2,
        Activation::Gelu => 3,
        Activation::QuickGelu => 4,
    }
}

pub(super) fn linear(op: &Linear, cx: Cx<'_>, cuda: &Cuda, all: &[&Tensor], out: &mut Tensor) -> Result<()> {
    let ([x, weight], mut rest) = (*all.first_chunk().ok_or_else(lost)?, &all[2..]);
    let mut next = |there: bool| if there { rest.split_off_first().copied() } else { None };
    let scale = next(weight.dtype() == DType::I8);
    let (bias, residual) = (next(op.bias), next(op.residual));
    let operands = match weight.desc().layout {
        Layout::Plain => op.panels.map_or(DType::F32, |pack| pack.operands),
        _ => weight.dtype(),
    };
    if let Some(kernel) = few_narrow([Some(x), Some(weight), residual, Some(out)], rows(out)) {
        let layer = Few { x, weight, up: None, scales: [None; 2], bias, residual };
        return layer.launch(cuda, kernel, op.activation, out);
    }
    let wide = |t: Option<&Tensor>| t.map(|t| cuda.convert(cx.workspace, t, DType::F32)).transpose();
    if operands == DType::F32
        && let Some(kernel) = few(weight.dtype(), rows(out))
    {
        let (x, residual) = (&cuda.convert(cx.workspace, x, DType::F32)?, wide(residual)?);
        let residual = residual.as_ref();
        let layer = Few { x, weight, up: None, scales: [scale, None], bias, residual };
        return rounded(cx, cuda, out, |out| layer.launch(cuda, kernel, op.activation, out));
    }
    // What tensor cores multiply of two values of bf16 is exact.
    let exact = x.dtype() == DType::BF16 && weight.dtype() == DType::BF16;
    let operands = if exact { DType::BF16 } else { operands };
    if op.narrow {
        return narrow(op, cx, cuda, ([x, weight], operands), [scale, bias, residual], out);
    }
    let residual = wide(residual)?;
    let residual = residual.as_ref();
    // What cuBLASLt adds in the same pass.
    let follows = scale.is_none() && op.activation == Activation::None;
    let after = if follows { After { bias, residual } } else { After::default() };
    if product(cx, cuda, x, weight, operands, after, out)? && follows {
        return Ok(());
    }
    let (count, n) = (out.shape().count(), weight.shape()[0]);
    let optional = |t: Option<&Tensor>| t.map_or(Ok(Arg::NONE), Arg::read);
    let to = Arg::write(out)?;
    let args = [
        to,
        optional(scale)?,
        optional(bias)?,
        optional(residual)?,
        to,
        count.into(),
        (n as u32).into(),
        number(op.activation).into(),
    ];
    cuda.launch("fqgan_linear_after_f32", Launch::over(count, THREADS), &args)
}

/// What writes f32, rounded where the output is bf16.
fn rounded(
    cx: Cx<'_>,
    cuda: &Cuda,
    out: &mut Tensor,
    run: impl FnOnce(&mut Tensor) -> Result<()>,
) -> Result<()> {
    if out.dtype() == DType::F32 {
        return run(out);
    }
    let mut wide = cx.workspace.tensor(Desc { dtype: DType::F32, ..*out.desc() })?;
    run(&mut wide)?;
    cuda.convert_into(&wide, out)
}

/// A layer to an output of bf16. What cuBLASLt adds is of that type too; where a kernel follows, it reads the product
/// rounded, as it is written.
fn narrow(
    op: &Linear,
    cx: Cx<'_>,
    cuda: &Cuda,
    ([x, weight], operands): ([&Tensor; 2], DType),
    [scale, bias, residual]: [Option<&Tensor>; 3],
    out: &mut Tensor,
) -> Result<()> {
    let round = |t: Option<&Tensor>| t.map(|t| cuda.convert(cx.workspace, t, DType::BF16)).transpose();
    let residual = round(residual)?;
    let residual = residual.as_ref();
    if operands == DType::BF16 {
        let follows = scale.is_none() && op.activation == Activation::None;
        let added = round(bias.filter(|_| follows))?;
        let after = if follows { After { bias: added.as_ref(), residual } } else { After::default() };
        if product(cx, cuda, x, weight, operands, after, out)? && follows {
            return Ok(());
        }
    } else {
        let mut wide = cx.workspace.tensor(Desc { dtype: DType::F32, ..*out.desc() })?;
        product(cx, cuda, x, weight, operands, After::default(), &mut wide)?;
        cuda.convert_into(&wide, out)?;
    }
    let optional = |t: Option<&Tensor>| t.map_or(Ok(Arg::NONE), Arg::read);
    let (count, n, to) = (out.shape().count(), weight.shape()[0], Arg::write(out)?);
    let [scale, bias, residual] = [optional(scale)?, optional(bias)?, optional(residual)?];
    let args = [to, scale, bias, residual, to, count.into(), (n as u32).into(), number(op.activation).into()];
    cuda.launch("fqgan_linear_after_bf16", Launch::over(count, THREADS), &args)
}

/// x W^T, with operands of that type, and what follows it: false where that has yet to be done. A plain weight of a narrow
/// type is what it is in f32.
fn product(
    cx: Cx<'_>,
    cuda: &Cuda,
    x: &Tensor,
    weight: &Tensor,
    operands: DType,
    after: After<'_>,
    out: &mut Tensor,
) -> Result<bool> {
    let (n, k) = (weight.shape()[0], weight.shape()[1]);
    let weight = plain(weight)?;
    let (x, weight) =
        (cuda.convert(cx.workspace, x, operands)?, cuda.convert(cx.workspace, &weight, operands)?);
    let (a, b) = (Side { tensor: &x, turned: false }, Side { tensor: &weight, turned: true });
    let product = Product { extents: [rows(out), n, k], a, b };
    let nothing = after.bias.is_none() && after.residual.is_none();
    if !nothing && cuda.multiply_and(product, after, out)? {
        return Ok(true);
    }
    cuda.multiply(product, out)?;
    Ok(nothing)
}

/// A weight as its rows stand: on a GPU, packed ones do too.
fn plain(weight: &Tensor) -> Result<Tensor> {
    Tensor::new(Desc::plain(*weight.shape(), weight.dtype()), weight.storage().clone())
}

/// Rows of a layer's outputs.
fn rows(out: &Tensor) -> usize {
    out.shape().split_last().map_or(0, |(_, leading)| leading.iter().product())
}

/// The kernel for so few rows that the weight is best read once, as it is; and the outputs that a warp of it has.
fn few(weight: DType, rows: usize) -> Option<(&'static str, usize)> {
    let kernels = match weight {
        DType::F32 => ["fqgan_linear_few2_f32", "fqgan_linear_few8_f32", "fqgan_linear_few16_f32"],
        DType::BF16 => ["fqgan_linear_few2_bf16", "fqgan_linear_few8_bf16", "fqgan_linear_few16_bf16"],
        DType::F16 => ["fqgan_linear_few2_f16", "fqgan_linear_few8_f16", "fqgan_linear_few16_f16"],
        DType::I8 => ["fqgan_linear_few2_i8", "fqgan_linear_few8_i8", "fqgan_linear_few16_i8"],
        _ => return None,
    };
    match rows {
        0..=2 => Some((kernels[0], 2)),
        3..=8 => Some((kernels[1], 4)),
        9..=16 => Some((kernels[2], 4)),
        _ => None,
    }
}

/// The same where all of these that are there are values of bf16, plain ones.
fn few_narrow(all: [Option<&Tensor>; 4], rows: usize) -> Option<(&'static str, usize)> {
    let of = |t: &Tensor| t.dtype() == DType::BF16 && t.desc().layout == Layout::Plain;
    match rows {
        _ if !all.into_iter().flatten().all(of) => None,
        0..=2 => Some(("fqgan_linear_few2_bf16_bf16", 2)),
        3..=8 => Some(("fqgan_linear_few8_bf16_bf16", 4)),
        9..=16 => Some(("fqgan_linear_few16_bf16_bf16", 4)),
        _ => None,
    }
}

/// Warps of a block of `few` of `cuda/linear.cu`.
const FEW_WARPS: usize = 4;

/// A layer for few rows. A second weight is that of the other half of a gated one.
struct Few<'a> {
    x: &'a Tensor,
    weight: &'a Tensor,
    up: Option<&'a Tensor>,
    scales: [Option<&'a Tensor>; 2],
    bias: Option<&'a Tensor>,
    residual: Option<&'a Tensor>,
}

impl Few<'_> {
    fn launch(
        self,
        cuda: &Cuda,
        (kernel, outputs): (&str, usize),
        activation: Activation,
        out: &mut Tensor,
    ) -> Result<()> {
        let optional = |t: Option<&Tensor>| t.map_or(Ok(Arg::NONE), Arg::read);
        let [scale, scale_up] = self.scales;
        let of_warp = if self.up.is_some() { outputs / 2 } else { outputs };
        let (n, k) = (self.weight.shape()[0], self.weight.shape()[1]);
        let args = [
            Arg::read(self.x)?,
            Arg::read(self.weight)?,
            optional(self.up)?,
            optional(scale)?,
            optional(scale_up)?,
            optional(self.bias)?,
            optional(self.residual)?,
            number(activation).into(),
            Arg::write(out)?,
            int(rows(out))?,
            int(n)?,
            int(k)?,
        ];
        let blocks = if rows(out) == 0 { 0 } else { n.div_ceil(of_warp * FEW_WARPS) };
        cuda.launch(kernel, Launch::blocks(blocks, FEW_WARPS as u32 * 32), &args)
    }
}

/// SiLU(x gate^T) * (x up^T).
pub(super) fn swiglu(op: &SwiGlu, cx: Cx<'_>, cuda: &Cuda, all: &[&Tensor], out: &mut Tensor) -> Result<()> {
    let [x, gate, up] = *all.first_chunk().ok_or_else(lost)?;
    if let Some(kernel) = few_narrow([Some(x), Some(gate), Some(up), Some(out)], rows(out)) {
        let layer = Few { x, weight: gate, up: Some(up), scales: [None; 2], bias: None, residual: None };
        return layer.launch(cuda, kernel, Activation::None, out);
    }
    if let Some(kernel) = few(gate.dtype(), rows(out)) {
        let scales = [3, 4].map(|i| all.get(i).copied());
        let x = &cuda.convert(cx.workspace, x, DType::F32)?;
        let layer = Few { x, weight: gate, up: Some(up), scales, bias: None, residual: None };
        return rounded(cx, cuda, out, |out| layer.launch(cuda, kernel, Activation::None, out));
    }
    let each = |weight: &Tensor, i: usize, out: &mut Tensor| {
        let op = Linear { narrow: op.narrow, ..Linear::default() };
        match all.get(3 + i) {
            Some(scale) => linear(&op, cx, cuda, &[x, weight, scale], out),
            None => linear(&op, cx, cuda, &[x, weight], out),
        }
    };
    let mut opened = cx.workspace.tensor(*out.desc())?;
    let mut lifted = cx.workspace.tensor(*out.desc())?;
    each(gate, 0, &mut opened)?;
    each(up, 1, &mut lifted)?;
    gate_forward(cuda, &[&opened, &lifted], out)
}

/// dz = dy * activation'(z).
pub(super) fn slope(activation: Activation, cuda: &Cuda, all: &[&Tensor], out: &mut Tensor) -> Result<()> {
    let count = out.shape().count();
    let args =
        [Arg::read(all[0])?, Arg::read(all[1])?, Arg::write(out)?, count.into(), number(activation).into()];
    let kernel = typed(out.dtype(), ["fqgan_linear_slope_f32", "fqgan_linear_slope_bf16"]);
    cuda.launch(kernel, Launch::over(count.div_ceil(TOGETHER), THREADS), &args)
}

/// The weight as it is multiplied here, kept in the GPU's memory: its own rows, of the operands' type.
pub(super) fn pack(cuda: &Cuda, weight: &Tensor, extents: [usize; 2], operands: DType) -> Result<Tensor> {
    let layout = if operands == DType::BF16 { PANELS } else { LATE };
    let operands = if operands == DType::BF16 { DType::BF16 } else { DType::F32 };
    let kept = cuda.upload(&weight.reshape(extents)?, cuda.memory())?;
    let ready = cuda.convert(cuda.memory(), &kept, operands)?;
    Tensor::new(Desc { layout, ..Desc::plain(extents, operands) }, ready.storage().clone())
}

fn lost() -> Error {
    Error::internal("an input was lost")
}
