//! Rows of tables by index. With several tables an index has one entry a table, and the rows stand one after
//! the other: what FAR's aggregation layer reads of a position's sub-codes.

mod backward;
mod cpu;
#[cfg(feature = "cuda")]
mod cuda;

use super::check::expect_type;
use crate::backend::Device;
use crate::error::{Error, Result};
use crate::exec::{Backward, Cost, Cx, Eager, Gradients, MAX_INPUTS, Op};
use crate::tensor::{DType, Desc, Tensor};

/// The most tables: the operation has one more input.
pub const MAX_TABLES: usize = MAX_INPUTS - 1;

/// Looks up.
///
/// Inputs: indices (..., k) u32; then k tables (n_i, d), all of one type, f32, bf16 or f16. Output:
/// (..., k * d) f32, row `index[i]` of table i at i * d, or bf16 if `narrow`. An index of n_i or more is an
/// `InvalidArgument`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Embedding {
    /// Whether the output is bf16: on a GPU. The gradients of tables are f32.
    pub narrow: bool,
}

impl Op for Embedding {
    const NAME: &'static str = "embedding";

    fn outputs(&self, all: &[Desc]) -> Result<[Desc; 1]> {
        let [index, tables @ ..] = all else { return Err(Error::internal("no input")) };
        expect_type("index", index, &[DType::U32])?;
        let Some(first) = tables.first() else { return Err(Error::internal("no table")) };
        if index.shape.last() != Some(&tables.len()) {
            return Err(Error::invalid(format!(
                "index is {index}, expected one entry for each of {} tables",
                tables.len()
            )));
        }
        for table in tables {
            expect_type("a table", table, &[DType::F32, DType::BF16, DType::F16])?;
            let alike = matches!((&table.shape[..], &first.shape[..]), ([_, d], [_, e]) if d == e);
            if !alike || table.dtype != first.dtype {
                return Err(Error::invalid(format!(
                    "tables are {first} and {table}, expected (n, d) of one width and type"
                )));
            }
        }
        let mut shape = index.shape;
        shape.set_last(tables.len() * first.shape[1]);
        Ok([Desc::plain(shape, if self.narrow { DType::BF16 } else { DType::F32 })])
    }

    fn cost(&self, all: &[Desc]) -> Cost {
        let elements = all[0].shape.count() * all[1].shape[1];
        Cost { flops: 0.0, bytes: (elements * (4 + all[1].dtype.size())) as f64 }
    }

    fn forward(&self, cx: Cx<'_>, all: &[&Tensor], outputs: &mut [Tensor; 1]) -> Result<()> {
        match cx.device {
            #[cfg(feature = "cuda")]
            Device::Cuda(cuda) => cuda::forward(cx, cuda, all, &mut outputs[0]),
            Device::Cpu(_) if self.narrow => Err(cx.unsupported(Self::NAME, outputs[0].desc())),
            Device::Cpu(cpu) => cpu::embedding(cx, cpu, all, &mut outputs[0]),
        }
    }

    fn backward(&self, e: &Eager<'_>, pass: &Backward<'_, 1>) -> Result<Gradients> {
        backward::embedding(self, e, pass)
    }
}
