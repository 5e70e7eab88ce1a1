//! a + b, where b may lack leading axes of a and is then added to each of their positions: a residual, or a
//! table of positions (t, c) on tokens (n, t, c).

mod cpu;
#[cfg(feature = "cuda")]
mod cuda;

use super::check::{expect_type, inputs};
use crate::backend::Device;
use crate::error::{Error, Result};
use crate::exec::{Backward, Cost, Cx, Eager, Gradients, Op};
use crate::ops::fill::converted;
use crate::ops::sum_rows::SumRows;
use crate::tensor::{DType, Desc, Tensor};

/// The elementwise sum.
///
/// Inputs: a of any shape, f32 or bf16; b, of the same type, whose shape is a suffix of a's. Output: as a.
#[derive(Clone, Copy, Debug)]
pub struct Add;

impl Op for Add {
    const NAME: &'static str = "add";

    fn outputs(&self, all: &[Desc]) -> Result<[Desc; 1]> {
        let [a, b] = inputs::<2>(all)?;
        expect_type("a", &a, &[DType::F32, DType::BF16])?;
        expect_type("b", &b, &[a.dtype])?;
        if !a.shape.ends_with(&b.shape) {
            return Err(Error::invalid(format!(
                "b has shape {}, expected {} or what is left of it without leading axes",
                b.shape, a.shape
            )));
        }
        Ok([a])
    }

    fn cost(&self, all: &[Desc]) -> Cost {
        let (a, b) = (all[0].shape.count(), all[1].shape.count());
        Cost { flops: a as f64, bytes: 4.0 * (2 * a + b) as f64 }
    }

    fn forward(&self, cx: Cx<'_>, all: &[&Tensor], outputs: &mut [Tensor; 1]) -> Result<()> {
        match cx.device {
            #[cfg(feature = "cuda")]
            Device::Cuda(cuda) => cuda::add(cuda, all[0], all[1], &mut outputs[0]),
            Device::Cpu(cpu) => cpu::add(cpu, all[0], all[1], &mut outputs[0]),
        }
    }

    fn backward(&self, e: &Eager<'_>, pass: &Backward<'_, 1>) -> Result<Gradients> {
        let grad = pass.grads[0].as_ref().ok_or_else(|| Error::internal("no gradient"))?;
        let mut found = Gradients::default();
        found[0] = Some(grad.clone());
        let keep = pass.inputs[1].shape().len();
        if keep == grad.shape().len() {
            found[1] = Some(grad.clone());
        } else if pass.wanted[1] {
            let [sum] = e.run(&SumRows { keep }, &[grad])?;
            found[1] = Some(converted(e.cx(), &sum, grad.dtype())?);
        }
        Ok(found)
    }
}
