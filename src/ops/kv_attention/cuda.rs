use super::KvAttention;
use crate::backend::cuda::{Arg, Cuda, Launch};
use crate::error::{Error, Result};
use crate::exec::Cx;
use crate::ops::launch::int;
use crate::tensor::{DType, Tensor};

const THREADS: u32 = 256;
/// The widest head.
const WIDEST: usize = 256;

pub(super) fn kv_attention(
    op: &KvAttention<'_>,
    cx: Cx<'_>,
    cuda: &Cuda,
    all: &[&Tensor],
    out: &mut Tensor,
) -> Result<()> {
    let busy = |_| Error::internal("the cache is in use");
    let (mut keys, mut values) =
        (op.cache.keys.try_borrow_mut().map_err(busy)?, op.cache.values.try_borrow_mut().map_err(busy)?);
    let [_, rows, heads, capacity, width] = op.cache.extents();
    let kernel = match (out.dtype(), op.cache.dtype()) {
        _ if width > WIDEST => return Err(cx.unsupported("kv_attention", keys.desc())),
        (DType::BF16, _) => "fqgan_kv_attention_attend_bf16",
        (_, DType::BF16) => "fqgan_kv_attention_attend_f32_bf16",
        _ => "fqgan_kv_attention_attend_f32",
    };
    // Where the layer begins, in bytes.
    let layer = op.layer * rows * heads * capacity * width * op.cache.dtype().size();
    let args = [
        Arg::read(all[0])?,
        all.get(1).map_or(Ok(Arg::NONE), |table| Arg::read(table))?,
        Arg::write(&mut keys)?.after(layer),
        Arg::write(&mut values)?.after(layer),
        Arg::write(out)?,
        int(all[0].shape()[1])?,
        int(heads)?,
        int(width)?,
        int(capacity)?,
        int(op.position)?,
        op.at.map_or(Ok(Arg::NONE), Arg::read)?,
    ];
    cuda.launch(kernel, Launch::blocks(heads, THREADS).rows(rows), &args)
}
