//! Pictures to another size by repeating or leaving out pixels, as `torch.nn.functional.interpolate` does by default:
//! pixel i of `to` is pixel floor(i * from / to). What the frozen teachers are shown.

use super::check::{dims, expect_type, inputs};
use crate::backend::Device;
use crate::backend::cpu::Parts;
use crate::error::{Error, Result};
use crate::exec::{Cost, Cx, Op};
#[cfg(feature = "cuda")]
use crate::ops::launch::pixels;
use crate::tensor::{DType, Desc, Tensor};

/// Input: x (n, h, w, c) f32, not empty in h and w, or on a GPU bf16. Output: (n, to\[0\], to\[1\], c), as x.
#[derive(Clone, Copy, Debug)]
pub struct ResizeNearest {
    /// Rows and columns wanted.
    pub to: [usize; 2],
}

impl Op for ResizeNearest {
    const NAME: &'static str = "resize_nearest";

    fn outputs(&self, all: &[Desc]) -> Result<[Desc; 1]> {
        let [x] = inputs::<1>(all)?;
        let [n, h, w, c] = dims("x", &x)?;
        expect_type("x", &x, &[DType::F32, DType::BF16])?;
        let [rows, columns] = self.to;
        // Places are computed as products of a place and a size.
        let small = |a: usize, b: usize| a.checked_mul(b).is_some();
        if h == 0 || w == 0 || !small(rows, h) || !small(columns, w) {
            return Err(Error::invalid(format!("x is {x}: it cannot be resized to {rows} x {columns}")));
        }
        Ok([Desc::plain([n, rows, columns, c], x.dtype)])
    }

    fn cost(&self, all: &[Desc]) -> Cost {
        let (n, c) = (all[0].shape[0], all[0].shape[3]);
        Cost { flops: 0.0, bytes: 8.0 * (n * self.to[0] * self.to[1] * c) as f64 }
    }

    fn forward(&self, cx: Cx<'_>, all: &[&Tensor], outputs: &mut [Tensor; 1]) -> Result<()> {
        match cx.device {
            #[cfg(feature = "cuda")]
            Device::Cuda(cuda) => {
                let kernels = ["fqgan_resize_nearest_f32", "fqgan_resize_nearest_bf16"];
                pixels(cuda, kernels, all[0], &mut outputs[0], &[])
            }
            Device::Cpu(_) if all[0].dtype() != DType::F32 => Err(cx.unsupported(Self::NAME, all[0].desc())),
            Device::Cpu(cpu) => {
                let [n, h, w, c] = dims("x", all[0].desc())?;
                let [rows, columns] = self.to;
                let x = all[0].data::<f32>()?;
                let parts = Parts::new(outputs[0].data_mut::<f32>()?);
                cpu.pool.blocks(n * rows, |_, row| {
                    let from = &x[(row / rows * h + row % rows * h / rows) * w * c..][..w * c];
                    // SAFETY: one part a row.
                    let to = unsafe { parts.slice(row * columns * c..(row + 1) * columns * c) };
                    for (i, to) in to.chunks_exact_mut(c.max(1)).enumerate() {
                        to.copy_from_slice(&from[i * w / columns * c..][..c]);
                    }
                });
                Ok(())
            }
        }
    }
}
