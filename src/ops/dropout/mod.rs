//! Dropout (Srivastava et al., 2014), and with runs of a whole sample stochastic depth (Huang et al., 2016). What is
//! dropped is a function of the seed and the place alone, so the rule draws the same again and nothing is kept for it.

mod cpu;
#[cfg(feature = "cuda")]
mod cuda;

use super::check::{expect, expect_type};
use crate::backend::Device;
use crate::error::{Error, Result};
use crate::exec::{Backward, Cost, Cx, Eager, Gradients, Op};
use crate::tensor::{DType, Desc, Tensor};

/// x with some runs of elements zero and the others divided by what share of them stays.
///
/// Inputs: x f32 of any shape, whose elements divide into runs; if `residual`, one more as x that is added. Output: as
/// x. Run i is dropped where word part * runs + i of the stream of `place` under `seed` ([`crate::rng::Stream`]) is below
/// rate * 2^32. A dropped NaN is gone. On a GPU all may be bf16.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Dropout {
    /// Share of the runs that is dropped, from 0 to below 1.
    pub rate: f64,
    /// Elements that stay or go together, in memory's order; at least 1.
    pub run: usize,
    /// Whether the last input is added to the result.
    pub residual: bool,
    /// Of the random numbers.
    pub seed: u64,
    /// Where these are drawn: a step, a layer, a use.
    pub place: [u32; 3],
    /// Which x is of the equal parts, from 0, that something was cut into: of a batch, among processes.
    pub part: u32,
}

impl Dropout {
    /// The draws that are the parts' before this one, of so many runs each.
    fn first(&self, runs: usize) -> usize {
        self.part as usize * runs
    }
}

impl Op for Dropout {
    const NAME: &'static str = "dropout";

    fn outputs(&self, all: &[Desc]) -> Result<[Desc; 1]> {
        let (x, rest) = all.split_first().ok_or_else(|| Error::internal("no input"))?;
        expect_type("x", x, &[DType::F32, DType::BF16])?;
        if rest.len() != usize::from(self.residual) {
            let want = 1 + usize::from(self.residual);
            return Err(Error::internal(format!("{} inputs, expected {want}", all.len())));
        }
        for skip in rest {
            expect("residual", skip, &x.shape, x.dtype)?;
        }
        if !(0.0..1.0).contains(&self.rate) {
            return Err(Error::invalid(format!("a rate of {}, expected 0 to below 1", self.rate)));
        }
        if self.run == 0 || !x.shape.count().is_multiple_of(self.run) {
            return Err(Error::invalid(format!("x is {x}: it has no whole runs of {}", self.run)));
        }
        Ok([*x])
    }

    fn cost(&self, all: &[Desc]) -> Cost {
        let count = all[0].shape.count() as f64;
        Cost { flops: count, bytes: (4 + 4 * all.len()) as f64 * count }
    }

    fn forward(&self, cx: Cx<'_>, all: &[&Tensor], outputs: &mut [Tensor; 1]) -> Result<()> {
        match cx.device {
            #[cfg(feature = "cuda")]
            Device::Cuda(cuda) => cuda::dropout(self, cuda, all, &mut outputs[0]),
            Device::Cpu(_) if all[0].dtype() != DType::F32 => Err(cx.unsupported(Self::NAME, all[0].desc())),
            Device::Cpu(cpu) => cpu::dropout(self, cpu, all, &mut outputs[0]),
        }
    }

    fn backward(&self, e: &Eager<'_>, pass: &Backward<'_, 1>) -> Result<Gradients> {
        let grad = pass.grads[0].as_ref().ok_or_else(|| Error::internal("no gradient"))?;
        let mut found = Gradients::default();
        if pass.wanted[0] {
            let [dx] = e.run(&Dropout { residual: false, ..*self }, &[grad])?;
            found[0] = Some(dx);
        }
        if self.residual {
            found[1] = Some(grad.clone());
        }
        Ok(found)
    }
}
