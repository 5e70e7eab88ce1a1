use crate::backend::cuda::{Arg, Cuda, Launch};
use crate::error::{Error, Result};
use crate::exec::Cx;
use crate::ops::launch::{THREADS, Tile, Wrong, int, typed};
use crate::tensor::{DType, Tensor};

pub(super) fn forward(cx: Cx<'_>, cuda: &Cuda, all: &[&Tensor], out: &mut Tensor) -> Result<()> {
    let (index, tables) = (all[0], &all[1..]);
    let kernels = match tables[0].dtype() {
        DType::F32 => ["fqgan_embedding_forward_f32", "fqgan_embedding_forward_f32_bf16"],
        DType::BF16 => ["fqgan_embedding_forward_bf16_f32", "fqgan_embedding_forward_bf16"],
        DType::F16 => ["fqgan_embedding_forward_f16_f32", "fqgan_embedding_forward_f16_bf16"],
        _ => return Err(cx.unsupported("embedding", tables[0].desc())),
    };
    let kernel = typed(out.dtype(), kernels);
    let entries = index.shape().count() / tables.len();
    let c = tables[0].shape()[1];
    let tile = Tile::new(c, 4);
    let mut wrong = Wrong::new(cx, cuda)?;
    for (which, table) in tables.iter().enumerate() {
        let args = [
            Arg::read(index)?,
            int(tables.len())?,
            int(which)?,
            Arg::read(table)?,
            int(table.shape()[0])?,
            Arg::write(out)?,
            entries.into(),
            int(tile.rows())?,
            int(c)?,
            wrong.arg()?,
        ];
        cuda.launch(kernel, tile.launch(entries, tile.rows(), 1), &args)?;
    }
    match wrong.first(cx, cuda)? {
        None => Ok(()),
        Some(at) => {
            let i = cx.download(index)?.data::<u32>()?[at];
            let rows = tables[at % tables.len()].shape()[0];
            Err(Error::invalid(format!("index {i} of a table of {rows} rows")))
        }
    }
}

/// Blocks that the rows of a table are cut into, about: each looks through all entries.
const BLOCKS: usize = 512;

pub(super) fn backward(
    [table, tables]: [usize; 2],
    cuda: &Cuda,
    all: &[&Tensor],
    out: &mut Tensor,
) -> Result<()> {
    let [rows, c] = [out.shape()[0], out.shape()[1]];
    let each = rows.div_ceil(BLOCKS).max(1);
    let args = [
        Arg::read(all[0])?,
        int(tables)?,
        int(table)?,
        Arg::read(all[1])?,
        Arg::write(out)?,
        (all[0].shape().count() / tables).into(),
        int(rows)?,
        int(each)?,
        int(c)?,
    ];
    let kernel = typed(all[1].dtype(), ["fqgan_embedding_backward_f32", "fqgan_embedding_backward_bf16"]);
    cuda.launch(kernel, Launch::blocks(rows.div_ceil(each), THREADS as u32), &args)
}
