//! Rotary position embedding (Su et al., 2021) of packed queries and keys: neighbouring pairs (2i, 2i + 1) of a
//! head are turned by the angle that the position's table row gives pair i.

mod backward;
mod cpu;
#[cfg(feature = "cuda")]
mod cuda;

pub(in crate::ops) use cpu::turn;

use super::check::{dims, expect_type, inputs};
use crate::backend::Device;
use crate::error::{Error, Result};
use crate::exec::{Backward, Cost, Cx, Eager, Gradients, Op};
use crate::tensor::{DType, Desc, Tensor};

/// Turns the queries and keys of packed qkv; values pass as they are.
///
/// Inputs: qkv (b, t, 3 * d) f32, q then k then v, each `heads` heads side by side; table (rows, head_dim / 2,
/// 2) f32, cosine and sine. Position i of t takes table row `first + i`. Output: as qkv. A row of zeros, as FAR
/// has it for the class token, makes q and k zero. On a GPU qkv may be bf16.
#[derive(Clone, Copy, Debug)]
pub struct Rotary {
    /// Heads; divides d.
    pub heads: usize,
    /// The table row of the first position.
    pub first: usize,
}

impl Op for Rotary {
    const NAME: &'static str = "rotary";

    fn outputs(&self, all: &[Desc]) -> Result<[Desc; 1]> {
        let [qkv, table] = inputs::<2>(all)?;
        let [_, t, packed] = dims("qkv", &qkv)?;
        let [rows, pairs, two] = dims("table", &table)?;
        expect_type("qkv", &qkv, &[DType::F32, DType::BF16])?;
        expect_type("table", &table, &[DType::F32])?;
        if two != 2 || packed != 3 * 2 * pairs * self.heads {
            return Err(Error::invalid(format!(
                "qkv is {qkv} and the table {table}, expected (b, t, 3 * {} * head_dim) and (rows, head_dim / 2, 2)",
                self.heads
            )));
        }
        if self.first.checked_add(t).is_none_or(|end| end > rows) {
            return Err(Error::invalid(format!("positions {}..+{t} of a table of {rows} rows", self.first)));
        }
        Ok([qkv])
    }

    fn cost(&self, all: &[Desc]) -> Cost {
        let count = all[0].shape.count() as f64;
        Cost { flops: 2.0 * count, bytes: 8.0 * count }
    }

    fn forward(&self, cx: Cx<'_>, all: &[&Tensor], outputs: &mut [Tensor; 1]) -> Result<()> {
        match cx.device {
            #[cfg(feature = "cuda")]
            Device::Cuda(cuda) => cuda::turn(self, cuda, all, &mut outputs[0], 1.0),
            Device::Cpu(_) if all[0].dtype() != DType::F32 => Err(cx.unsupported(Self::NAME, all[0].desc())),
            Device::Cpu(cpu) => cpu::rotary(self, cpu, all, &mut outputs[0], turn),
        }
    }

    fn backward(&self, e: &Eager<'_>, pass: &Backward<'_, 1>) -> Result<Gradients> {
        backward::rotary(self, e, pass)
    }
}
