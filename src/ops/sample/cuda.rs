use super::{Draw, Picks, Sample};
use crate::backend::cuda::{Arg, Cuda, Launch};
use crate::error::Result;
use crate::exec::Cx;
use crate::ops::launch::{Wrong, int, typed};
use crate::tensor::{DType, Desc, Tensor};

/// Threads of the block that an image has.
const THREADS: u32 = 1024;

pub(super) fn sample(op: &Sample, cx: Cx<'_>, cuda: &Cuda, logits: &Tensor, out: &mut Tensor) -> Result<()> {
    let mut wrong = Wrong::new(cx, cuda)?;
    draw(op, cx, cuda, logits, [Arg::NONE, wrong.arg()?], out)?;
    match wrong.first(cx, cuda)? {
        None => Ok(()),
        Some(image) => Err(op.not_finite(image)),
    }
}

/// `at` is what joins the position, `wrong` where an image is noted whose logits are not finite.
fn draw(
    op: &Sample,
    cx: Cx<'_>,
    cuda: &Cuda,
    logits: &Tensor,
    [at, wrong]: [Arg; 2],
    out: &mut Tensor,
) -> Result<()> {
    let (images, n) = (out.shape().count(), logits.shape()[1]);
    let mut values = cx.workspace.tensor(Desc::plain([images, n], DType::F32))?;
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
        at,
        op.sub_code.into(),
        wrong,
    ];
    let kernel = typed(logits.dtype(), ["fqgan_sample_draw_f32", "fqgan_sample_draw_bf16"]);
    cuda.launch(kernel, Launch::blocks(images, THREADS), &args)
}

/// Draws where the picks are, and keeps what was drawn there. Nothing is waited for: the picks say later what was wrong.
pub(super) fn draw_next(
    op: &Draw<'_>,
    cx: Cx<'_>,
    cuda: &Cuda,
    logits: &Tensor,
    out: &mut Tensor,
) -> Result<()> {
    let Picks { place, last, all, wrong, .. } = op.picks;
    let (rows, k) = (out.shape().count(), last.borrow().shape()[2]);
    let images = all.borrow().shape()[1];
    let mut drawn = cx.workspace.tensor(Desc::plain([images], DType::U32))?;
    let place = Arg::write(&mut place.borrow_mut())?;
    let wrong = Arg::write(&mut wrong.borrow_mut())?;
    draw(&op.sample, cx, cuda, logits, [place, wrong], &mut drawn)?;
    let args = [
        Arg::read(&drawn)?,
        Arg::write(out)?,
        Arg::write(&mut last.borrow_mut())?,
        Arg::write(&mut all.borrow_mut())?,
        place,
        int(images)?,
        int(rows)?,
        int(k)?,
        op.sample.sub_code.into(),
    ];
    let blocks = usize::from(images > 0);
    cuda.launch("fqgan_sample_keep_u32", Launch::blocks(blocks, THREADS), &args)
}
