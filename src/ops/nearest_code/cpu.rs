use super::PANEL;
use crate::backend::cpu::simd::{Kernel, Simd};
use crate::backend::cpu::{Cpu, Parts};
use crate::error::{Error, Result};
use crate::exec::Cx;
use crate::ops::unit::unit;
use crate::tensor::{DType, Desc, Tensor};
use std::sync::atomic::{AtomicUsize, Ordering};

/// Latents a block, which share each read of the codebook; the cut does not depend on the threads.
const ROWS: usize = 16;
/// Bytes of the codebook that all rows of a block go through before the next: half of a small L1 cache.
const CHUNK: usize = 16 << 10;

pub(super) fn nearest_code(
    cx: Cx<'_>,
    cpu: &Cpu,
    z: &Tensor,
    codebook: &Tensor,
    out: &mut Tensor,
) -> Result<()> {
    let [codes, d] = codebook.shape().dims().ok_or_else(|| Error::internal("the codebook lost its axes"))?;
    let panels = floats(codebook, codes.div_ceil(PANEL) * (d + 1) * PANEL)?;
    let z = z.data::<f32>()?;
    let rows = z.len() / d;
    let out = out.data_mut::<u32>()?;
    // A lane's scratch: the unit latents, a dimension a line, and a running maximum and its place per lane of
    // a vector (no wider than a panel).
    let scratch = ROWS * (d + 2 * PANEL);
    let mut memory = cx.workspace.tensor(Desc::plain([cpu.pool.threads(), scratch], DType::F32))?;
    let memory = Parts::new(memory.data_mut::<f32>()?);
    let parts = Parts::new(out);
    let wrong = AtomicUsize::new(usize::MAX);
    cpu.pool.blocks(rows.div_ceil(ROWS), |lane, block| {
        let of_block = block * ROWS..rows.min((block + 1) * ROWS);
        // SAFETY: a lane is in one block at a time.
        let scratch = unsafe { memory.slice(lane * scratch..(lane + 1) * scratch) };
        // SAFETY: one part a block.
        let out = unsafe { parts.slice(of_block.clone()) };
        let z = &z[of_block.start * d..of_block.end * d];
        if let Some(row) = cpu.isa.dispatch(Block { z, d, panels, scratch, out }) {
            wrong.fetch_min(of_block.start + row, Ordering::Relaxed);
        }
    });
    match wrong.into_inner() {
        usize::MAX => Ok(()),
        row => Err(Error::invalid(format!("row {row} of {rows} latents holds NaN or infinity"))),
    }
}

/// The elements of a packed tensor.
fn floats(packed: &Tensor, count: usize) -> Result<&[f32]> {
    let bytes = packed.storage().as_bytes()?;
    if bytes.len() / 4 < count || !(bytes.as_ptr() as usize).is_multiple_of(4) {
        return Err(Error::internal("a packed codebook is too short"));
    }
    // SAFETY: long enough and aligned; every bit pattern is an f32.
    Ok(unsafe { std::slice::from_raw_parts(bytes.as_ptr().cast(), count) })
}

struct Block<'a> {
    z: &'a [f32],
    d: usize,
    panels: &'a [f32],
    scratch: &'a mut [f32],
    out: &'a mut [u32],
}

impl Kernel for Block<'_> {
    /// The first latent that is not finite.
    type Output = Option<usize>;
    #[inline(always)]
    fn run<S: Simd>(self) -> Option<usize> {
        // As many latents at once as there are registers for.
        if S::REGISTERS >= 32 { self.search::<S, 8>() } else { self.search::<S, 4>() }
    }
}

impl Block<'_> {
    #[inline(always)]
    fn search<S: Simd, const TILE: usize>(self) -> Option<usize> {
        let (d, rows) = (self.d, self.out.len());
        let (unit_z, state) = self.scratch.split_at_mut(ROWS * d);
        for (row, z) in self.z.chunks_exact(d).enumerate() {
            if unit(z, &mut unit_z[row * d..][..d]).is_none() {
                return Some(row);
            }
        }
        // Tiles are always whole: rows past the last are zero.
        unit_z[rows * d..].fill(0.0);
        for state in state.chunks_exact_mut(2 * PANEL) {
            state[..PANEL].fill(f32::NEG_INFINITY);
            state[PANEL..].fill(0.0);
        }

        let panel = (d + 1) * PANEL;
        let chunk = (CHUNK / 4 / panel).max(1);
        for (index, panels) in self.panels.chunks(chunk * panel).enumerate() {
            for first in (0..rows).step_by(TILE) {
                // SAFETY: `ROWS` is a multiple of `TILE`, so a tile's rows are inside both parts of the scratch,
                // and `panels` is a whole number of panels.
                unsafe {
                    let z = unit_z.as_ptr().add(first * d);
                    let state = state.as_mut_ptr().add(first * 2 * PANEL);
                    tile::<S, TILE>(z, d, panels, index * chunk, state);
                }
            }
        }
        for (out, state) in self.out.iter_mut().zip(state.chunks_exact(2 * PANEL)) {
            *out = first_of_best::<S>(&state[..PANEL], &state[PANEL..]);
        }
        None
    }
}

/// Carries the running maxima of `TILE` latents on over some panels. A vector's place is its number among all
/// vectors of the codebook; within a lane the places ascend, so that a tie leaves the lower one.
#[inline(always)]
unsafe fn tile<S: Simd, const TILE: usize>(
    z: *const f32,
    d: usize,
    panels: &[f32],
    first: usize,
    state: *mut f32,
) {
    const { assert!(PANEL.is_multiple_of(S::LANES) && ROWS.is_multiple_of(TILE)) };
    // SAFETY: the caller's.
    unsafe {
        let mut best: [S::V; TILE] = std::array::from_fn(|r| S::load(state.add(r * 2 * PANEL)));
        let mut place: [S::V; TILE] = std::array::from_fn(|r| S::load(state.add(r * 2 * PANEL + PANEL)));
        for (index, panel) in panels.chunks_exact((d + 1) * PANEL).enumerate() {
            for part in 0..PANEL / S::LANES {
                let p = panel.as_ptr().add(part * S::LANES);
                let mut score = [S::load(p); TILE];
                for dimension in 0..d {
                    let e = S::load(p.add((dimension + 1) * PANEL));
                    for (r, score) in score.iter_mut().enumerate() {
                        *score = S::fma(S::splat(*z.add(r * d + dimension)), e, *score);
                    }
                }
                let here = S::splat(((first + index) * (PANEL / S::LANES) + part) as f32);
                for r in 0..TILE {
                    place[r] = S::select_gt(score[r], best[r], here, place[r]);
                    best[r] = S::max(score[r], best[r]);
                }
            }
        }
        for r in 0..TILE {
            S::store(state.add(r * 2 * PANEL), best[r]);
            S::store(state.add(r * 2 * PANEL + PANEL), place[r]);
        }
    }
}

/// The lowest code among the lanes of the largest score.
#[inline(always)]
fn first_of_best<S: Simd>(best: &[f32], place: &[f32]) -> u32 {
    let code = |lane: usize| place[lane] as u32 * S::LANES as u32 + lane as u32;
    let mut chosen = 0;
    for lane in 1..S::LANES {
        if best[lane] > best[chosen] || best[lane] == best[chosen] && code(lane) < code(chosen) {
            chosen = lane;
        }
    }
    code(chosen)
}
