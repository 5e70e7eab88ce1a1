use super::{CodeEmbedding, not_there};
use crate::backend::cuda::{Arg, Cuda, Launch};
use crate::error::Result;
use crate::exec::Cx;
use crate::ops::check::dims;
use crate::ops::launch::{THREADS, TOGETHER, Wrong, int, typed};
use crate::tensor::Tensor;

pub(super) fn code_embedding(
    op: CodeEmbedding,
    cx: Cx<'_>,
    cuda: &Cuda,
    all: &[&Tensor],
    out: &mut Tensor,
) -> Result<()> {
    let [n, k, h, w] = dims("codes", all[0].desc())?;
    let [_, count, d] = dims("table", all[1].desc())?;
    let groups = n * h * w * k * if d.is_multiple_of(TOGETHER) { d / TOGETHER } else { d };
    let mut wrong = Wrong::new(cx, cuda)?;
    let args = [
        Arg::read(all[0])?,
        Arg::read(all[1])?,
        Arg::write(out)?,
        groups.into(),
        (h * w).into(),
        int(k)?,
        int(count)?,
        int(d)?,
        op.mask.into(),
        wrong.arg()?,
    ];
    let kernels = ["fqgan_code_embedding_forward_f32", "fqgan_code_embedding_forward_bf16"];
    cuda.launch(typed(out.dtype(), kernels), Launch::over(groups, THREADS as u32), &args)?;
    match wrong.first(cx, cuda)? {
        None => Ok(()),
        Some(at) => {
            let code = cx.download(all[0])?.data::<u32>()?[at];
            Err(not_there(code, at, [k, h, w], count))
        }
    }
}
