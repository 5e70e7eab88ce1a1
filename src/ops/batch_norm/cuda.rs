use super::{Keep, Kept};
use crate::backend::cuda::{Arg, Cuda, Launch};
use crate::error::Result;
use crate::ops::launch::int;
use crate::tensor::Tensor;

const THREADS: u32 = 128;

pub(super) fn kept(op: &Kept, cuda: &Cuda, all: &[&Tensor], out: &mut Tensor) -> Result<()> {
    let c = all[0].shape().count();
    let [weight, bias, mean, variance] = [0, 1, 2, 3].map(|i| Arg::read(all[i]));
    let args = [weight?, bias?, mean?, variance?, Arg::write(out)?, int(c)?, op.eps.into()];
    cuda.launch("fqgan_batch_norm_kept_f32", Launch::over(c, THREADS), &args)
}

pub(super) fn keep(op: &Keep, cuda: &Cuda, all: &[&Tensor], outputs: &mut [Tensor; 2]) -> Result<()> {
    let c = all[1].shape().count();
    let [mean, variance] = outputs;
    let args = [
        Arg::read(all[0])?,
        Arg::read(all[1])?,
        Arg::read(all[2])?,
        Arg::write(mean)?,
        Arg::write(variance)?,
        int(c)?,
        op.momentum.into(),
        op.eps.into(),
        (op.positions as f64).into(),
    ];
    cuda.launch("fqgan_batch_norm_keep_f32", Launch::over(c, THREADS), &args)
}
