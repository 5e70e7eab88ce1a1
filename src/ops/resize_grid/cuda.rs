use super::ResizeGrid;
use crate::backend::cuda::{Arg, Cuda, Launch};
use crate::error::Result;
use crate::ops::launch::{Tile, int, typed};
use crate::tensor::Tensor;

pub(super) fn forward(op: &ResizeGrid, cuda: &Cuda, table: &Tensor, out: &mut Tensor) -> Result<()> {
    let ResizeGrid { from: [h, w], to: [rows, columns] } = *op;
    let (c, cells) = (table.shape()[1], rows * columns);
    // The kernel takes elements singly.
    let tile = Tile::new(c, 16);
    let args = [
        Arg::read(table)?,
        Arg::write(out)?,
        cells.into(),
        int(tile.rows())?,
        int(h)?,
        int(w)?,
        int(rows)?,
        int(columns)?,
        int(c)?,
    ];
    let launch = if c == 0 { Launch::blocks(0, 32) } else { tile.launch(cells, tile.rows(), 1) };
    let kernel = typed(table.dtype(), ["fqgan_resize_grid_f32", "fqgan_resize_grid_bf16"]);
    cuda.launch(kernel, launch, &args)
}
