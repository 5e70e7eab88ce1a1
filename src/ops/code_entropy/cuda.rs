use super::CodeEntropy;
use crate::backend::cuda::{Arg, Cuda, Launch};
use crate::error::{Error, Result};
use crate::exec::Cx;
use crate::ops::launch::{int, typed};
use crate::tensor::{DType, Desc, Tensor};

const THREADS: usize = 128;
/// Blocks that fill a device; the other side is split for the rest.
const BLOCKS: usize = 528;

/// The sizes of both sides, and the launches over them.
struct Sides {
    rows: usize,
    codes: usize,
    d: usize,
    /// Of the latents.
    dtype: DType,
    /// 2 / temperature.
    factor: f32,
    /// Parts that the codes are split into over rows, and latents over columns.
    row_splits: usize,
    column_splits: usize,
}

/// Splits of `other` where `mine` has a thread each.
fn splits(mine: usize, other: usize) -> usize {
    BLOCKS.div_ceil(mine.div_ceil(THREADS)).min(other.div_ceil(THREADS)).max(1)
}

fn over(count: usize, splits: usize) -> Launch {
    Launch::over(count, THREADS as u32).rows(splits)
}

impl Sides {
    fn new(op: &CodeEntropy, all: &[&Tensor]) -> Result<Sides> {
        let [codes, d] = [all[1].shape()[0], all[1].shape()[1]];
        if d > 32 {
            return Err(Error::unsupported(format!("code_entropy of {d} dimensions on a GPU")));
        }
        let rows = all[0].shape().count() / d;
        Ok(Sides {
            rows,
            codes,
            d,
            dtype: all[0].dtype(),
            factor: 2.0 / op.temperature,
            row_splits: splits(rows, codes),
            column_splits: splits(codes, rows),
        })
    }

    /// The sizes as kernels take them.
    fn sizes(&self) -> Result<[Arg; 4]> {
        Ok([int(self.rows)?, int(self.codes)?, int(self.d)?, self.factor.into()])
    }

    /// Of up to 8 dimensions and of up to 32, each for latents of f32 and of bf16.
    fn kernel(&self, [short, long]: [[&'static str; 2]; 2]) -> &'static str {
        typed(self.dtype, if self.d <= 8 { short } else { long })
    }
}

/// What both directions begin with.
struct Found {
    /// (rows, 4): `State` of `cuda/code_entropy.cuh`.
    states: Tensor,
    /// (codes): the slope of the part that all latents share.
    slopes: Tensor,
    /// Sums of f64: of the entropies, and of the shared part.
    entropy: Tensor,
    used: Tensor,
}

fn found(op: &CodeEntropy, sides: &Sides, cx: Cx<'_>, cuda: &Cuda, all: &[&Tensor]) -> Result<Found> {
    let room = |shape: &[usize], dtype| {
        let count = shape.iter().product::<usize>();
        cx.workspace.tensor(Desc::plain([count], dtype))
    };
    let (rows, codes) = (sides.rows, sides.codes);
    let [n_rows, n_codes, d, factor] = sides.sizes()?;
    let mut part = room(&[3, sides.row_splits, rows], DType::F32)?;
    let mut found = Found {
        states: room(&[rows, 4], DType::F32)?,
        slopes: room(&[codes], DType::F32)?,
        entropy: room(&[rows.div_ceil(THREADS)], DType::F64)?,
        used: room(&[codes.div_ceil(THREADS)], DType::F64)?,
    };
    let (z, codebook) = (Arg::read(all[0])?, Arg::read(all[1])?);
    let args = [z, codebook, Arg::write(&mut part)?, n_rows, n_codes, d, factor];
    let kernel = sides.kernel([
        ["fqgan_code_entropy_rows8_f32", "fqgan_code_entropy_rows8_bf16"],
        ["fqgan_code_entropy_rows32_f32", "fqgan_code_entropy_rows32_bf16"],
    ]);
    cuda.launch(kernel, over(rows, sides.row_splits), &args)?;
    let (states, entropy) = (Arg::write(&mut found.states)?, Arg::write(&mut found.entropy)?);
    let args = [Arg::read(&part)?, states, entropy, n_rows, int(sides.row_splits)?];
    cuda.launch("fqgan_code_entropy_finish_states_f32", over(rows, 1), &args)?;

    let mut part = room(&[sides.column_splits, codes], DType::F32)?;
    let args = [z, Arg::read(&found.states)?, codebook, Arg::write(&mut part)?, n_rows, n_codes, d, factor];
    let kernel = sides.kernel([
        ["fqgan_code_entropy_columns8_f32", "fqgan_code_entropy_columns8_bf16"],
        ["fqgan_code_entropy_columns32_f32", "fqgan_code_entropy_columns32_bf16"],
    ]);
    cuda.launch(kernel, over(codes, sides.column_splits), &args)?;
    let (slopes, used) = (Arg::write(&mut found.slopes)?, Arg::write(&mut found.used)?);
    let args = [Arg::read(&part)?, slopes, used, n_rows, n_codes, int(sides.column_splits)?, op.eps.into()];
    cuda.launch("fqgan_code_entropy_finish_slopes_f32", over(codes, 1), &args)?;
    Ok(found)
}

pub(super) fn forward(
    op: &CodeEntropy,
    cx: Cx<'_>,
    cuda: &Cuda,
    all: &[&Tensor],
    out: &mut Tensor,
) -> Result<()> {
    let sides = Sides::new(op, all)?;
    let found = found(op, &sides, cx, cuda, all)?;
    let args = [
        Arg::read(&found.entropy)?,
        int(found.entropy.shape().count())?,
        Arg::read(&found.used)?,
        int(found.used.shape().count())?,
        int(sides.rows)?,
        Arg::write(out)?,
    ];
    cuda.launch("fqgan_code_entropy_finish_loss_f32", Launch::blocks(1, THREADS as u32), &args)
}

pub(super) fn backward(
    op: &CodeEntropy,
    cx: Cx<'_>,
    cuda: &Cuda,
    all: &[&Tensor],
    outputs: &mut [Tensor; 2],
) -> Result<()> {
    let sides = Sides::new(op, all)?;
    let mut found = found(op, &sides, cx, cuda, all)?;
    let Sides { rows, codes, d, row_splits, column_splits, .. } = sides;
    let [n_rows, n_codes, n_d, factor] = sides.sizes()?;
    let (z, codebook, grad) = (Arg::read(all[0])?, Arg::read(all[1])?, Arg::read(all[2])?);
    let slopes = Arg::read(&found.slopes)?;
    let [dz, de] = outputs;

    let mut part = cx.workspace.tensor(Desc::plain([row_splits, 2 + 2 * d, rows], DType::F32))?;
    let to = Arg::write(&mut part)?;
    let args = [z, Arg::read(&found.states)?, codebook, slopes, to, n_rows, n_codes, n_d, factor];
    let kernel = sides.kernel([
        ["fqgan_code_entropy_rows_backward8_f32", "fqgan_code_entropy_rows_backward8_bf16"],
        ["fqgan_code_entropy_rows_backward32_f32", "fqgan_code_entropy_rows_backward32_bf16"],
    ]);
    cuda.launch(kernel, over(rows, row_splits), &args)?;
    // It changes the states, which the columns then want.
    let states = Arg::write(&mut found.states)?;
    let args = [Arg::read(&part)?, states, grad, Arg::write(dz)?, n_rows, n_d, int(row_splits)?, factor];
    let kernels = ["fqgan_code_entropy_finish_rows_f32", "fqgan_code_entropy_finish_rows_bf16"];
    cuda.launch(typed(dz.dtype(), kernels), over(rows, 1), &args)?;

    let mut part = cx.workspace.tensor(Desc::plain([column_splits, 1 + d, codes], DType::F32))?;
    let to = Arg::write(&mut part)?;
    let args = [z, states, codebook, slopes, to, n_rows, n_codes, n_d, factor];
    let kernel = sides.kernel([
        ["fqgan_code_entropy_columns_backward8_f32", "fqgan_code_entropy_columns_backward8_bf16"],
        ["fqgan_code_entropy_columns_backward32_f32", "fqgan_code_entropy_columns_backward32_bf16"],
    ]);
    cuda.launch(kernel, over(codes, column_splits), &args)?;
    let to = Arg::write(de)?;
    let args = [Arg::read(&part)?, codebook, grad, to, n_rows, n_codes, n_d, int(column_splits)?, factor];
    cuda.launch("fqgan_code_entropy_finish_columns_f32", over(codes, 1), &args)
}
