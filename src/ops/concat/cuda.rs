use super::last;
use crate::backend::cuda::{Arg, Cuda};
use crate::error::Result;
use crate::ops::launch::{Tile, int, typed};
use crate::tensor::Tensor;

/// Some columns of a matrix: where the first is, and how far apart rows are.
#[derive(Clone, Copy)]
pub(in crate::ops) struct Range {
    pub first: usize,
    pub width: usize,
}

/// Copies `count` columns of `rows` rows. A source of width 0 is one row, repeated.
pub(in crate::ops) fn copy(
    cuda: &Cuda,
    (from, of): (&Tensor, Range),
    (to, at): (&mut Tensor, Range),
    [rows, count]: [usize; 2],
) -> Result<()> {
    let size = from.dtype().size();
    let together =
        [of.first, of.width, at.first, at.width, count].iter().all(|n| n.is_multiple_of(16 / size));
    // What the kernel copies singly it stands over as over rows of elements as wide as its reads.
    let tile = Tile::new(count, if together { size } else { 16 });
    let args = [
        Arg::read(from)?,
        of.first.into(),
        of.width.into(),
        Arg::write(to)?,
        at.first.into(),
        at.width.into(),
        rows.into(),
        int(tile.rows())?,
        int(count)?,
    ];
    // Of no columns there is nothing to do.
    if count == 0 {
        return Ok(());
    }
    let kernel = typed(from.dtype(), ["fqgan_concat_columns_f32", "fqgan_concat_columns_bf16"]);
    cuda.launch(kernel, tile.launch(rows, tile.rows(), 1), &args)
}

pub(super) fn concat(cuda: &Cuda, all: &[&Tensor], out: &mut Tensor) -> Result<()> {
    let width = last(out.desc());
    let rows = out.shape().count().checked_div(width).unwrap_or(0);
    let mut first = 0;
    for x in all {
        let d = last(x.desc());
        let whole = Range { first: 0, width: d };
        copy(cuda, (x, whole), (&mut *out, Range { first, width }), [rows, d])?;
        first += d;
    }
    Ok(())
}

pub(super) fn columns(op: super::Columns, cuda: &Cuda, x: &Tensor, out: &mut Tensor) -> Result<()> {
    let rows = out.shape().count().checked_div(op.count).unwrap_or(0);
    let from = Range { first: op.first, width: last(x.desc()) };
    copy(cuda, (x, from), (out, Range { first: 0, width: op.count }), [rows, op.count])
}
