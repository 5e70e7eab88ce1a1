use super::Power;
use crate::backend::cuda::{Arg, Cuda};
use crate::error::Result;
use crate::exec::Cx;
use crate::ops::launch::{map, sum, typed};
use crate::tensor::Tensor;

fn squared(power: Power) -> Arg {
    i32::from(power == Power::Squared).into()
}

pub(super) fn forward(
    power: Power,
    cx: Cx<'_>,
    cuda: &Cuda,
    all: &[&Tensor],
    out: &mut Tensor,
) -> Result<()> {
    let factor = 1.0 / all[0].shape().count() as f64;
    let kernel = typed(all[0].dtype(), ["fqgan_mean_error_part_f32", "fqgan_mean_error_part_bf16"]);
    sum(cx, cuda, (kernel, all, &[squared(power)]), (factor, false), out)
}

pub(super) fn backward(power: Power, cuda: &Cuda, all: &[&Tensor], da: &mut Tensor) -> Result<()> {
    let count = da.shape().count();
    let [a, b, grad] = [Arg::read(all[0])?, Arg::read(all[1])?, Arg::read(all[2])?];
    let args = [a, b, grad, Arg::write(da)?, count.into(), squared(power)];
    let kernel = typed(da.dtype(), ["fqgan_mean_error_backward_f32", "fqgan_mean_error_backward_bf16"]);
    cuda.launch(kernel, map(count), &args)
}
