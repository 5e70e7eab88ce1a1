use super::ResizeGrid;
use crate::backend::cpu::{Cpu, Parts};
use crate::error::Result;
use crate::tensor::Tensor;

const A: f32 = -0.75;

pub(super) fn forward(op: &ResizeGrid, cpu: &Cpu, table: &Tensor, out: &mut Tensor) -> Result<()> {
    let ResizeGrid { from: [h, w], to: [oh, ow] } = *op;
    let c = table.shape()[1];
    let table = table.data::<f32>()?;
    let parts = Parts::new(out.data_mut::<f32>()?);
    cpu.pool.blocks(oh, |_, y| {
        let (rows, row_weights) = taps(y, h, oh);
        // SAFETY: one part a row.
        let out = unsafe { parts.slice(y * ow * c..(y + 1) * ow * c) };
        for (x, out) in out.chunks_exact_mut(c.max(1)).enumerate() {
            let (columns, column_weights) = taps(x, w, ow);
            out.fill(0.0);
            for (row, row_weight) in rows.iter().zip(row_weights) {
                for (column, column_weight) in columns.iter().zip(column_weights) {
                    let weight = row_weight * column_weight;
                    let from = &table[(row * w + column) * c..][..c];
                    out.iter_mut().zip(from).for_each(|(o, f)| *o += weight * f);
                }
            }
        }
    });
    Ok(())
}

/// The four cells that make cell `i` of `to`, and their weights.
fn taps(i: usize, from: usize, to: usize) -> ([usize; 4], [f32; 4]) {
    let at = (i as f32 + 0.5) * (from as f32 / to as f32) - 0.5;
    let t = at - at.floor();
    let near = |x: f32| ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0;
    let far = |x: f32| ((A * x - 5.0 * A) * x + 8.0 * A) * x - 4.0 * A;
    let first = at.floor() as isize - 1;
    let cell = |k: isize| (first + k).clamp(0, from as isize - 1) as usize;
    ([cell(0), cell(1), cell(2), cell(3)], [far(t + 1.0), near(t), near(1.0 - t), far(2.0 - t)])
}
