use super::Rotary;
use crate::backend::cuda::{Arg, Cuda, Launch};
use crate::error::Result;
use crate::ops::check::dims;
use crate::ops::launch::{THREADS, int, typed};
use crate::tensor::Tensor;

/// `direction` is 1, or -1 to turn back.
pub(super) fn turn(
    op: &Rotary,
    cuda: &Cuda,
    all: &[&Tensor],
    out: &mut Tensor,
    direction: f32,
) -> Result<()> {
    let [b, t, packed] = dims("qkv", all[0].desc())?;
    let head = packed / 3 / op.heads;
    // As the kernel reads: 16 bytes, or a pair.
    let together = 16 / all[0].dtype().size();
    let groups = packed / if head.is_multiple_of(together) { together } else { 2 };
    let rows = b * t;
    let each = 8 * (THREADS / groups.clamp(1, THREADS));
    let tiles = groups.div_ceil(THREADS) as u32;
    let args = [
        Arg::read(all[0])?,
        Arg::read(all[1])?,
        Arg::write(out)?,
        rows.into(),
        int(each)?,
        int(t)?,
        int(packed / 3)?,
        int(head)?,
        int(op.first)?,
        direction.into(),
    ];
    let launch = Launch::blocks(rows.div_ceil(each), THREADS as u32);
    let kernel = typed(all[0].dtype(), ["fqgan_rotary_turn_f32", "fqgan_rotary_turn_bf16"]);
    cuda.launch(kernel, Launch { grid: [launch.grid[0], 1, tiles], ..launch }, &args)
}
