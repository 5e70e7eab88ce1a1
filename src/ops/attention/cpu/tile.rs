//! The two matrix products of a block, by tiles of sums that stay in registers.

use super::{LINE, QUERIES};
use crate::backend::cpu::simd::Simd;

/// From this width on a block's rows come from beyond the L2 cache once there are some thousand keys, and what is
/// read next is asked for beforehand: 1.2 times as fast at 4096 keys of 512 channels.
const WIDE: usize = 256;

/// Rows of a tile two vectors wide: as many as leave registers for the operands.
#[inline(always)]
fn rows<S: Simd>() -> usize {
    match S::REGISTERS {
        32.. => 8,
        16.. => 4,
        _ => 2,
    }
}

/// scores[key][query] = k[key] . q[query] for `keys` rows of k and the first `columns` queries. Rows of v are read
/// after this; they are only brought near.
///
/// # Safety
/// That of [`Simd`]; `k` and `v` have `keys` rows of `width`, `q` has `width` lines and `scores` has `keys` of
/// `QUERIES`.
#[inline(always)]
#[allow(clippy::too_many_arguments)]
pub unsafe fn scores<S: Simd>(
    q: &[f32],
    k: &[f32],
    v: &[f32],
    stride: usize,
    width: usize,
    keys: usize,
    columns: usize,
    scores: &mut [f32],
) {
    let (q, k, v, scores) = (q.as_ptr(), k.as_ptr(), v.as_ptr(), scores.as_mut_ptr());
    let mut key = 0;
    // SAFETY: the caller's.
    unsafe {
        while key < keys {
            let (k, v, scores) = (k.add(key * stride), v.add(key * stride), scores.add(key * QUERIES));
            let rows = if keys - key >= rows::<S>() { rows::<S>() } else { 1 };
            let mut column = 0;
            while column < columns {
                let (q, scores) = (q.add(column), scores.add(column));
                let pair = columns - column >= 2 * S::LANES;
                match (rows, pair) {
                    (8, true) => score_tile::<S, 8, 2>(q, k, v, stride, width, scores),
                    (8, false) => score_tile::<S, 8, 1>(q, k, v, stride, width, scores),
                    (4, true) => score_tile::<S, 4, 2>(q, k, v, stride, width, scores),
                    (4, false) => score_tile::<S, 4, 1>(q, k, v, stride, width, scores),
                    (2, true) => score_tile::<S, 2, 2>(q, k, v, stride, width, scores),
                    (2, false) => score_tile::<S, 2, 1>(q, k, v, stride, width, scores),
                    (_, true) => score_tile::<S, 1, 2>(q, k, v, stride, width, scores),
                    (_, false) => score_tile::<S, 1, 1>(q, k, v, stride, width, scores),
                }
                column += if pair { 2 * S::LANES } else { S::LANES };
            }
            key += rows;
        }
    }
}

#[inline(always)]
unsafe fn score_tile<S: Simd, const M: usize, const N: usize>(
    q: *const f32,
    k: *const f32,
    v: *const f32,
    stride: usize,
    width: usize,
    scores: *mut f32,
) {
    // SAFETY: the caller's.
    unsafe {
        let mut sums = [[S::splat(0.0); N]; M];
        for line in (0..width).step_by(LINE) {
            if width >= WIDE {
                for m in 0..M {
                    S::prefetch(v.add(m * stride + line).cast());
                    S::prefetch(k.wrapping_add((m + M) * stride + line).cast());
                }
            }
            for channel in line..width.min(line + LINE) {
                let q: [S::V; N] = std::array::from_fn(|n| S::load(q.add(channel * QUERIES + n * S::LANES)));
                for (m, sums) in sums.iter_mut().enumerate() {
                    let k = S::splat(*k.add(m * stride + channel));
                    for n in 0..N {
                        sums[n] = S::fma(k, q[n], sums[n]);
                    }
                }
            }
        }
        for (m, sums) in sums.iter().enumerate() {
            for (n, &sum) in sums.iter().enumerate() {
                S::store(scores.add(m * QUERIES + n * S::LANES), sum);
            }
        }
    }
}

/// sum[query] = shrink[query] * sum[query] + the weighted `keys` rows of v, for the first `columns` queries;
/// without `shrink` the sum begins at zero. Lines of `sum` are `width` rounded up to whole lines.
///
/// # Safety
/// That of [`Simd`]; `v` has `keys` rows of `width`, `weights` has `keys` lines of `QUERIES` and `sum` has
/// `QUERIES` lines.
#[inline(always)]
#[allow(clippy::too_many_arguments)]
pub unsafe fn weigh<S: Simd>(
    weights: &[f32],
    v: &[f32],
    stride: usize,
    width: usize,
    keys: usize,
    shrink: Option<&[f32]>,
    sum: &mut [f32],
    columns: usize,
) {
    let line = width.next_multiple_of(LINE);
    let (weights, v, sum) = (weights.as_ptr(), v.as_ptr(), sum.as_mut_ptr());
    let shrink = shrink.map_or(std::ptr::null(), <[f32]>::as_ptr);
    let mut channel = 0;
    // SAFETY: the caller's; `columns` is a multiple of LANES, so of 4, and `QUERIES` one of 8.
    unsafe {
        while channel < width {
            let left = width - channel;
            let (v, sum) = (v.add(channel), sum.add(channel));
            for query in (0..columns).step_by(rows::<S>()) {
                let (p, sum) = (weights.add(query), sum.add(query * line));
                let shrink = if shrink.is_null() { shrink } else { shrink.add(query) };
                let lanes = left.min(S::LANES);
                match (rows::<S>(), left >= 2 * S::LANES, left >= S::LANES) {
                    (8, true, _) => sum_tile::<S, 8, 2, true>(p, v, stride, lanes, keys, shrink, sum, line),
                    (8, _, true) => sum_tile::<S, 8, 1, true>(p, v, stride, lanes, keys, shrink, sum, line),
                    (8, _, _) => sum_tile::<S, 8, 1, false>(p, v, stride, lanes, keys, shrink, sum, line),
                    (4, true, _) => sum_tile::<S, 4, 2, true>(p, v, stride, lanes, keys, shrink, sum, line),
                    (4, _, true) => sum_tile::<S, 4, 1, true>(p, v, stride, lanes, keys, shrink, sum, line),
                    (4, _, _) => sum_tile::<S, 4, 1, false>(p, v, stride, lanes, keys, shrink, sum, line),
                    (_, true, _) => sum_tile::<S, 2, 2, true>(p, v, stride, lanes, keys, shrink, sum, line),
                    (_, _, true) => sum_tile::<S, 2, 1, true>(p, v, stride, lanes, keys, shrink, sum, line),
                    (_, _, _) => sum_tile::<S, 2, 1, false>(p, v, stride, lanes, keys, shrink, sum, line),
                }
            }
            channel += if left >= 2 * S::LANES { 2 * S::LANES } else { S::LANES };
        }
    }
}

/// `WHOLE`: all lanes of the vectors of v are there, else `lanes` are.
#[inline(always)]
#[allow(clippy::too_many_arguments)]
unsafe fn sum_tile<S: Simd, const M: usize, const N: usize, const WHOLE: bool>(
    weights: *const f32,
    v: *const f32,
    stride: usize,
    lanes: usize,
    keys: usize,
    shrink: *const f32,
    sum: *mut f32,
    line: usize,
) {
    // SAFETY: the caller's.
    unsafe {
        let mut sums = [[S::splat(0.0); N]; M];
        if !shrink.is_null() {
            for (m, sums) in sums.iter_mut().enumerate() {
                let factor = S::splat(*shrink.add(m));
                for (n, s) in sums.iter_mut().enumerate() {
                    *s = S::mul(factor, S::load(sum.add(m * line + n * S::LANES)));
                }
            }
        }
        for key in 0..keys {
            let v: [S::V; N] = std::array::from_fn(|n| {
                let p = v.add(key * stride + n * S::LANES);
                if WHOLE { S::load(p) } else { S::load_n(p, lanes) }
            });
            for (m, sums) in sums.iter_mut().enumerate() {
                let weight = S::splat(*weights.add(key * QUERIES + m));
                for n in 0..N {
                    sums[n] = S::fma(weight, v[n], sums[n]);
                }
            }
        }
        for (m, sums) in sums.iter().enumerate() {
            for (n, &s) in sums.iter().enumerate() {
                S::store(sum.add(m * line + n * S::LANES), s);
            }
        }
    }
}
