use super::Adam;
use crate::backend::cuda::{Arg, Cuda};
use crate::error::Result;
use crate::exec::Cx;
use crate::ops::launch::{map, sum};
use crate::tensor::Tensor;

pub(super) fn adam(op: &Adam, cuda: &Cuda, all: &[&Tensor], outputs: &mut [Tensor; 3]) -> Result<()> {
    let [weight, m, v] = outputs;
    let count = weight.shape().count();
    let f = op.factors();
    let args = [
        Arg::read(all[0])?,
        Arg::read(all[1])?,
        Arg::read(all[2])?,
        Arg::read(all[3])?,
        Arg::write(weight)?,
        Arg::write(m)?,
        Arg::write(v)?,
        count.into(),
        f.keep.into(),
        f.rate.into(),
        f.first.into(),
        f.second.into(),
        f.fresh.into(),
        f.root.into(),
        f.eps.into(),
        f.scale.into(),
    ];
    cuda.launch("fqgan_optimizer_adam_f32", map(count), &args)
}

pub(super) fn average(decay: f32, cuda: &Cuda, all: &[&Tensor], out: &mut Tensor) -> Result<()> {
    let count = out.shape().count();
    let args = [Arg::read(all[0])?, Arg::read(all[1])?, Arg::write(out)?, count.into(), (1.0 - decay).into()];
    cuda.launch("fqgan_optimizer_average_f32", map(count), &args)
}

pub(super) fn length(cx: Cx<'_>, cuda: &Cuda, x: &Tensor, out: &mut Tensor) -> Result<()> {
    sum(cx, cuda, ("fqgan_optimizer_length_part_f32", &[x], &[]), (1.0, true), out)
}
