use crate::backend::cuda::{Arg, Cuda};
use crate::error::Result;
use crate::ops::check::dims;
use crate::ops::launch::{Tile, int, typed};
use crate::tensor::Tensor;

/// `small` is the smaller of the two, whose pixels of elements of `size` bytes the kernel goes through.
fn launch(cuda: &Cuda, kernel: &str, [x, out]: [Arg; 2], small: [usize; 4], size: usize) -> Result<()> {
    let [n, h, w, c] = small;
    let tile = Tile::new(c, size);
    let args = [x, out, (n * h * w).into(), int(tile.rows())?, int(w)?, int(c)?];
    cuda.launch(kernel, tile.launch(n * h * w, tile.rows(), 1), &args)
}

pub(super) fn upsample(cuda: &Cuda, x: &Tensor, out: &mut Tensor) -> Result<()> {
    let small = dims("x", x.desc())?;
    let kernel = typed(x.dtype(), ["fqgan_upsample_forward_f32", "fqgan_upsample_forward_bf16"]);
    launch(cuda, kernel, [Arg::read(x)?, Arg::write(out)?], small, x.dtype().size())
}

pub(super) fn fold(cuda: &Cuda, x: &Tensor, out: &mut Tensor) -> Result<()> {
    let small = dims("output", out.desc())?;
    let kernel = typed(x.dtype(), ["fqgan_upsample_fold_f32", "fqgan_upsample_fold_bf16"]);
    launch(cuda, kernel, [Arg::read(x)?, Arg::write(out)?], small, x.dtype().size())
}
