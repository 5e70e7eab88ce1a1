use crate::backend::cuda::{Arg, Cuda};
use crate::error::Result;
use crate::exec::Cx;
use crate::ops::launch::{int, rule_rows, typed, warp_rows};
use crate::ops::sum_rows::columns;
use crate::tensor::{DType, Desc, Tensor};

pub(super) fn forward(eps: f32, cuda: &Cuda, all: &[&Tensor], out: &mut Tensor) -> Result<()> {
    let c = all[1].shape().count();
    let rows = all[0].shape().count() / c;
    let [x, weight, bias] = [Arg::read(all[0])?, Arg::read(all[1])?, Arg::read(all[2])?];
    let args = [x, weight, bias, Arg::write(out)?, rows.into(), int(c)?, eps.into()];
    let kernel = typed(all[0].dtype(), ["fqgan_layer_norm_forward_f32", "fqgan_layer_norm_forward_bf16"]);
    cuda.launch(kernel, warp_rows(rows), &args)
}

pub(super) fn backward(
    eps: f32,
    cx: Cx<'_>,
    cuda: &Cuda,
    all: &[&Tensor],
    outputs: &mut [Tensor; 3],
) -> Result<()> {
    let c = all[1].shape().count();
    let rows = all[0].shape().count() / c;
    let launch = rule_rows(rows, c, 2)?;
    let blocks = launch.grid[0] as usize;
    let room = || cx.workspace.tensor(Desc::plain([blocks, c], DType::F32));
    let (mut of_weight, mut of_bias) = (room()?, room()?);
    let [dx, d_weight, d_bias] = outputs;
    let args = [
        Arg::read(all[0])?,
        Arg::read(all[1])?,
        Arg::read(all[2])?,
        Arg::write(dx)?,
        Arg::write(&mut of_weight)?,
        Arg::write(&mut of_bias)?,
        rows.into(),
        int(c)?,
        eps.into(),
    ];
    let kernel = typed(all[0].dtype(), ["fqgan_layer_norm_backward_f32", "fqgan_layer_norm_backward_bf16"]);
    cuda.launch(kernel, launch, &args)?;
    columns(cx, cuda, &of_weight, [blocks, c], d_weight)?;
    columns(cx, cuda, &of_bias, [blocks, c], d_bias)
}
