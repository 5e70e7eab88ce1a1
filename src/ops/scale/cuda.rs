use crate::backend::cuda::{Arg, Cuda};
use crate::error::Result;
use crate::ops::launch::{map, typed};
use crate::tensor::Tensor;

pub(super) fn scale(factor: f32, cuda: &Cuda, x: &Tensor, out: &mut Tensor) -> Result<()> {
    let count = x.shape().count();
    let args = [Arg::read(x)?, Arg::write(out)?, count.into(), factor.into()];
    let kernel = typed(x.dtype(), ["fqgan_scale_forward_f32", "fqgan_scale_forward_bf16"]);
    cuda.launch(kernel, map(count), &args)
}
