use crate::backend::cuda::{Arg, Cuda};
use crate::error::Result;
use crate::ops::launch::{map, typed};
use crate::tensor::Tensor;

pub(super) fn forward(cuda: &Cuda, all: &[&Tensor], out: &mut Tensor) -> Result<()> {
    let count = out.shape().count();
    let args = [Arg::read(all[0])?, Arg::read(all[1])?, Arg::write(out)?, count.into()];
    let kernel =
        typed(out.dtype(), ["fqgan_straight_through_forward_f32", "fqgan_straight_through_forward_bf16"]);
    cuda.launch(kernel, map(count), &args)
}
