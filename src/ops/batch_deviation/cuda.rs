use crate::backend::cuda::{Arg, Cuda, Launch};
use crate::error::Result;
use crate::exec::Cx;
use crate::ops::check::dims;
use crate::ops::launch::{THREADS, int, typed};
use crate::tensor::{DType, Desc, Tensor};

/// Elements of a part: `PART` of `cuda/elementwise.cuh`.
const PART: usize = 4096;

/// Of sets of g pictures.
pub(super) fn forward(g: usize, cx: Cx<'_>, cuda: &Cuda, x: &Tensor, out: &mut Tensor) -> Result<()> {
    let [n, h, w, c] = dims("x", x.desc())?;
    let (sets, each) = (n / g, h * w * c);
    let parts = each.div_ceil(PART);
    let mut part = cx.workspace.tensor(Desc::plain([sets, parts], DType::F64))?;
    let args = [Arg::read(x)?, Arg::write(&mut part)?, each.into(), int(g)?];
    let launch = Launch::blocks(parts, THREADS as u32).rows(sets);
    let kernel = typed(x.dtype(), ["fqgan_batch_deviation_part_f32", "fqgan_batch_deviation_part_bf16"]);
    cuda.launch(kernel, launch, &args)?;
    let sizes = [parts.into(), each.into(), (h * w).into(), int(sets)?];
    let [parts, each, places, sets] = sizes;
    let args = [Arg::read(&part)?, Arg::write(out)?, parts, each, places, sets];
    let kernel = typed(x.dtype(), ["fqgan_batch_deviation_spread_f32", "fqgan_batch_deviation_spread_bf16"]);
    cuda.launch(kernel, Launch::blocks(n, THREADS as u32), &args)
}

pub(super) fn backward(g: usize, cx: Cx<'_>, cuda: &Cuda, all: &[&Tensor], dx: &mut Tensor) -> Result<()> {
    let [n, h, w, c] = dims("x", all[0].desc())?;
    let (sets, each) = (n / g, h * w * c);
    let mut sums = cx.workspace.tensor(Desc::plain([sets], DType::F64))?;
    let args = [Arg::read(all[1])?, Arg::write(&mut sums)?, (h * w).into(), int(g)?];
    let kernel = typed(dx.dtype(), ["fqgan_batch_deviation_gather_f32", "fqgan_batch_deviation_gather_bf16"]);
    cuda.launch(kernel, Launch::blocks(sets, THREADS as u32), &args)?;
    let args = [Arg::read(all[0])?, Arg::read(&sums)?, Arg::write(dx)?, each.into(), int(g)?];
    let launch = Launch::over(each, THREADS as u32).rows(sets);
    let kernel = typed(dx.dtype(), ["fqgan_batch_deviation_rule_f32", "fqgan_batch_deviation_rule_bf16"]);
    cuda.launch(kernel, launch, &args)
}
