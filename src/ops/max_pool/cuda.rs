use crate::backend::cuda::{Arg, Cuda};
use crate::error::Result;
use crate::ops::check::dims;
use crate::ops::launch::{Tile, int, typed};
use crate::tensor::Tensor;

/// The rule of windows of 2 x 2, by the pixels of x.
pub(super) fn backward(cuda: &Cuda, all: &[&Tensor], dx: &mut Tensor) -> Result<()> {
    let [n, h, w, c] = dims("x", all[0].desc())?;
    let tile = Tile::new(c, dx.dtype().size());
    let pixels = n * h * w;
    int(pixels)?;
    let args = [
        Arg::read(all[0])?,
        Arg::read(all[1])?,
        Arg::write(dx)?,
        pixels.into(),
        int(tile.rows())?,
        int(h)?,
        int(w)?,
        int(c)?,
    ];
    let kernel = typed(dx.dtype(), ["fqgan_pool_halve_backward_f32", "fqgan_pool_halve_backward_bf16"]);
    cuda.launch(kernel, tile.launch(pixels, tile.rows(), 1), &args)
}
