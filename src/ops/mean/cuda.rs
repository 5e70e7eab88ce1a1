use crate::backend::cuda::{Arg, Cuda};
use crate::error::Result;
use crate::exec::Cx;
use crate::ops::launch::{map, sum, typed};
use crate::tensor::Tensor;

pub(super) fn forward(cx: Cx<'_>, cuda: &Cuda, x: &Tensor, out: &mut Tensor) -> Result<()> {
    let factor = 1.0 / x.shape().count() as f64;
    let kernel = typed(x.dtype(), ["fqgan_mean_part_f32", "fqgan_mean_part_bf16"]);
    sum(cx, cuda, (kernel, &[x], &[]), (factor, false), out)
}

pub(super) fn spread(cuda: &Cuda, grad: &Tensor, dx: &mut Tensor) -> Result<()> {
    let count = dx.shape().count();
    let args = [Arg::read(grad)?, Arg::write(dx)?, count.into()];
    let kernel = typed(dx.dtype(), ["fqgan_mean_spread_f32", "fqgan_mean_spread_bf16"]);
    cuda.launch(kernel, map(count), &args)
}
