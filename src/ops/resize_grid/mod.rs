//! A table over a grid of positions, interpolated to another grid by separable cubic convolution (Keys, 1981,
//! a = -0.75), sampled at cell centres, edges repeated: what `torch.nn.functional.interpolate(size=...,
//! mode="bicubic", align_corners=False)` computes. For position tables only, so it need not be fast.

mod cpu;
#[cfg(feature = "cuda")]
mod cuda;

use super::check::{expect, expect_type, inputs};
use crate::backend::Device;
use crate::error::{Error, Result};
use crate::exec::{Cost, Cx, Op};
use crate::tensor::{DType, Desc, Tensor};

/// Table (h * w, c) f32, or on a GPU bf16, to (h' * w', c) of that type.
#[derive(Clone, Copy, Debug)]
pub struct ResizeGrid {
    /// Rows and columns of the table.
    pub from: [usize; 2],
    /// Rows and columns wanted.
    pub to: [usize; 2],
}

impl Op for ResizeGrid {
    const NAME: &'static str = "resize_grid";

    fn outputs(&self, all: &[Desc]) -> Result<[Desc; 1]> {
        let [table] = inputs::<1>(all)?;
        let c = table.shape.last().copied().unwrap_or(0);
        expect_type("table", &table, &[DType::F32, DType::BF16])?;
        expect("table", &table, &[self.from[0] * self.from[1], c], table.dtype)?;
        if self.from[0] * self.from[1] == 0 {
            return Err(Error::invalid("an empty grid cannot be interpolated"));
        }
        Ok([Desc::plain([self.to[0] * self.to[1], c], table.dtype)])
    }

    fn cost(&self, all: &[Desc]) -> Cost {
        let c = all[0].shape.last().copied().unwrap_or(0) as f64;
        let (from, to) = ((self.from[0] * self.from[1]) as f64, (self.to[0] * self.to[1]) as f64);
        Cost { flops: 32.0 * to * c, bytes: 4.0 * (from + to) * c }
    }

    fn forward(&self, cx: Cx<'_>, all: &[&Tensor], outputs: &mut [Tensor; 1]) -> Result<()> {
        match cx.device {
            #[cfg(feature = "cuda")]
            Device::Cuda(cuda) => cuda::forward(self, cuda, all[0], &mut outputs[0]),
            Device::Cpu(_) if all[0].dtype() != DType::F32 => Err(cx.unsupported(Self::NAME, all[0].desc())),
            Device::Cpu(cpu) => cpu::forward(self, cpu, all[0], &mut outputs[0]),
        }
    }
}
