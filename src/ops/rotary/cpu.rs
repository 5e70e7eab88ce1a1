use super::Rotary;
use crate::backend::cpu::{Cpu, Parts};
use crate::error::{Error, Result};
use crate::tensor::Tensor;

/// Elements a block, about.
const BLOCK: usize = 16384;

/// `turn(from, angles, to)` does a head.
pub(super) fn rotary(
    op: &Rotary,
    cpu: &Cpu,
    all: &[&Tensor],
    out: &mut Tensor,
    turn: impl Fn(&[f32], &[f32], &mut [f32]) + Sync,
) -> Result<()> {
    let [_, t, packed] = all[0].shape().dims().ok_or_else(|| Error::internal("qkv lost its axes"))?;
    let (qkv, table) = (all[0].data::<f32>()?, all[1].data::<f32>()?);
    if qkv.is_empty() {
        return Ok(());
    }
    let (d, head) = (packed / 3, packed / 3 / op.heads);
    let rows = qkv.len() / packed;
    let step = BLOCK.div_ceil(packed);
    let parts = Parts::new(out.data_mut::<f32>()?);
    cpu.pool.blocks(rows.div_ceil(step), |_, block| {
        for row in block * step..rows.min((block + 1) * step) {
            let range = row * packed..(row + 1) * packed;
            // SAFETY: one part a row.
            let to = unsafe { parts.slice(range.clone()) };
            let from = &qkv[range];
            let angles = &table[(op.first + row % t) * head..][..head];
            let (turned, plain) = to.split_at_mut(2 * d);
            plain.copy_from_slice(&from[2 * d..]);
            for (to, from) in turned.chunks_exact_mut(head).zip(from.chunks_exact(head)) {
                turn(from, angles, to);
            }
        }
    });
    Ok(())
}

/// Turns the pairs of a head: all three have its width.
#[inline(always)]
pub(in crate::ops) fn turn(from: &[f32], angles: &[f32], to: &mut [f32]) {
    for ((to, from), turn) in to.chunks_exact_mut(2).zip(from.chunks_exact(2)).zip(angles.chunks_exact(2)) {
        to[0] = from[0] * turn[0] - from[1] * turn[1];
        to[1] = from[1] * turn[0] + from[0] * turn[1];
    }
}
