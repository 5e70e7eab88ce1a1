use super::Sample;
use crate::backend::cuda::{Arg, Cuda, Launch};
use crate::error::Result;
use crate::exec::Cx;
use crate::ops::launch::{Wrong, int};
use crate::tensor::{DType, Desc, Tensor};

/// Threads of the block that an image has.
const THREADS: u32 = 1024;

pub(super) fn sample(op: &Sample, cx: Cx<'_>, cuda: &Cuda, logits: &Tensor, out: &mut Tensor) -> Result<()> {
    let (images, n) = (out.shape().count(), logits.shape()[1]);
    let mut values = cx.workspace.tensor(Desc::plain([images, n], DType::F32))?;
    let mut wrong = Wrong::new(cx, cuda)?;
    let args = [
        Arg::read(logits)?,
        Arg::write(&mut values)?,
        Arg::write(out)?,
        int(n)?,
        i32::from(op.guided()).into(),
        op.guidance.into(),
        op.temperature.into(),
        int(op.top_k.min(n))?,
        op.top_p.into(),
        op.seed.into(),
        op.image.into(),
        op.position.into(),
        Arg::NONE,
        op.sub_code.into(),
        wrong.arg()?,
    ];
    cuda.launch("fqgan_sample_draw_f32", Launch::blocks(images, THREADS), &args)?;
    match wrong.first(cx, cuda)? {
        None => Ok(()),
        Some(image) => Err(op.not_finite(image)),
    }
}
