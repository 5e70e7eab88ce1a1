use crate::backend::cuda::{Arg, Cuda};
use crate::error::Result;
use crate::ops::launch::map;
use crate::tensor::Tensor;

pub(super) fn forward(slope: f32, cuda: &Cuda, x: &Tensor, out: &mut Tensor) -> Result<()> {
    let count = x.shape().count();
    let args = [Arg::read(x)?, Arg::write(out)?, count.into(), slope.into()];
    cuda.launch("fqgan_activation_forward_f32", map(count), &args)
}

pub(super) fn backward(slope: f32, cuda: &Cuda, all: &[&Tensor], dx: &mut Tensor) -> Result<()> {
    let count = dx.shape().count();
    let args = [Arg::read(all[0])?, Arg::read(all[1])?, Arg::write(dx)?, count.into(), slope.into()];
    cuda.launch("fqgan_activation_backward_f32", map(count), &args)
}
