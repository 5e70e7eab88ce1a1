use super::block::{GROUP, TILE, Tile};
use crate::backend::cpu::simd::Simd;

/// Bytes of a cache line.
const LINE: usize = 64;
/// Bytes of x that stay in the first cache while weights pass.
pub const NEAR: usize = 16 << 10;
/// Memory to bring near while something else is computed: so many bytes at each step of a product.
pub struct Ahead {
    next: *const u8,
    step: usize,
}

impl Ahead {
    /// What follows the weights of a tile, whose outputs have `row` bytes each and are read `abreast` side by side,
    /// `step` bytes a step in all; `distance` bytes are read in about the time that memory takes to answer.
    #[inline(always)]
    pub fn new(tile: &Tile, weight: *const u8, row: usize, [abreast, step, distance]: [usize; 3]) -> Ahead {
        match (tile.passes, tile.ahead) {
            (1, _) => {
                // Whole tiles, if the rows of one are read side by side.
                let whole = if abreast == 1 { 1 } else { abreast * row };
                let distance = distance.next_multiple_of(whole.max(1));
                Ahead { next: weight.wrapping_add(tile.columns.start * row + distance), step }
            }
            // Each pass over a group brings its share of the next one near.
            (_, Some(next)) => {
                let share = (GROUP * row).div_ceil(tile.passes);
                let steps = GROUP / TILE * (abreast * row).div_ceil(step);
                Ahead { next: next.wrapping_add(tile.pass * share), step: share.div_ceil(steps.max(1)) }
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

/// Asks for the beginning of what will be read, up to `most` bytes.
#[inline(always)]
pub unsafe fn fetch<S: Simd, T>(of: &[T], most: usize) {
    let mut byte = 0;
    while byte < size_of_val(of).min(most) {
        // SAFETY: a prefetch of any address is harmless.
        unsafe { S::prefetch_second(of.as_ptr().cast::<u8>().wrapping_add(byte)) };
        byte += LINE;
    }
}
