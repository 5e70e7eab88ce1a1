use crate::backend::cuda::{Arg, Cuda};
use crate::error::Result;
use crate::ops::launch::{map, typed};
use crate::tensor::Tensor;

pub(super) fn multiply(cuda: &Cuda, a: &Tensor, b: &Tensor, out: &mut Tensor) -> Result<()> {
    let (count, period) = (a.shape().count(), b.shape().count());
    let args = [Arg::read(a)?, Arg::read(b)?, Arg::write(out)?, count.into(), period.into()];
    let kernel = typed(a.dtype(), ["fqgan_multiply_forward_f32", "fqgan_multiply_forward_bf16"]);
    cuda.launch(kernel, map(count), &args)
}
