//! The mean of the pixels under a window: Inception's pools.

use super::check::inputs;
use super::window::Window;
use crate::backend::Device;
use crate::error::Result;
use crate::exec::{Cost, Cx, Op};
use crate::tensor::{DType, Desc, Tensor};

/// The mean over a window's pixels inside the picture: PyTorch's with `count_include_pad=False`. Sums run row by row.
///
/// Input: x (n, h, w, c) f32, or on a GPU bf16. Output: (n, h', w', c), as x, extents as [`Window::extent`] says.
#[derive(Clone, Copy, Debug)]
pub struct MeanPool(pub Window);

impl Op for MeanPool {
    const NAME: &'static str = "mean_pool";

    fn outputs(&self, all: &[Desc]) -> Result<[Desc; 1]> {
        let [x] = inputs::<1>(all)?;
        Ok([self.0.output(&x)?])
    }

    fn cost(&self, all: &[Desc]) -> Cost {
        self.0.cost(&all[0])
    }

    fn forward(&self, cx: Cx<'_>, all: &[&Tensor], outputs: &mut [Tensor; 1]) -> Result<()> {
        match cx.device {
            #[cfg(feature = "cuda")]
            Device::Cuda(cuda) => self.0.pool(cuda, all[0], &mut outputs[0], true),
            Device::Cpu(_) if all[0].dtype() != DType::F32 => Err(cx.unsupported(Self::NAME, all[0].desc())),
            Device::Cpu(cpu) => self.0.each(cpu, all[0], &mut outputs[0], |to, under| {
                to.fill(0.0);
                let mut count = 0;
                for from in under {
                    to.iter_mut().zip(from).for_each(|(to, from)| *to += from);
                    count += 1;
                }
                let share = 1.0 / count.max(1) as f32;
                to.iter_mut().for_each(|to| *to *= share);
            }),
        }
    }
}
