use crate::backend::cuda::{Arg, Cuda, Launch};
use crate::error::{Error, Result};
use crate::exec::Cx;
use crate::ops::launch::{Wrong, int, typed};
use crate::tensor::Tensor;

/// Threads of the block that a row has.
const THREADS: u32 = 512;

pub(super) fn forward(cx: Cx<'_>, cuda: &Cuda, all: &[&Tensor], out: &mut Tensor) -> Result<()> {
    let [rows, n] = [all[0].shape()[0], all[0].shape()[1]];
    let mut wrong = Wrong::new(cx, cuda)?;
    let args = [Arg::read(all[0])?, Arg::read(all[1])?, Arg::write(out)?, int(n)?, wrong.arg()?];
    let kernel =
        typed(all[0].dtype(), ["fqgan_cross_entropy_forward_f32", "fqgan_cross_entropy_forward_bf16"]);
    cuda.launch(kernel, Launch::blocks(rows, THREADS), &args)?;
    match wrong.first(cx, cuda)? {
        None => Ok(()),
        Some(row) => {
            let target = cx.download(all[1])?.data::<u32>()?[row];
            Err(Error::invalid(format!("target {target} of row {row} is not among {n} classes")))
        }
    }
}

pub(super) fn backward(cuda: &Cuda, all: &[&Tensor], out: &mut Tensor) -> Result<()> {
    let [rows, n] = [all[0].shape()[0], all[0].shape()[1]];
    let args = [Arg::read(all[0])?, Arg::read(all[1])?, Arg::read(all[2])?, Arg::write(out)?, int(n)?];
    let kernels = ["fqgan_cross_entropy_backward_f32", "fqgan_cross_entropy_backward_bf16"];
    cuda.launch(typed(all[0].dtype(), kernels), Launch::blocks(rows, THREADS), &args)
}
