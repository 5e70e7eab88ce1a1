use super::block::{GROUP, TILE, Tile};
use crate::backend::cpu::simd::Simd;

/// Bytes of a cache line.
const LINE: usize = 64;
/// Bytes of x that stay in the first cache while weights pass.
pub const NEAR: usize = 24 << 10;
/// Bytes of weights that are read in about the time that memory takes to answer.
const DISTANCE: usize = 8 << 10;

/// Memory to bring near while something else is computed: so many bytes at each step of a product.
pub struct Ahead {
    next: *const u8,
    step: usize,
}

impl Ahead {
    /// What follows the weights of a tile, whose outputs have `row` bytes each and are read `abreast` side by side,
    /// `step` bytes a step in all.
    #[inline(always)]
    pub fn new(tile: &Tile, weight: *const u8, row: usize, abreast: usize, step: usize) -> Ahead {
        match (tile.passes, tile.ahead) {
            (1, _) => {
                // Whole tiles, since the rows of one are read side by side.
                let distance = DISTANCE.div_ceil((abreast * row).max(1)) * abreast * row;
                Ahead { next: weight.wrapping_add(tile.columns.start * row + distance), step }
            }
            // Each pass over a group brings its share of the next one near.
            (_, Some(next)) => {
                let share = (GROUP * row).div_ceil(tile.passes);
                let steps = GROUP / TILE * (abreast * row).div_ceil(step);
                Ahead {
                    next: weight.wrapping_add(next * row + tile.pass * share),
                    step: share.div_ceil(steps.max(1)),
                }
            }
            _ => Ahead { next: weight, step: 0 },
        }
    }

    /// A step.
    #[inline(always)]
    pub fn step<S: Simd>(&mut self) {
        let mut line = 0;
        while line < self.step {
            // SAFETY: a prefetch of any address is harmless.
            unsafe { S::prefetch_second(self.next.wrapping_add(line)) };
            line += LINE;
        }
        self.next = self.next.wrapping_add(self.step);
    }
}
