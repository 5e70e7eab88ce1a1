//! Rows rounded to bf16 for the register tile.

use super::tile::Operand;
use crate::backend::cpu::simd::{Kernel, Lanes, Simd};
use crate::backend::cpu::{Cpu, Parts};
use crate::error::Result;
use crate::exec::Cx;
use crate::tensor::{DType, Desc, Tensor};
use half::bf16;

/// Elements that are rounded at once.
const PIECE: usize = 8192;

/// x (rows, k) in bf16, and how long its rows are now: whole steps of the tile, zeros past k.
pub(super) fn rounded(cx: Cx<'_>, cpu: &Cpu, x: &[f32], [rows, k]: [usize; 2]) -> Result<(Tensor, usize)> {
    let wide = k.next_multiple_of(bf16::CHANNELS);
    let mut rounded = cx.workspace.tensor(Desc::plain([rows, wide], DType::BF16))?;
    let together = (PIECE / wide.max(1)).max(1);
    let to = Parts::new(rounded.data_mut::<bf16>()?);
    cpu.pool.blocks(rows.div_ceil(together), |_, index| {
        let rows = index * together..rows.min((index + 1) * together);
        // SAFETY: some rows a job.
        let to = unsafe { to.slice(rows.start * wide..rows.end * wide) };
        cpu.isa.dispatch(Round { x: &x[rows.start * k..rows.end * k], k, to, wide });
    });
    Ok((rounded, wide))
}

/// Rows of k to rows of `wide` in bf16, zeros past k.
struct Round<'a> {
    x: &'a [f32],
    k: usize,
    to: &'a mut [bf16],
    wide: usize,
}

impl Kernel for Round<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self) {
        if self.k == 0 {
            return;
        }
        for (x, to) in self.x.chunks_exact(self.k).zip(self.to.chunks_exact_mut(self.wide)) {
            to[self.k..].fill(bf16::ZERO);
            let whole = self.k - self.k % S::LANES;
            // SAFETY: all lie within the row.
            unsafe {
                for i in (0..whole).step_by(S::LANES) {
                    <bf16 as Lanes>::store::<S>(to.as_mut_ptr().add(i), S::load(x.as_ptr().add(i)));
                }
                if whole < self.k {
                    let n = self.k - whole;
                    let rest = S::load_n(x.as_ptr().add(whole), n);
                    <bf16 as Lanes>::store_n::<S>(to.as_mut_ptr().add(whole), rest, n);
                }
            }
        }
    }
}
