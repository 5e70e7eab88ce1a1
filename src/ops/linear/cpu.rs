//! How the work is cut. A block is up to [`ROWS`] rows of x by [`COLUMNS`] outputs; its weights (256 KB at
//! k = 1024) stay in the second cache while the rows pass, and a row tile stays in the first.

mod block;

use super::Linear;
use crate::backend::cpu::simd::Widen;
use crate::backend::cpu::{Cpu, Parts};
use crate::error::Result;
use crate::exec::Cx;
use crate::tensor::{DType, Tensor};
use block::{Block, COLUMNS};
use half::{bf16, f16};

/// Rows of x a block: a multiple of every level's row tile.
const ROWS: usize = 48;
/// Blocks of rows that pass the same weights before the next: x of these stays in the third cache, and weights
/// larger than it are read from memory once for all of them.
const PASS: usize = 10;

pub(super) fn forward(op: &Linear, cx: Cx<'_>, cpu: &Cpu, all: &[&Tensor], out: &mut Tensor) -> Result<()> {
    match all[1].dtype() {
        DType::F32 => forward_of::<f32>(op, cpu, all, out),
        DType::BF16 => forward_of::<bf16>(op, cpu, all, out),
        DType::F16 => forward_of::<f16>(op, cpu, all, out),
        _ => Err(cx.unsupported("linear", all[1].desc())),
    }
}

fn forward_of<W: Widen>(op: &Linear, cpu: &Cpu, all: &[&Tensor], out: &mut Tensor) -> Result<()> {
    let (n, k) = (all[1].shape()[0], all[1].shape()[1]);
    let (x, weight) = (all[0].data::<f32>()?, all[1].data::<W>()?);
    let bias = if op.bias { Some(all[2].data::<f32>()?) } else { None };
    let residual = if op.residual { Some(all[all.len() - 1].data::<f32>()?) } else { None };
    let out = out.data_mut::<f32>()?;
    if out.is_empty() {
        return Ok(());
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
        cpu.isa.dispatch(Block {
            activation: op.activation,
            k,
            x: &x[row * k..(row + rows) * k],
            weight: &weight[column * k..(column + columns) * k],
            bias: bias.map(|b| &b[column..column + columns]),
            residual,
            out: &out,
            n,
            first: row * n + column,
            rows,
            columns,
        });
    });
    Ok(())
}
