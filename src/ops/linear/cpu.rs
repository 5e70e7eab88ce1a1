//! How the work is cut. A block is up to [`ROWS`] rows of x by [`COLUMNS`] outputs; its weights (256 KB at
//! k = 1024) stay in the second cache while the rows pass, and a row tile stays in the first.

mod block;
mod float;

use super::{Activation, Linear, SwiGlu};
use crate::backend::cpu::simd::Widen;
use crate::backend::cpu::{Cpu, Parts};
use crate::error::Result;
use crate::exec::Cx;
use crate::tensor::{DType, Tensor};
use block::{Block, COLUMNS, Products, ROWS};
use float::Float;
use half::{bf16, f16};

/// Blocks of rows that pass the same weights before the next: x of these stays in the third cache, and weights
/// larger than it are read from memory once for all of them.
const PASS: usize = 10;

pub(super) fn linear(op: &Linear, cx: Cx<'_>, cpu: &Cpu, all: &[&Tensor], out: &mut Tensor) -> Result<()> {
    let bias = if op.bias { Some(all[2].data::<f32>()?) } else { None };
    let residual = if op.residual { Some(all[all.len() - 1].data::<f32>()?) } else { None };
    let after = After { activation: op.activation, bias, residual };
    multiply(cx, cpu, all[0], all[1], None, after, out)
}

pub(super) fn swiglu(_: &SwiGlu, cx: Cx<'_>, cpu: &Cpu, all: &[&Tensor], out: &mut Tensor) -> Result<()> {
    multiply(cx, cpu, all[0], all[1], Some(all[2]), After::default(), out)
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
    weight: &Tensor,
    gated: Option<&Tensor>,
    after: After<'_>,
    out: &mut Tensor,
) -> Result<()> {
    match weight.dtype() {
        DType::F32 => floats::<f32>(cpu, x, weight, gated, after, out),
        DType::BF16 => floats::<bf16>(cpu, x, weight, gated, after, out),
        DType::F16 => floats::<f16>(cpu, x, weight, gated, after, out),
        _ => Err(cx.unsupported("linear", weight.desc())),
    }
}

fn floats<W: Widen>(
    cpu: &Cpu,
    x: &Tensor,
    weight: &Tensor,
    gated: Option<&Tensor>,
    after: After<'_>,
    out: &mut Tensor,
) -> Result<()> {
    let (n, k) = (weight.shape()[0], weight.shape()[1]);
    let x = x.data::<f32>()?;
    let products = Float { k, x, weight: weight.data::<W>()? };
    let gated = gated.map(|g| g.data::<W>()).transpose()?.map(|weight| Float { k, x, weight });
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
    let (row_blocks, column_blocks) = (rows.div_ceil(ROWS), n.div_ceil(COLUMNS));
    let out = Parts::new(out);
    cpu.pool.blocks(row_blocks * column_blocks, |_, index| {
        let (pass, rest) = (index / (PASS * column_blocks), index % (PASS * column_blocks));
        let abreast = PASS.min(row_blocks - pass * PASS);
        let row = (pass * PASS + rest % abreast) * ROWS;
        let column = rest / abreast * COLUMNS;
        let (rows, columns) = (ROWS.min(rows - row), COLUMNS.min(n - column));
        let part = |whole: &P| whole.part(row..row + rows, column..column + columns);
        cpu.isa.dispatch(Block {
            products: part(&products),
            gated: gated.as_ref().map(part),
            activation: after.activation,
            bias: after.bias.map(|b| &b[column..column + columns]),
            residual: after.residual,
            out: &out,
            n,
            first: row * n + column,
            rows,
            columns,
            few: row_blocks == 1,
        });
    });
}
