use crate::backend::cuda::{Arg, Cuda, Launch};
use crate::error::Result;
use crate::ops::launch::{int, typed};
use crate::tensor::Tensor;

/// `LANES_THREADS` and `SHORT_ROW` of `cuda/lanes.cuh`: a lane a row up to this length, else a warp.
const THREADS: u32 = 128;
const SHORT_ROW: usize = 32;

fn rows(x: &Tensor) -> (Launch, usize, usize) {
    let d = x.shape().last().copied().unwrap_or(0);
    let rows = x.shape().count().checked_div(d).unwrap_or(0);
    (Launch::over(if d <= SHORT_ROW { rows } else { 32 * rows }, THREADS), rows, d)
}

pub(super) fn normalize(eps: f32, cuda: &Cuda, x: &Tensor, out: &mut Tensor) -> Result<()> {
    let (launch, rows, d) = rows(x);
    let args = [Arg::read(x)?, Arg::write(out)?, rows.into(), int(d)?, eps.into()];
    let kernel = typed(x.dtype(), ["fqgan_normalize_forward_f32", "fqgan_normalize_forward_bf16"]);
    cuda.launch(kernel, launch, &args)
}

pub(super) fn backward(eps: f32, cuda: &Cuda, all: &[&Tensor], out: &mut Tensor) -> Result<()> {
    let (launch, rows, d) = rows(all[0]);
    let args = [Arg::read(all[0])?, Arg::read(all[1])?, Arg::write(out)?, rows.into(), int(d)?, eps.into()];
    let kernel = typed(out.dtype(), ["fqgan_normalize_backward_f32", "fqgan_normalize_backward_bf16"]);
    cuda.launch(kernel, launch, &args)
}
