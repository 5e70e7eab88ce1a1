//! Products with weights in bytes. Each row of x is rounded to 16-bit integers with a scale of its own (a
//! thousandth of what rounding the weights costs), products are summed exactly, and the scales come last.

// Tiles are arrays of vectors: loops by index unroll, and read as the sums they are.
#![allow(clippy::needless_range_loop)]

use super::ahead::{Ahead, NEAR, fetch};
use super::block::{COLUMNS, Products, TILE, Tile};
use crate::backend::cpu::simd::{Kernel, Simd};
use std::ops::Range;

/// The largest rounded value of x.
const LARGEST: f32 = 32767.0;
/// Rows of rounded x are filled up with zeros to a multiple of the widest step.
const FILL: usize = 32;
/// Bytes of weights to bring near before they are read.
const DISTANCE: usize = 12 << 10;
/// Steps of two products a lane whose sum fits in 32 bits: 2 * 256 * 32767 * 127 < 2^31.
const EXACT: usize = 256;

/// Elements of a row of rounded x.
pub fn filled(k: usize) -> usize {
    k.next_multiple_of(FILL)
}

/// Rounds a row of x. `to` has [`filled`] elements; gives what one of its units is worth, NaN where x is not
/// finite.
pub struct Round<'a> {
    pub x: &'a [f32],
    pub to: &'a mut [i16],
}

impl Kernel for Round<'_> {
    type Output = f32;
    #[inline(always)]
    fn run<S: Simd>(self) -> f32 {
        let k = self.x.len();
        // SAFETY: `first + n <= k`, and `to` is as long, filled up to a multiple of every level's vector.
        unsafe {
            let (mut largest, mut wrong) = (S::splat(0.0), S::splat(0.0));
            for first in (0..k).step_by(S::LANES) {
                let v = S::load_n(self.x.as_ptr().add(first), S::LANES.min(k - first));
                largest = S::max(largest, S::abs(v));
                // 0 for a finite number, NaN for any other.
                wrong = S::fma(v, S::splat(0.0), wrong);
            }
            let largest = S::max_lane(largest);
            let wrong = S::sum(wrong);
            let scale = if largest > 0.0 && largest.is_finite() { LARGEST / largest } else { 0.0 };
            // A row that is almost nothing overflows the scale; it is nothing then.
            let scale = if scale.is_finite() { scale } else { 0.0 };
            for first in (0..self.to.len()).step_by(S::LANES) {
                let n = S::LANES.min(k.saturating_sub(first));
                let v = S::load_n(self.x.as_ptr().add(first.min(k)), n);
                let v = S::round(S::mul(v, S::splat(scale)));
                // A NaN becomes a number here, and NaN again by the scale.
                S::store_i16(
                    self.to.as_mut_ptr().add(first),
                    S::max(S::splat(-LARGEST), S::min(v, S::splat(LARGEST))),
                );
            }
            if scale == 0.0 { wrong } else { largest / LARGEST + wrong }
        }
    }
}

/// Products with bytes.
#[derive(Clone, Copy)]
pub struct Bytes<'a> {
    pub k: usize,
    /// Rows of [`filled`] elements.
    pub x: &'a [i16],
    /// What a unit of each row is worth.
    pub unit: &'a [f32],
    /// Rows of k, one an output.
    pub weight: &'a [i8],
    /// What a unit of each output is worth.
    pub scale: &'a [f32],
}

impl Products for Bytes<'_> {
    fn part(&self, rows: Range<usize>, columns: Range<usize>) -> Self {
        let (k, wide) = (self.k, filled(self.k));
        Bytes {
            k,
            x: &self.x[rows.start * wide..rows.end * wide],
            unit: &self.unit[rows],
            weight: &self.weight[columns.start * k..columns.end * k],
            scale: &self.scale[columns],
        }
    }

    fn weights_of(&self, column: usize) -> *const u8 {
        self.weight.as_ptr().wrapping_add(column * self.k).cast()
    }

    #[inline(always)]
    unsafe fn fetch<S: Simd>(&self) {
        // SAFETY: the caller's.
        unsafe {
            fetch::<S, i16>(self.x, NEAR);
            fetch::<S, i8>(self.weight, DISTANCE);
        }
    }

    #[inline(always)]
    unsafe fn rows_of<S: Simd, const R: usize>(&self, tile: &Tile, sums: &mut [[f32; COLUMNS]]) {
        // SAFETY: the caller's.
        unsafe {
            // As with floats.
            if tile.passes > 1 || R > 2 || R * self.k * size_of::<i16>() > NEAR {
                self.by::<S, R, TILE>(tile, sums);
            } else {
                self.by::<S, R, 1>(tile, sums);
            }
        }
    }
}

impl Bytes<'_> {
    /// N rows of weights at a time. Sums are exact, so their order is of no matter until lanes become f32, of
    /// which each holds the same products whatever R and N are.
    #[inline(always)]
    unsafe fn by<S: Simd, const R: usize, const N: usize>(&self, tile: &Tile, sums: &mut [[f32; COLUMNS]]) {
        let (k, wide) = (self.k, filled(self.k));
        let step = N * unroll::<N>() * 2 * S::LANES;
        let mut ahead = Ahead::new(tile, self.weight.as_ptr().cast(), k, [N, step, DISTANCE]);
        let mut column = tile.columns.start;
        while column < tile.columns.end {
            // SAFETY: the tile's rows and columns are there.
            unsafe {
                let x = self.x.as_ptr().add(tile.row * wide);
                let w = self.weight.as_ptr().add(column * k);
                let outputs = TILE.min(tile.columns.end - column);
                let mut all = [[S::splat(0.0); TILE]; R];
                let mut j = 0;
                while j + N <= outputs {
                    let some = products::<S, R, N>(x, w.add(j * k), k, &mut ahead);
                    for r in 0..R {
                        for i in 0..N {
                            all[r][j + i] = some[r][i];
                        }
                    }
                    j += N;
                }
                while j < outputs {
                    let one = products::<S, R, 1>(x, w.add(j * k), k, &mut ahead);
                    for r in 0..R {
                        all[r][j] = one[r][0];
                    }
                    j += 1;
                }
                for r in 0..R {
                    let exact = S::sum4(all[r]);
                    for j in 0..outputs {
                        let worth = *self.unit.get_unchecked(tile.row + r);
                        sums[r][column + j] = exact[j] * worth * *self.scale.get_unchecked(column + j);
                    }
                }
            }
            column += TILE;
        }
    }
}

/// How often a step is unrolled, each with sums of its own, so that they need not wait for each other.
const fn unroll<const N: usize>() -> usize {
    if N < TILE { 2 } else { 1 }
}

/// The lanes' sums of x[r] . w[j].
#[inline(always)]
unsafe fn products<S: Simd, const R: usize, const N: usize>(
    x: *const i16,
    w: *const i8,
    k: usize,
    ahead: &mut Ahead,
) -> [[S::V; N]; R] {
    let (wide, step) = (filled(k), 2 * S::LANES);
    // SAFETY: the caller's rows of x have `wide` elements and those of w have k; the last bytes of a row are copied
    // before a whole step of them is read.
    unsafe {
        let mut sums = [[S::splat(0.0); N]; R];
        let mut i = 0;
        while i < k {
            let end = k.min(i + EXACT * step);
            let mut exact = [[[S::int_zero(); 2]; N]; R];
            while i + unroll::<N>() * step <= end {
                ahead.step::<S>();
                for u in 0..unroll::<N>() {
                    for j in 0..N {
                        let bytes = S::widen_i8(w.add(j * k + i));
                        for r in 0..R {
                            exact[r][j][u] = S::dot_i16(exact[r][j][u], x.add(r * wide + i), bytes);
                        }
                    }
                    i += step;
                }
            }
            while i < end {
                let n = step.min(end - i);
                for j in 0..N {
                    let mut last = [0i8; FILL];
                    std::ptr::copy_nonoverlapping(w.add(j * k + i), last.as_mut_ptr(), n);
                    let bytes = S::widen_i8(last.as_ptr());
                    for r in 0..R {
                        exact[r][j][0] = S::dot_i16(exact[r][j][0], x.add(r * wide + i), bytes);
                    }
                }
                i += n;
            }
            for r in 0..R {
                for j in 0..N {
                    let [a, b] = exact[r][j];
                    sums[r][j] = S::add(sums[r][j], S::int_to_float(S::int_add(a, b)));
                }
            }
        }
        sums
    }
}
