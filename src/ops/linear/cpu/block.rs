// Tiles are arrays of vectors: loops by index unroll, and read as the sums they are.
#![allow(clippy::needless_range_loop)]

use super::super::Activation;
use crate::backend::cpu::Parts;
use crate::backend::cpu::simd::{Kernel, Simd, Widen, math};
use std::mem::MaybeUninit;

/// Outputs a block.
pub const COLUMNS: usize = 64;
/// Outputs of a register tile.
const TILE: usize = 4;
/// The most rows of a register tile.
const TALL: usize = 6;
/// Elements of k that a row tile passes at once: six rows of it fit in the first cache.
const DEPTH: usize = 512;

/// Rows of a register tile: as many as the level has registers for TILE sums each.
const fn tall<S: Simd>() -> usize {
    if S::LANES == 8 { 3 } else { TALL }
}

/// A block of the product, with what follows it.
pub struct Block<'a, W> {
    pub activation: Activation,
    pub k: usize,
    /// `rows` rows of k.
    pub x: &'a [f32],
    /// `columns` rows of k.
    pub weight: &'a [W],
    /// `columns` of them.
    pub bias: Option<&'a [f32]>,
    /// All of it, laid out as `out`.
    pub residual: Option<&'a [f32]>,
    pub out: &'a Parts<'a, f32>,
    /// Outputs of a row of `out`.
    pub n: usize,
    /// Where in `out` this block begins.
    pub first: usize,
    pub rows: usize,
    pub columns: usize,
}

impl<W: Widen> Kernel for Block<'_, W> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self) {
        let mut row = 0;
        while row < self.rows {
            let rows = tall::<S>().min(self.rows - row);
            let mut sums = [[0.0; COLUMNS]; TALL];
            // SAFETY: rows row.. and all columns lie inside x and weight. Each level is in a kernel it dispatched.
            unsafe {
                match rows {
                    1 => self.rows_of::<S, 1>(row, &mut sums),
                    2 => self.rows_of::<S, 2>(row, &mut sums),
                    3 => self.rows_of::<S, 3>(row, &mut sums),
                    4 if tall::<S>() > 3 => self.rows_of::<S, 4>(row, &mut sums),
                    5 if tall::<S>() > 3 => self.rows_of::<S, 5>(row, &mut sums),
                    _ if tall::<S>() > 3 => self.rows_of::<S, 6>(row, &mut sums),
                    _ => unreachable!(),
                }
            }
            for (r, sums) in sums.iter_mut().enumerate().take(rows) {
                self.finish::<S>(row + r, sums);
            }
            row += rows;
        }
    }
}

impl<W: Widen> Block<'_, W> {
    /// The products of R rows with all columns.
    ///
    /// Lane l of a product's vector sums the elements k = l, l + LANES, ... in turn, then the lanes are summed
    /// by `sum4`: the order is the same whatever R is and however k is cut.
    #[inline(always)]
    unsafe fn rows_of<S: Simd, const R: usize>(&self, row: usize, sums: &mut [[f32; COLUMNS]; TALL]) {
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
                while column < self.columns {
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
                    let wide = TILE.min(self.columns - column);
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

    /// Bias, activation and residual over a row's sums, and the store.
    #[inline(always)]
    fn finish<S: Simd>(&self, row: usize, sums: &mut [f32; COLUMNS]) {
        let at = self.first + row * self.n;
        // SAFETY: blocks are disjoint, and so are the rows of a block.
        let out = unsafe { self.out.slice(at..at + self.columns) };
        let residual = self.residual.map(|r| &r[at..at + self.columns]);
        for first in (0..self.columns).step_by(S::LANES) {
            let n = S::LANES.min(self.columns - first);
            // SAFETY: `first + n <= columns <= COLUMNS`, the lengths of all of them.
            unsafe {
                let mut v = S::load_n(sums.as_ptr().add(first), n);
                if let Some(bias) = self.bias {
                    v = S::add(v, S::load_n(bias.as_ptr().add(first), n));
                }
                v = match self.activation {
                    Activation::None => v,
                    // NaN is the second operand, so it stays.
                    Activation::Relu => S::max(S::splat(0.0), v),
                    Activation::Silu => math::silu::<S>(v),
                    Activation::Gelu => math::gelu::<S>(v),
                    Activation::QuickGelu => S::mul(v, math::sigmoid::<S>(S::mul(v, S::splat(1.702)))),
                };
                if let Some(residual) = residual {
                    v = S::add(v, S::load_n(residual.as_ptr().add(first), n));
                }
                S::store_n(out.as_mut_ptr().add(first), v, n);
            }
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
