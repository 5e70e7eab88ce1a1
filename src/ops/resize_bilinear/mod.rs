//! Pictures to another size by bilinear interpolation, edges repeated: what Inception is shown. Nothing is averaged when
//! shrinking. Two ways to place the samples are in use, and figures differ by them.

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
pub struct ResizeBilinear {
    /// Rows and columns wanted.
    pub to: [usize; 2],
    /// Where samples lie.
    pub grid: Grid,
}

/// Where the samples of an axis lie among its pixels; `scale` is the old size over the new.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grid {
    /// At (i + 1/2) scale - 1/2, so that centres of pixels fall on centres: PyTorch's `interpolate(mode="bilinear",
    /// align_corners=False)`.
    Centres,
    /// At i scale: TensorFlow's `ResizeBilinear` of before 2019.
    Corners,
}

/// The two pixels of an axis that pixel `i` lies between, and the share of the second.
fn between(grid: Grid, i: usize, from: usize, to: usize) -> ([usize; 2], f32) {
    let scale = from as f64 / to as f64;
    let place = match grid {
        Grid::Centres => (i as f64 + 0.5) * scale - 0.5,
        Grid::Corners => i as f64 * scale,
    };
    let place = place.clamp(0.0, (from - 1) as f64);
    let first = place as usize;
    ([first, (first + 1).min(from - 1)], (place - first as f64) as f32)
}

impl Op for ResizeBilinear {
    const NAME: &'static str = "resize_bilinear";

    fn outputs(&self, all: &[Desc]) -> Result<[Desc; 1]> {
        let [x] = inputs::<1>(all)?;
        let [n, h, w, c] = dims("x", &x)?;
        expect_type("x", &x, &[DType::F32, DType::BF16])?;
        let [rows, columns] = self.to;
        let out = Desc::plain([n, rows, columns, c], x.dtype);
        if h == 0 || w == 0 || out.bytes().is_none() {
            return Err(Error::invalid(format!("x is {x}: it cannot be resized to {rows} x {columns}")));
        }
        Ok([out])
    }

    fn cost(&self, all: &[Desc]) -> Cost {
        let [n, h, w, c] = [0, 1, 2, 3].map(|axis| all[0].shape[axis] as f64);
        let out = n * (self.to[0] * self.to[1]) as f64 * c;
        Cost { flops: 9.0 * out, bytes: 4.0 * (out + n * h * w * c) }
    }

    fn forward(&self, cx: Cx<'_>, all: &[&Tensor], outputs: &mut [Tensor; 1]) -> Result<()> {
        match cx.device {
            #[cfg(feature = "cuda")]
            Device::Cuda(cuda) => {
                let corners = i32::from(self.grid == Grid::Corners).into();
                let kernels = ["fqgan_resize_bilinear_f32", "fqgan_resize_bilinear_bf16"];
                pixels(cuda, kernels, all[0], &mut outputs[0], &[corners])
            }
            Device::Cpu(_) if all[0].dtype() != DType::F32 => Err(cx.unsupported(Self::NAME, all[0].desc())),
            Device::Cpu(cpu) => {
                let [n, h, w, c] = dims("x", all[0].desc())?;
                let [rows, columns] = self.to;
                let x = all[0].data::<f32>()?;
                let parts = Parts::new(outputs[0].data_mut::<f32>()?);
                cpu.pool.blocks(n * rows, |_, row| {
                    let (image, y) = (row / rows, row % rows);
                    let (lines, down) = between(self.grid, y, h, rows);
                    let [upper, lower] = lines.map(|y| &x[(image * h + y) * w * c..][..w * c]);
                    // SAFETY: one part a row of the output.
                    let to = unsafe { parts.slice(row * columns * c..(row + 1) * columns * c) };
                    for (i, to) in to.chunks_exact_mut(c.max(1)).enumerate() {
                        let ([left, right], across) = between(self.grid, i, w, columns);
                        for (channel, to) in to.iter_mut().enumerate() {
                            let at = [left * c + channel, right * c + channel];
                            let of = |line: &[f32]| line[at[0]] * (1.0 - across) + line[at[1]] * across;
                            *to = of(upper) * (1.0 - down) + of(lower) * down;
                        }
                    }
                });
                Ok(())
            }
        }
    }
}
