use crate::backend::cuda::{Arg, Cuda};
use crate::error::Result;
use crate::ops::launch::{map, typed};
use crate::tensor::Tensor;

pub(super) fn forward(slope: f32, cuda: &Cuda, x: &Tensor, out: &mut Tensor) -> Result<()> {
    let count = x.shape().count();
    let args = [Arg::read(x)?, Arg::write(out)?, count.into(), slope.into()];
    let kernel = typed(x.dtype(), ["fqgan_activation_forward_f32", "fqgan_activation_forward_bf16"]);
    cuda.launch(kernel, map(count), &args)
}

pub(super) fn backward(slope: f32, cuda: &Cuda, all: &[&Tensor], dx: &mut Tensor) -> Result<()> {
    let count = dx.shape().count();
    let args = [Arg::read(all[0])?, Arg::read(all[1])?, Arg::write(dx)?, count.into(), slope.into()];
    let kernel = typed(dx.dtype(), ["fqgan_activation_backward_f32", "fqgan_activation_backward_bf16"]);
    cuda.launch(kernel, map(count), &args)
}
