// Tiles are arrays of vectors: loops by index unroll, and read as the sums they are.
#![allow(clippy::needless_range_loop)]

use super::block::{COLUMNS, Products, Sums, TILE};
use crate::backend::cpu::simd::{Simd, Widen};
use std::mem::MaybeUninit;
use std::ops::Range;

/// Elements of k that a row tile passes at once: six rows of it fit in the first cache.
const DEPTH: usize = 512;

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

    /// Lane l of a product's vector sums the elements k = l, l + LANES, ... in turn, then the lanes are summed
    /// by `sum4`: the order is the same whatever R is and however k is cut.
    #[inline(always)]
    unsafe fn rows_of<S: Simd, const R: usize>(&self, row: usize, columns: usize, sums: &mut Sums) {
        let mut partial = [[[MaybeUninit::<S::V>::uninit(); TILE]; R]; COLUMNS / TILE];
        let k = self.k;
        let mut from = 0;
        // Once even when k is 0.
        loop {
            let to = if k - from <= DEPTH + DEPTH / 2 { k } else { from + DEPTH };
            // SAFETY: `row + R <= rows`; tiles lie inside the columns or are cut short; `partial` of a tile was
            // written in the round before when `from > 0`.
            unsafe {
                let x = self.x.as_ptr().add(row * k);
                let mut column = 0;
                while column < columns {
                    let tile = &mut partial[column / TILE];
                    let mut acc = [[S::splat(0.0); TILE]; R];
                    if from > 0 {
                        for r in 0..R {
                            for j in 0..TILE {
                                acc[r][j] = tile[r][j].assume_init();
                            }
                        }
                    }
                    let w = self.weight.as_ptr().add(column * k);
                    let wide = TILE.min(columns - column);
                    if wide == TILE {
                        accumulate::<S, W, R, TILE>(x, w, k, from, to, &mut acc);
                    } else {
                        for j in 0..wide {
                            let mut one = [[S::splat(0.0); 1]; R];
                            for r in 0..R {
                                one[r][0] = acc[r][j];
                            }
                            accumulate::<S, W, R, 1>(x, w.add(j * k), k, from, to, &mut one);
                            for r in 0..R {
                                acc[r][j] = one[r][0];
                            }
                        }
                    }
                    if to == k {
                        for r in 0..R {
                            sums[r][column..column + TILE].copy_from_slice(&S::sum4(acc[r]));
                        }
                    } else {
                        for r in 0..R {
                            for j in 0..TILE {
                                tile[r][j].write(acc[r][j]);
                            }
                        }
                    }
                    column += TILE;
                }
            }
            if to == k {
                return;
            }
            from = to;
        }
    }
}

/// acc[r][j] += x[r] . w[j] over elements from..to of rows of k, lane by lane.
#[inline(always)]
unsafe fn accumulate<S: Simd, W: Widen, const R: usize, const N: usize>(
    x: *const f32,
    w: *const W,
    k: usize,
    from: usize,
    to: usize,
    acc: &mut [[S::V; N]; R],
) {
    let mut sums = *acc;
    let mut i = from;
    // SAFETY: the caller's rows are k long and to <= k.
    unsafe {
        while i + S::LANES <= to {
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
        if i < to {
            let mut wide = [S::splat(0.0); N];
            for j in 0..N {
                wide[j] = W::load_n::<S>(w.add(j * k + i), to - i);
            }
            for r in 0..R {
                let v = S::load_n(x.add(r * k + i), to - i);
                for j in 0..N {
                    sums[r][j] = S::fma(v, wide[j], sums[r][j]);
                }
            }
        }
    }
    *acc = sums;
}
