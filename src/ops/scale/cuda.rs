use crate::backend::cuda::{Arg, Cuda};
use crate::error::Result;
use crate::ops::launch::map;
use crate::tensor::Tensor;

pub(super) fn scale(factor: f32, cuda: &Cuda, x: &Tensor, out: &mut Tensor) -> Result<()> {
    let count = x.shape().count();
    let args = [Arg::read(x)?, Arg::write(out)?, count.into(), factor.into()];
    cuda.launch("fqgan_scale_forward_f32", map(count), &args)
}
