use crate::backend::cuda::{Arg, Cuda};
use crate::error::Result;
use crate::exec::Cx;
use crate::ops::launch::{int, rule_rows, typed, warp_rows};
use crate::ops::sum_rows::columns;
use crate::tensor::{DType, Desc, Tensor};

pub(super) fn forward(eps: f32, cuda: &Cuda, all: &[&Tensor], out: &mut Tensor) -> Result<()> {
    let c = all[1].shape().count();
    let rows = all[0].shape().count() / c;
    let args = [Arg::read(all[0])?, Arg::read(all[1])?, Arg::write(out)?, rows.into(), int(c)?, eps.into()];
    let kernel = typed(all[0].dtype(), ["fqgan_rms_norm_forward_f32", "fqgan_rms_norm_forward_bf16"]);
    cuda.launch(kernel, warp_rows(rows), &args)
}

pub(super) fn backward(
    eps: f32,
    cx: Cx<'_>,
    cuda: &Cuda,
    all: &[&Tensor],
    outputs: &mut [Tensor; 2],
) -> Result<()> {
    let c = all[1].shape().count();
    let rows = all[0].shape().count() / c;
    let launch = rule_rows(rows, c, 1)?;
    let blocks = launch.grid[0] as usize;
    let mut shares = cx.workspace.tensor(Desc::plain([blocks, c], DType::F32))?;
    let [dx, d_weight] = outputs;
    let [x, weight, dy] = [Arg::read(all[0])?, Arg::read(all[1])?, Arg::read(all[2])?];
    let args = [x, weight, dy, Arg::write(dx)?, Arg::write(&mut shares)?, rows.into(), int(c)?, eps.into()];
    let kernel = typed(all[0].dtype(), ["fqgan_rms_norm_backward_f32", "fqgan_rms_norm_backward_bf16"]);
    cuda.launch(kernel, launch, &args)?;
    columns(cx, cuda, &shares, [blocks, c], d_weight)
}
