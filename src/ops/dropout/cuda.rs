use super::Dropout;
use crate::backend::cuda::{Arg, Cuda};
use crate::error::Result;
use crate::ops::launch::{map, typed};
use crate::tensor::Tensor;

pub(super) fn dropout(op: &Dropout, cuda: &Cuda, all: &[&Tensor], out: &mut Tensor) -> Result<()> {
    let count = out.shape().count();
    let residual = all.get(1).map_or(Ok(Arg::NONE), |r| Arg::read(r))?;
    let [a, b, c] = op.place.map(Arg::from);
    let least = (op.rate * 4_294_967_296.0) as u32;
    let scale = (1.0 / (1.0 - op.rate)) as f32;
    let first = Arg::from(op.first(count / op.run));
    let numbers = [count.into(), op.run.into(), first, op.seed.into(), a, b, c, least.into(), scale.into()];
    let [n0, n1, n2, n3, n4, n5, n6, n7, n8] = numbers;
    let args = [Arg::read(all[0])?, residual, Arg::write(out)?, n0, n1, n2, n3, n4, n5, n6, n7, n8];
    let kernel = typed(all[0].dtype(), ["fqgan_dropout_forward_f32", "fqgan_dropout_forward_bf16"]);
    cuda.launch(kernel, map(count), &args)
}
