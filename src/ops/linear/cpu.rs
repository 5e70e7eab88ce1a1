//! How the work is cut. A block is up to [`ROWS`] rows of x by [`COLUMNS`] outputs; its weights (256 KB at
//! k = 1024) stay in the second cache while the rows pass, and a row tile stays in the first.

mod ahead;
mod block;
mod bytes;
mod float;
mod packed;

use super::pack::LATE;
use super::{Activation, Linear};
use crate::backend::cpu::simd::Widen;
use crate::backend::cpu::{Cpu, Parts};
use crate::error::{Error, Result};
use crate::exec::Cx;
use crate::tensor::{DType, Desc, Layout, Tensor};
use block::{Block, COLUMNS, Products, ROWS};
use bytes::{Bytes, Round, filled};
use float::Float;
use half::{bf16, f16};
pub(super) use packed::{operands, pack, packed_elements};

/// Blocks of rows that pass the same weights before the next: x of these stays in the third cache, and weights
/// larger than it are read from memory once for all of them.
const PASS: usize = 10;

pub(super) fn linear(op: &Linear, cx: Cx<'_>, cpu: &Cpu, all: &[&Tensor], out: &mut Tensor) -> Result<()> {
    let ([x, weight], mut rest) = (*all.first_chunk().ok_or_else(lost)?, &all[2..]);
    let mut next = |there: bool| if there { rest.split_off_first().copied() } else { None };
    let scale = next(weight.dtype() == DType::I8);
    let bias = next(op.bias).map(|b| b.data::<f32>()).transpose()?;
    let residual = next(op.residual).map(|r| r.data::<f32>()).transpose()?;
    let after = After { activation: op.activation, bias, residual };
    match weight.desc().layout {
        Layout::Plain => {}
        LATE => {
            let weight = Tensor::new(Desc::plain(*weight.shape(), weight.dtype()), weight.storage().clone())?;
            return packed::late(cx, cpu, DType::F32, x, &weight, after, out);
        }
        Layout::Packed(_) => return packed::linear(cx, cpu, x, weight, after, out),
    }
    if let Some(pack) = op.panels.filter(|_| weight.dtype() == DType::F32) {
        return packed::late(cx, cpu, pack.operands, x, weight, after, out);
    }
    multiply(cx, cpu, x, Matrix { weight, scale }, None, after, out)
}

pub(super) fn swiglu(cx: Cx<'_>, cpu: &Cpu, all: &[&Tensor], out: &mut Tensor) -> Result<()> {
    let [x, gate, up] = *all.first_chunk().ok_or_else(lost)?;
    let matrix = |weight, i: usize| Matrix { weight, scale: all.get(3 + i).copied() };
    multiply(cx, cpu, x, matrix(gate, 0), Some(matrix(up, 1)), After::default(), out)
}

fn lost() -> Error {
    Error::internal("an input was lost")
}

/// A weight, and the scales of its rows if it is in bytes.
#[derive(Clone, Copy)]
struct Matrix<'a> {
    weight: &'a Tensor,
    scale: Option<&'a Tensor>,
}

/// What follows the products.
#[derive(Clone, Copy, Default)]
struct After<'a> {
    activation: Activation,
    bias: Option<&'a [f32]>,
    residual: Option<&'a [f32]>,
}

fn multiply(
    cx: Cx<'_>,
    cpu: &Cpu,
    x: &Tensor,
    matrix: Matrix<'_>,
    gated: Option<Matrix<'_>>,
    after: After<'_>,
    out: &mut Tensor,
) -> Result<()> {
    match matrix.weight.dtype() {
        DType::F32 => floats::<f32>(cpu, x, matrix, gated, after, out),
        DType::BF16 => floats::<bf16>(cpu, x, matrix, gated, after, out),
        DType::F16 => floats::<f16>(cpu, x, matrix, gated, after, out),
        DType::I8 => bytes(cx, cpu, x, matrix, gated, after, out),
        _ => Err(cx.unsupported("linear", matrix.weight.desc())),
    }
}

fn floats<W: Widen>(
    cpu: &Cpu,
    x: &Tensor,
    matrix: Matrix<'_>,
    gated: Option<Matrix<'_>>,
    after: After<'_>,
    out: &mut Tensor,
) -> Result<()> {
    let (n, k) = (matrix.weight.shape()[0], matrix.weight.shape()[1]);
    let x = x.data::<f32>()?;
    let products = Float { k, x, weight: matrix.weight.data::<W>()? };
    let gated = match gated {
        Some(m) => Some(Float { k, x, weight: m.weight.data::<W>()? }),
        None => None,
    };
    blocks(cpu, n, products, gated, after, out.data_mut::<f32>()?);
    Ok(())
}

fn bytes(
    cx: Cx<'_>,
    cpu: &Cpu,
    x: &Tensor,
    matrix: Matrix<'_>,
    gated: Option<Matrix<'_>>,
    after: After<'_>,
    out: &mut Tensor,
) -> Result<()> {
    let (n, k) = (matrix.weight.shape()[0], matrix.weight.shape()[1]);
    let (rows, wide) = (out.shape().count().checked_div(n).unwrap_or(0), filled(k));
    let x = x.data::<f32>()?;
    // Rows of 16-bit integers, as tensors of their bytes: there is no such type of element.
    let mut rounded = cx.workspace.tensor(Desc::plain([rows, wide, 2], DType::I8))?;
    let mut units = cx.workspace.tensor(Desc::plain([rows], DType::F32))?;
    // SAFETY: the workspace's memory is aligned to 64 bytes, and every bit pattern is an i16.
    let (_, to, _) = unsafe { rounded.data_mut::<i8>()?.align_to_mut::<i16>() };
    let (to, unit) = (Parts::new(to), Parts::new(units.data_mut::<f32>()?));
    cpu.pool.blocks(rows.div_ceil(ROWS), |_, block| {
        for row in block * ROWS..rows.min((block + 1) * ROWS) {
            // SAFETY: one part a row.
            let (to, unit) = unsafe { (to.slice(row * wide..(row + 1) * wide), unit.slice(row..row + 1)) };
            unit[0] = cpu.isa.dispatch(Round { x: &x[row * k..(row + 1) * k], to });
        }
    });
    // SAFETY: as above.
    let (_, x, _) = unsafe { rounded.data::<i8>()?.align_to::<i16>() };
    let unit = units.data::<f32>()?;
    let products =
        Bytes { k, x, unit, weight: matrix.weight.data()?, scale: matrix.scale.ok_or_else(lost)?.data()? };
    let gated = match gated {
        Some(m) => {
            Some(Bytes { k, x, unit, weight: m.weight.data()?, scale: m.scale.ok_or_else(lost)?.data()? })
        }
        None => None,
    };
    blocks(cpu, n, products, gated, after, out.data_mut::<f32>()?);
    Ok(())
}

/// Runs all blocks of the products, times the gated ones if there are any.
fn blocks<P: Products>(
    cpu: &Cpu,
    n: usize,
    products: P,
    gated: Option<P>,
    after: After<'_>,
    out: &mut [f32],
) {
    if out.is_empty() {
        return;
    }
    let rows = out.len() / n;
    let row_blocks = rows.div_ceil(ROWS);
    let few = row_blocks == 1;
    // Of few rows smaller blocks, so that no thread waits long for the last.
    let width = if few { COLUMNS / 2 } else { COLUMNS };
    let column_blocks = n.div_ceil(width);
    let out = Parts::new(out);
    let part = |index: usize, fresh: bool| {
        let (pass, rest) = (index / (PASS * column_blocks), index % (PASS * column_blocks));
        let abreast = PASS.min(row_blocks - pass * PASS);
        let row = (pass * PASS + rest % abreast) * ROWS;
        let column = rest / abreast * width;
        let (rows, columns) = (ROWS.min(rows - row), width.min(n - column));
        let cut = |whole: &P| whole.part(row..row + rows, column..column + columns);
        cpu.isa.dispatch(Block {
            products: cut(&products),
            gated: gated.as_ref().map(cut),
            activation: after.activation,
            bias: after.bias.map(|b| &b[column..column + columns]),
            residual: after.residual,
            out: &out,
            n,
            first: row * n + column,
            rows,
            columns,
            few,
            fresh,
        });
    };
    // Few rows: reading the weights is what takes time.
    if few {
        cpu.pool.runs(column_blocks, |_, index, fresh| part(index, fresh));
    } else {
        cpu.pool.blocks(row_blocks * column_blocks, |_, index| part(index, false));
    }
}
