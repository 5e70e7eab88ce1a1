use crate::backend::cuda::{Arg, Cuda, Launch};
use crate::error::Result;
use crate::exec::Cx;
use crate::ops::check::dims;
use crate::ops::launch::{int, typed, warp_rows};
use crate::tensor::{DType, Desc, Tensor};

/// Positions of a part (`POSITIONS` of the kernel), and threads of its block.
const POSITIONS: usize = 64;
const THREADS: u32 = 128;

pub(super) fn forward(cx: Cx<'_>, cuda: &Cuda, all: &[&Tensor], out: &mut Tensor) -> Result<()> {
    let [n, h, w, c] = dims("a", all[0].desc())?;
    let parts = (h * w).div_ceil(POSITIONS);
    let mut part = cx.workspace.tensor(Desc::plain([n, parts], DType::F64))?;
    let [a, b, weight] = [Arg::read(all[0])?, Arg::read(all[1])?, Arg::read(all[2])?];
    let args = [a, b, weight, Arg::write(&mut part)?, (h * w).into(), int(c)?];
    let launch = Launch::blocks(parts, THREADS).rows(n);
    let kernels = ["fqgan_perceptual_distance_part_f32", "fqgan_perceptual_distance_part_bf16"];
    cuda.launch(typed(all[0].dtype(), kernels), launch, &args)?;
    let args = [Arg::read(&part)?, Arg::write(out)?, n.into(), int(parts)?, (h * w).into()];
    cuda.launch("fqgan_perceptual_distance_finish_f32", warp_rows(n), &args)
}

pub(super) fn backward(cuda: &Cuda, all: &[&Tensor], out: &mut Tensor) -> Result<()> {
    let [n, h, w, c] = dims("a", all[0].desc())?;
    let [a, b, weight, grad] = [0, 1, 2, 3].map(|i| Arg::read(all[i]));
    let rows = n * h * w;
    let args = [a?, b?, weight?, grad?, Arg::write(out)?, rows.into(), (h * w).into(), int(c)?];
    let kernels = ["fqgan_perceptual_distance_backward_f32", "fqgan_perceptual_distance_backward_bf16"];
    cuda.launch(typed(all[0].dtype(), kernels), warp_rows(rows), &args)
}
