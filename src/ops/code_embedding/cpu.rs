use super::{CodeEmbedding, not_there};
use crate::backend::cpu::{Cpu, Parts};
use crate::error::{Error, Result};
use crate::tensor::Tensor;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Positions a block; the cut does not depend on the threads.
const BLOCK: usize = 512;

pub(super) fn code_embedding(
    op: CodeEmbedding,
    cpu: &Cpu,
    codes: &Tensor,
    table: &Tensor,
    out: &mut Tensor,
) -> Result<()> {
    let lost = || Error::internal("an input lost its axes");
    let [_, k, h, w] = codes.shape().dims().ok_or_else(lost)?;
    let [_, count, d] = table.shape().dims().ok_or_else(lost)?;
    let (codes, table) = (codes.data::<u32>()?, table.data::<f32>()?);
    let out = out.data_mut::<f32>()?;
    // The first code of those that are used but not there.
    let wrong = AtomicUsize::new(usize::MAX);
    let area = h * w;
    if k > 0 && area > 0 {
        let images = codes.len() / (k * area);
        let blocks = area.div_ceil(BLOCK);
        let parts = Parts::new(out);
        cpu.pool.blocks(images * blocks, |_, index| {
            let (image, block) = (index / blocks, index % blocks);
            let positions = block * BLOCK..area.min((block + 1) * BLOCK);
            let start = image * area;
            let width = k * d;
            // SAFETY: one part a block.
            let to =
                unsafe { parts.slice((start + positions.start) * width..(start + positions.end) * width) };
            for book in 0..k {
                let entries = &table[book * count * d..][..count * d];
                for (i, position) in positions.clone().enumerate() {
                    let to = &mut to[i * width + book * d..][..d];
                    if !op.uses(book) {
                        to.fill(0.0);
                        continue;
                    }
                    let at = (image * k + book) * area + position;
                    let code = codes[at] as usize;
                    if code < count {
                        to.copy_from_slice(&entries[code * d..][..d]);
                    } else {
                        wrong.fetch_min(at, Ordering::Relaxed);
                    }
                }
            }
        });
    }
    match wrong.into_inner() {
        usize::MAX => Ok(()),
        at => Err(not_there(codes[at], at, [k, h, w], count)),
    }
}
