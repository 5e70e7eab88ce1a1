use crate::backend::cuda::{Arg, Cuda};
use crate::error::Result;
use crate::exec::Cx;
use crate::ops::launch::{Tile, int, typed};
use crate::tensor::{DType, Desc, Tensor};

/// Rows of a part at least, and parts at most: enough to fill a device, few enough for one block to add them up.
const ROWS: usize = 256;
const PARTS: usize = 512;
const KERNELS: [&str; 2] = ["fqgan_sum_rows_part_f32", "fqgan_sum_rows_part_bf16"];

pub(super) fn forward(cx: Cx<'_>, cuda: &Cuda, x: &Tensor, out: &mut Tensor) -> Result<()> {
    let c = out.shape().count();
    let rows = x.shape().count().checked_div(c).unwrap_or(0);
    columns(cx, cuda, x, [rows, c], out)
}

/// The sum of the rows of x (rows, c).
pub(in crate::ops) fn columns(
    cx: Cx<'_>,
    cuda: &Cuda,
    x: &Tensor,
    [rows, c]: [usize; 2],
    out: &mut Tensor,
) -> Result<()> {
    let each = ROWS.max(rows.div_ceil(PARTS));
    let parts = rows.div_ceil(each);
    let add = |from: &Tensor, to: &mut Tensor, rows: usize, each: usize| {
        let args = [Arg::read(from)?, Arg::write(to)?, rows.into(), each.into(), int(c)?];
        // Of no rows, one block writes zeros.
        let (kernel, tile) = (typed(from.dtype(), KERNELS), Tile::new(c, from.dtype().size()));
        cuda.launch(kernel, tile.launch(rows.max(1), each, 1), &args)
    };
    if parts <= 1 {
        return add(x, out, rows, each);
    }
    let mut part = cx.workspace.tensor(Desc::plain([parts, c], DType::F32))?;
    add(x, &mut part, rows, each)?;
    add(&part, out, parts, parts)
}
