use crate::backend::cuda::{Arg, Cuda, Launch};
use crate::error::Result;
use crate::tensor::Tensor;

/// Threads of a block, and elements that each adds at a time: `MAP_THREADS` and `TOGETHER` of `cuda/elementwise.cuh`.
const THREADS: u32 = 256;
const TOGETHER: usize = 4;

pub(super) fn add(cuda: &Cuda, a: &Tensor, b: &Tensor, out: &mut Tensor) -> Result<()> {
    let (count, period) = (a.shape().count(), b.shape().count());
    let launch = Launch::over(count.div_ceil(TOGETHER), THREADS);
    let args = [Arg::read(a)?, Arg::read(b)?, Arg::write(out)?, count.into(), period.into()];
    cuda.launch("fqgan_add_forward_f32", launch, &args)
}
