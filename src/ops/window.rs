//! A square window that moves over pictures, for the operations that pool what is under it.

use super::check::{dims, expect_type};
#[cfg(feature = "cuda")]
use super::launch::{int, pixels};
use crate::backend::cpu::{Cpu, Parts};
#[cfg(feature = "cuda")]
use crate::backend::cuda::Cuda;
use crate::error::{Error, Result};
use crate::exec::Cost;
use crate::tensor::{DType, Desc, Tensor};

/// A window over the pixels of a picture. Where it reaches over an edge, only pixels inside count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Pixels of a side, at least 1.
    pub side: usize,
    /// Step between windows, at least 1.
    pub stride: usize,
    /// How far the first and the last may reach over an edge: less than `side`.
    pub padding: usize,
}

impl Window {
    /// Windows along an axis of `size` pixels: (size + 2 padding - side) / stride + 1, rounded down; 0 where none fits.
    pub fn extent(&self, size: usize) -> usize {
        (size + 2 * self.padding).checked_sub(self.side).map_or(0, |free| free / self.stride + 1)
    }

    /// What pooling makes of x (n, h, w, c), f32 or on a GPU bf16.
    ///
    /// # Errors
    /// `InvalidArgument` for a window that cannot be, or that may hold no pixel; `Unsupported` for another type.
    pub(super) fn output(&self, x: &Desc) -> Result<Desc> {
        let [n, h, w, c] = dims("x", x)?;
        expect_type("x", x, &[DType::F32, DType::BF16])?;
        let Window { side, stride, padding } = *self;
        if side == 0 || stride == 0 || padding >= side || side > 1 << 16 {
            return Err(Error::invalid(format!(
                "{self:?}: expected a side of 1 to 65536, a stride of at least 1, less padding than the side"
            )));
        }
        // Else a window might lie outside, between two edges that are near.
        if padding > 0 && (h == 0 || w == 0) {
            return Err(Error::invalid(format!("x is {x}: no pixel to pool")));
        }
        Ok(Desc::plain([n, self.extent(h), self.extent(w), c], x.dtype))
    }

    pub(super) fn cost(&self, x: &Desc) -> Cost {
        let [n, h, w, c] = [0, 1, 2, 3].map(|axis| x.shape.get(axis).copied().unwrap_or(0));
        let out = (n * self.extent(h) * self.extent(w) * c) as f64;
        Cost { flops: out * (self.side * self.side) as f64, bytes: 4.0 * (out + (n * h * w * c) as f64) }
    }

    /// Pools on a GPU: the mean, or the largest.
    #[cfg(feature = "cuda")]
    pub(super) fn pool(&self, cuda: &Cuda, x: &Tensor, out: &mut Tensor, mean: bool) -> Result<()> {
        let window = [int(self.side)?, int(self.stride)?, int(self.padding)?, i32::from(mean).into()];
        pixels(cuda, ["fqgan_pool_forward_f32", "fqgan_pool_forward_bf16"], x, out, &window)
    }

    /// Gives `pool` each pixel of the output, to write, and the pixels of x that are under its window, row by row.
    pub(super) fn each(
        &self,
        cpu: &Cpu,
        x: &Tensor,
        out: &mut Tensor,
        pool: impl Fn(&mut [f32], &mut dyn Iterator<Item = &[f32]>) + Sync,
    ) -> Result<()> {
        let [_, h, w, c] = dims("x", x.desc())?;
        let [n, rows, columns, _] = dims("output", out.desc())?;
        let x = x.data::<f32>()?;
        let parts = Parts::new(out.data_mut::<f32>()?);
        // The pixels of an axis that window `i` holds.
        let under = |i: usize, size: usize| {
            let first = i * self.stride;
            first.saturating_sub(self.padding)..(first + self.side - self.padding).min(size)
        };
        cpu.pool.blocks(n * rows, |_, row| {
            let (image, y) = (row / rows, row % rows);
            // SAFETY: one part a row of the output.
            let to = unsafe { parts.slice(row * columns * c..(row + 1) * columns * c) };
            for (column, to) in to.chunks_exact_mut(c.max(1)).enumerate() {
                let across = under(column, w);
                let mut pixels = under(y, h).flat_map(|y| {
                    let line = &x[((image * h + y) * w + across.start) * c..][..across.len() * c];
                    line.chunks_exact(c.max(1))
                });
                pool(to, &mut pixels);
            }
        });
        Ok(())
    }
}
