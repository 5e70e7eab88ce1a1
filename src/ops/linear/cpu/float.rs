// Tiles are arrays of vectors: loops by index unroll, and read as the sums they are.
#![allow(clippy::needless_range_loop)]

use super::block::{COLUMNS, GROUP, Products, TILE, Tile};
use crate::backend::cpu::simd::{Simd, Widen};
use std::ops::Range;
use std::ptr::null;

/// Bytes of a cache line.
const LINE: usize = 64;
/// Bytes of x that stay in the first cache while weights pass.
const NEAR: usize = 24 << 10;
/// Elements of weights that come later by about as much as memory is slow.
const DISTANCE: usize = 4096;

/// Products with weights of a floating type.
#[derive(Clone, Copy)]
pub struct Float<'a, W> {
    pub k: usize,
    /// Rows of k.
    pub x: &'a [f32],
    /// Rows of k, one an output.
    pub weight: &'a [W],
}

impl<W: Widen> Products for Float<'_, W> {
    fn part(&self, rows: Range<usize>, columns: Range<usize>) -> Self {
        let k = self.k;
        Float {
            k,
            x: &self.x[rows.start * k..rows.end * k],
            weight: &self.weight[columns.start * k..columns.end * k],
        }
    }

    #[inline(always)]
    unsafe fn rows_of<S: Simd, const R: usize>(&self, tile: &Tile, sums: &mut [[f32; COLUMNS]]) {
        // SAFETY: the caller's.
        unsafe {
            // One row of weights after the other is one run of memory, which the processor foresees by itself where
            // nothing else keeps it busy. Where there is more to do, it helps to ask for what comes; and where x does
            // not fit beside it in the first cache, or the sums would wait for each other, four rows share x.
            let (x, wait) = (R * self.k * size_of::<f32>(), R * size_of::<f32>() / size_of::<W>());
            if tile.passes > 1 || x > NEAR || wait > 4 {
                self.by::<S, R, TILE, true>(tile, sums);
            } else if x > NEAR / 2 || wait > R {
                self.by::<S, R, 1, true>(tile, sums);
            } else {
                self.by::<S, R, 1, false>(tile, sums);
            }
        }
    }
}

impl<W: Widen> Float<'_, W> {
    /// N rows of weights at a time.
    ///
    /// Lane l of a product's vector sums the elements k = l, l + LANES, ... in turn, then the lanes are summed by
    /// `sum4`: the order is the same whatever R and N are.
    #[inline(always)]
    unsafe fn by<S: Simd, const R: usize, const N: usize, const AHEAD: bool>(
        &self,
        tile: &Tile,
        sums: &mut [[f32; COLUMNS]],
    ) {
        let k = self.k;
        let mut ahead = self.ahead::<S, N>(tile);
        let mut column = tile.columns.start;
        while column < tile.columns.end {
            // SAFETY: the tile's rows and columns are there.
            unsafe {
                let x = self.x.as_ptr().add(tile.row * k);
                let w = self.weight.as_ptr().add(column * k);
                let wide = TILE.min(tile.columns.end - column);
                let mut all = [[S::splat(0.0); TILE]; R];
                let mut j = 0;
                while j + N <= wide {
                    let some = products::<S, W, R, N, AHEAD>(x, w.add(j * k), k, &mut ahead);
                    for r in 0..R {
                        for i in 0..N {
                            all[r][j + i] = some[r][i];
                        }
                    }
                    j += N;
                }
                while j < wide {
                    let one = products::<S, W, R, 1, false>(x, w.add(j * k), k, &mut ahead);
                    for r in 0..R {
                        all[r][j] = one[r][0];
                    }
                    j += 1;
                }
                for r in 0..R {
                    *sums[r].as_mut_ptr().add(column).cast::<[f32; TILE]>() = S::sum4(all[r]);
                }
            }
            column += TILE;
        }
    }

    /// What to bring near meanwhile.
    #[inline(always)]
    fn ahead<S: Simd, const N: usize>(&self, tile: &Tile) -> Ahead {
        let (size, k) = (size_of::<W>(), self.k);
        let from = |element: usize| self.weight.as_ptr().wrapping_add(element).cast::<u8>();
        match (tile.passes, tile.ahead) {
            (1, _) => {
                // Whole tiles, since the rows of one are read side by side.
                let distance = DISTANCE.div_ceil((N * k).max(1)) * N * k;
                Ahead {
                    next: from(tile.columns.start * k + distance),
                    step: N * unroll::<N>() * S::LANES * size,
                }
            }
            // Each pass over a group brings its share of the next one near.
            (_, Some(next)) => {
                let share = (GROUP * k * size).div_ceil(tile.passes);
                let steps = GROUP / TILE * k.div_ceil(S::LANES);
                Ahead { next: from(next * k).wrapping_add(tile.pass * share), step: share.div_ceil(steps) }
            }
            _ => Ahead { next: null(), step: 0 },
        }
    }
}

/// Memory to bring near while something else is computed: so many bytes at each step of a product.
struct Ahead {
    next: *const u8,
    step: usize,
}

impl Ahead {
    #[inline(always)]
    fn step<S: Simd>(&mut self) {
        let mut line = 0;
        while line < self.step {
            // SAFETY: a prefetch of any address is harmless.
            unsafe { S::prefetch_second(self.next.wrapping_add(line)) };
            line += LINE;
        }
        self.next = self.next.wrapping_add(self.step);
    }
}

/// Where a step has little to do, the loop itself counts: how often it is unrolled.
const fn unroll<const N: usize>() -> usize {
    if N == 1 { 4 } else { 1 }
}

/// The lanes' sums of x[r] . w[j] over rows of k.
#[inline(always)]
unsafe fn products<S: Simd, W: Widen, const R: usize, const N: usize, const AHEAD: bool>(
    x: *const f32,
    w: *const W,
    k: usize,
    ahead: &mut Ahead,
) -> [[S::V; N]; R] {
    // SAFETY: the caller's rows are k long.
    unsafe {
        let mut sums = [[S::splat(0.0); N]; R];
        let mut i = 0;
        while i + unroll::<N>() * S::LANES <= k {
            if AHEAD {
                ahead.step::<S>();
            }
            for _ in 0..unroll::<N>() {
                let mut wide = [S::splat(0.0); N];
                for j in 0..N {
                    wide[j] = W::load::<S>(w.add(j * k + i));
                }
                for r in 0..R {
                    let v = S::load(x.add(r * k + i));
                    for j in 0..N {
                        sums[r][j] = S::fma(v, wide[j], sums[r][j]);
                    }
                }
                i += S::LANES;
            }
        }
        while i < k {
            let n = S::LANES.min(k - i);
            let mut wide = [S::splat(0.0); N];
            for j in 0..N {
                wide[j] = W::load_n::<S>(w.add(j * k + i), n);
            }
            for r in 0..R {
                let v = S::load_n(x.add(r * k + i), n);
                for j in 0..N {
                    sums[r][j] = S::fma(v, wide[j], sums[r][j]);
                }
            }
            i += n;
        }
        sums
    }
}
