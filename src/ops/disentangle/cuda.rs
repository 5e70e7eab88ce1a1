use super::rows;
use crate::backend::cuda::{Arg, Cuda, Launch};
use crate::error::Result;
use crate::exec::Cx;
use crate::ops::launch::{THREADS, finish, int, typed};
use crate::tensor::{DType, Desc, Tensor};

pub(super) fn forward(cx: Cx<'_>, cuda: &Cuda, all: &[&Tensor], out: &mut Tensor) -> Result<()> {
    let [rows, d] = rows(all[0].desc());
    let launch = Launch::over(rows, THREADS as u32);
    let parts = rows.div_ceil(THREADS);
    let mut part = cx.workspace.tensor(Desc::plain([parts], DType::F64))?;
    let args = [Arg::read(all[0])?, Arg::read(all[1])?, Arg::write(&mut part)?, rows.into(), int(d)?];
    let kernel = typed(all[0].dtype(), ["fqgan_disentangle_part_f32", "fqgan_disentangle_part_bf16"]);
    cuda.launch(kernel, launch, &args)?;
    finish(cuda, &part, parts, (1.0 / rows as f64, false), out)
}

pub(super) fn backward(cuda: &Cuda, all: &[&Tensor], outputs: &mut [Tensor; 2]) -> Result<()> {
    let [rows, d] = rows(all[0].desc());
    let [da, db] = outputs;
    let [a, b, grad] = [Arg::read(all[0])?, Arg::read(all[1])?, Arg::read(all[2])?];
    let args = [a, b, grad, Arg::write(da)?, Arg::write(db)?, rows.into(), int(d)?];
    let kernel = typed(all[0].dtype(), ["fqgan_disentangle_backward_f32", "fqgan_disentangle_backward_bf16"]);
    cuda.launch(kernel, Launch::over(rows, THREADS as u32), &args)
}
