use super::backward::ApplyBackward;
use super::{Apply, Coefficients};
use crate::backend::cuda::{Arg, Cuda, Launch};
use crate::error::Result;
use crate::exec::Cx;
use crate::ops::check::dims;
use crate::ops::launch::{Tile, int};
use crate::tensor::{DType, Desc, Tensor};

/// Positions of a part whose sums are of f32: as on the processor.
const PART: usize = 256;
/// Threads of the kernels that have a group, or some numbers, a block.
const GROUP: u32 = 128;

/// The name of a kernel for x's type.
fn kernel(cx: Cx<'_>, x: &Tensor, [f32, bf16]: [&'static str; 2]) -> Result<&'static str> {
    match x.dtype() {
        DType::F32 => Ok(f32),
        DType::BF16 => Ok(bf16),
        _ => Err(cx.unsupported("group_norm", x.desc())),
    }
}

/// A block a group of each of n pictures.
fn groups(groups: usize, n: usize) -> Launch {
    Launch::blocks(groups, GROUP).rows(n)
}

pub(super) fn coefficients(
    op: &Coefficients,
    cx: Cx<'_>,
    cuda: &Cuda,
    all: &[&Tensor],
    out: &mut Tensor,
) -> Result<()> {
    let [n, h, w, c] = dims("x", all[0].desc())?;
    let mut found;
    let sums = match all.get(3) {
        Some(gathered) => *gathered,
        None => {
            let parts = (h * w).div_ceil(PART);
            found = cx.workspace.tensor(Desc::plain([n, parts, 4, c], DType::F32))?;
            let name = kernel(cx, all[0], ["fqgan_group_norm_sums_f32", "fqgan_group_norm_sums_bf16"])?;
            let args = [Arg::read(all[0])?, Arg::write(&mut found)?, int(h * w)?, int(PART)?, int(c)?];
            let tile = Tile::new(c, all[0].dtype().size());
            cuda.launch(name, tile.launch(h * w, PART, n), &args)?;
            &found
        }
    };
    let [sums_arg, weight, bias] = [Arg::read(sums)?, Arg::read(all[1])?, Arg::read(all[2])?];
    let parts = int(sums.shape()[1])?;
    let args = [sums_arg, weight, bias, Arg::write(out)?, parts, int(c)?, op.eps.into()];
    cuda.launch("fqgan_group_norm_coefficients_f32", groups(op.groups, n), &args)
}

pub(super) fn apply(op: &Apply, cx: Cx<'_>, cuda: &Cuda, all: &[&Tensor], out: &mut Tensor) -> Result<()> {
    let [n, h, w, c] = dims("x", all[0].desc())?;
    let name = kernel(cx, all[0], ["fqgan_group_norm_apply_f32", "fqgan_group_norm_apply_bf16"])?;
    let tile = Tile::new(c, all[0].dtype().size());
    let (x, coefficients) = (Arg::read(all[0])?, Arg::read(all[1])?);
    let added = all.get(2).map_or(Ok(Arg::NONE), |t| Arg::read(t))?;
    let silu = i32::from(op.silu).into();
    let args = [x, coefficients, added, Arg::write(out)?, int(h * w)?, int(tile.rows())?, int(c)?, silu];
    cuda.launch(name, tile.launch(h * w, tile.rows(), n), &args)
}

pub(super) fn apply_backward(
    op: &ApplyBackward,
    cx: Cx<'_>,
    cuda: &Cuda,
    all: &[&Tensor],
    outputs: &mut [Tensor; 2],
) -> Result<()> {
    let [n, h, w, c] = dims("x", all[0].desc())?;
    let [dx, sums] = outputs;
    let parts = (h * w).div_ceil(PART);
    let mut part = cx.workspace.tensor(Desc::plain([n, parts, 2, c], DType::F32))?;
    let args = [
        Arg::read(all[0])?,
        Arg::read(all[1])?,
        Arg::read(all[2])?,
        all.get(3).map_or(Ok(Arg::NONE), |t| Arg::read(t))?,
        Arg::write(dx)?,
        Arg::write(&mut part)?,
        int(h * w)?,
        int(PART)?,
        int(c)?,
        i32::from(op.silu).into(),
    ];
    let tile = Tile::new(c, all[0].dtype().size());
    let names = ["fqgan_group_norm_apply_backward_f32", "fqgan_group_norm_apply_backward_bf16"];
    cuda.launch(kernel(cx, all[0], names)?, tile.launch(h * w, PART, n), &args)?;
    let args = [Arg::read(&part)?, Arg::write(sums)?, int(parts)?, int(2 * c)?];
    cuda.launch("fqgan_group_norm_parts_f32", Launch::over(2 * c, GROUP).rows(n), &args)
}

/// The rest of x's gradient as an affine function of x, and the gradients of weight and bias.
pub(super) fn coefficients_backward(
    (of_image, positions): (usize, usize),
    cx: Cx<'_>,
    cuda: &Cuda,
    all: &[&Tensor],
    outputs: &mut [Tensor; 3],
) -> Result<()> {
    let [n, _, c] = dims("coefficients", all[0].desc())?;
    let [affine, d_weight, d_bias] = outputs;
    let room = || cx.workspace.tensor(Desc::plain([n, c], DType::F32));
    let (mut of_weight, mut of_bias) = (room()?, room()?);
    let args = [
        Arg::read(all[0])?,
        Arg::read(all[1])?,
        Arg::read(all[2])?,
        Arg::write(affine)?,
        Arg::write(&mut of_weight)?,
        Arg::write(&mut of_bias)?,
        int(positions)?,
        int(c)?,
    ];
    cuda.launch("fqgan_group_norm_coefficients_backward_f32", groups(of_image, n), &args)?;
    crate::ops::sum_rows::columns(cx, cuda, &of_weight, [n, c], d_weight)?;
    crate::ops::sum_rows::columns(cx, cuda, &of_bias, [n, c], d_bias)
}
