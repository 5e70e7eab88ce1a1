use crate::backend::cuda::{Arg, Cuda};
use crate::error::Result;
use crate::ops::launch::map;
use crate::tensor::Tensor;

pub(super) fn forward(cuda: &Cuda, all: &[&Tensor], out: &mut Tensor) -> Result<()> {
    let count = out.shape().count();
    let args = [Arg::read(all[0])?, Arg::read(all[1])?, Arg::write(out)?, count.into()];
    cuda.launch("fqgan_gate_forward_f32", map(count), &args)
}

pub(super) fn backward(cuda: &Cuda, all: &[&Tensor], outputs: &mut [Tensor; 2]) -> Result<()> {
    let [da, db] = outputs;
    let count = da.shape().count();
    let [a, b, dy] = [Arg::read(all[0])?, Arg::read(all[1])?, Arg::read(all[2])?];
    let args = [a, b, dy, Arg::write(da)?, Arg::write(db)?, count.into()];
    cuda.launch("fqgan_gate_backward_f32", map(count), &args)
}
