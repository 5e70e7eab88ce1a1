// Tiles are arrays of vectors: loops by index unroll, and read as the sums they are.
#![allow(clippy::needless_range_loop)]

use super::ahead::{Ahead, NEAR, fetch};
use super::block::{COLUMNS, Products, TILE, Tile};
use crate::backend::cpu::simd::{Simd, Widen};
use std::ops::Range;

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

    fn weights_of(&self, column: usize) -> *const u8 {
        self.weight.as_ptr().wrapping_add(column * self.k).cast()
    }

    #[inline(always)]
    unsafe fn fetch<S: Simd>(&self) {
        // SAFETY: the caller's.
        unsafe {
            fetch::<S, f32>(self.x, NEAR);
            fetch::<S, W>(self.weight, distance::<W>());
        }
    }

    #[inline(always)]
    unsafe fn rows_of<S: Simd, const R: usize>(&self, tile: &Tile, sums: &mut [[f32; COLUMNS]]) {
        // SAFETY: the caller's.
        unsafe {
            // One row of weights after the other is one run of memory, which is what it gives fastest. Where x does
            // not fit beside it in the first cache, or the sums would wait for each other, rows share x. (Measured
            // with two rows of x, at 36 and at 64 GB/s.)
            let x = R * self.k * size_of::<f32>();
            if tile.passes > 1 || x > NEAR || R > 2 {
                self.by::<S, R, TILE>(tile, sums);
            } else if size_of::<W>() < size_of::<f32>() {
                self.by::<S, R, 2>(tile, sums);
            } else {
                self.by::<S, R, 1>(tile, sums);
            }
        }
    }
}

/// Bytes of weights to bring near before they are read.
const fn distance<W>() -> usize {
    if size_of::<W>() < size_of::<f32>() { 8 << 10 } else { 2 << 10 }
}

impl<W: Widen> Float<'_, W> {
    /// N rows of weights at a time.
    ///
    /// Lane l of a product's vector sums the elements k = l, l + LANES, ... in turn, then the lanes are summed by
    /// `sum4`: the order is the same whatever R and N are.
    #[inline(always)]
    unsafe fn by<S: Simd, const R: usize, const N: usize>(&self, tile: &Tile, sums: &mut [[f32; COLUMNS]]) {
        let k = self.k;
        let step = N * unroll::<N>() * S::LANES * size_of::<W>();
        let mut ahead =
            Ahead::new(tile, self.weight.as_ptr().cast(), k * size_of::<W>(), [N, step, distance::<W>()]);
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
                    let some = products::<S, W, R, N>(x, w.add(j * k), k, &mut ahead);
                    for r in 0..R {
                        for i in 0..N {
                            all[r][j + i] = some[r][i];
                        }
                    }
                    j += N;
                }
                while j < wide {
                    let one = products::<S, W, R, 1>(x, w.add(j * k), k, &mut ahead);
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
}

/// Where a step has little to do, the loop itself counts: how often it is unrolled.
const fn unroll<const N: usize>() -> usize {
    if N == 1 { 4 } else { 1 }
}

/// The lanes' sums of x[r] . w[j] over rows of k.
#[inline(always)]
unsafe fn products<S: Simd, W: Widen, const R: usize, const N: usize>(
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
            ahead.step::<S>();
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
