use crate::backend::cuda::{Arg, Cuda};
use crate::error::Result;
use crate::ops::launch::{map, typed};
use crate::tensor::Tensor;

pub(in crate::ops) fn forward(cuda: &Cuda, all: &[&Tensor], out: &mut Tensor) -> Result<()> {
    let count = out.shape().count();
    let args = [Arg::read(all[0])?, Arg::read(all[1])?, Arg::write(out)?, count.into()];
    let kernel = typed(out.dtype(), ["fqgan_gate_forward_f32", "fqgan_gate_forward_bf16"]);
    cuda.launch(kernel, map(count), &args)
}

pub(super) fn backward(cuda: &Cuda, all: &[&Tensor], outputs: &mut [Tensor; 2]) -> Result<()> {
    let [da, db] = outputs;
    let count = da.shape().count();
    let [a, b, dy] = [Arg::read(all[0])?, Arg::read(all[1])?, Arg::read(all[2])?];
    let args = [a, b, dy, Arg::write(da)?, Arg::write(db)?, count.into()];
    let kernel = typed(da.dtype(), ["fqgan_gate_backward_f32", "fqgan_gate_backward_bf16"]);
    cuda.launch(kernel, map(count), &args)
}
