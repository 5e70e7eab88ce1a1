//! The rule: the gradient of a row of a table is the sum of the gradients of where it was looked up.

use super::Embedding;
use crate::backend::Device;
use crate::backend::cpu::Parts;
use crate::error::{Error, Result};
use crate::exec::{Backward, Cost, Cx, Eager, Gradients, Op};
use crate::ops::check::{expect_type, inputs};
use crate::tensor::{DType, Desc, Tensor};

pub(super) fn embedding(_: &Embedding, e: &Eager<'_>, pass: &Backward<'_, 1>) -> Result<Gradients> {
    let grad = pass.grads[0].as_ref().ok_or_else(|| Error::internal("no gradient"))?;
    let tables = pass.inputs.len() - 1;
    let mut found = Gradients::default();
    for table in 0..tables {
        if pass.wanted[1 + table] {
            let rows = pass.inputs[1 + table].shape()[0];
            let rule = EmbeddingBackward { table, tables, rows };
            let [sums] = e.run(&rule, &[pass.inputs[0], grad])?;
            found[1 + table] = Some(sums);
        }
    }
    Ok(found)
}

/// Inputs: indices (..., tables) u32, all below `rows`, and the gradient (..., tables * d), f32 or on
/// a GPU bf16. Output: (rows, d) f32.
#[derive(Clone, Copy, Debug)]
struct EmbeddingBackward {
    table: usize,
    tables: usize,
    rows: usize,
}

/// Rows of the table a block: each looks through all indices.
const ROWS: usize = 2048;

impl Op for EmbeddingBackward {
    const NAME: &'static str = "embedding";

    fn outputs(&self, all: &[Desc]) -> Result<[Desc; 1]> {
        let [_, grad] = inputs::<2>(all)?;
        expect_type("gradient", &grad, &[DType::F32, DType::BF16])?;
        let d = grad.shape.last().copied().unwrap_or(0) / self.tables.max(1);
        Ok([Desc::plain([self.rows, d], DType::F32)])
    }

    fn cost(&self, all: &[Desc]) -> Cost {
        let elements = all[1].shape.count() as f64 / self.tables.max(1) as f64;
        Cost { flops: elements, bytes: 8.0 * elements }
    }

    fn forward(&self, cx: Cx<'_>, all: &[&Tensor], outputs: &mut [Tensor; 1]) -> Result<()> {
        match cx.device {
            #[cfg(feature = "cuda")]
            Device::Cuda(cuda) => {
                super::cuda::backward([self.table, self.tables], cuda, all, &mut outputs[0])
            }
            Device::Cpu(cpu) => {
                let (index, grad) = (all[0].data::<u32>()?, all[1].data::<f32>()?);
                let d = outputs[0].shape()[1];
                let parts = Parts::new(outputs[0].data_mut::<f32>()?);
                cpu.pool.blocks(self.rows.div_ceil(ROWS), |_, block| {
                    let rows = block * ROWS..self.rows.min((block + 1) * ROWS);
                    // SAFETY: one part a block.
                    let sums = unsafe { parts.slice(rows.start * d..rows.end * d) };
                    sums.fill(0.0);
                    for (at, entry) in index.chunks_exact(self.tables).enumerate() {
                        let row = entry[self.table] as usize;
                        if rows.contains(&row) {
                            let sum = &mut sums[(row - rows.start) * d..][..d];
                            let grad = &grad[(at * self.tables + self.table) * d..][..d];
                            sum.iter_mut().zip(grad).for_each(|(s, g)| *s += g);
                        }
                    }
                });
                Ok(())
            }
        }
    }
}
