//! The register tile: some rows of pixels times one panel of output channels.

use crate::backend::cpu::simd::Simd;

/// Output channels of a panel. Packed weights are panels of this width on every level of instructions.
pub const PANEL: usize = 32;

/// The terms of each sum: `c` channels at each of r x s taps, `row` and `col` floats apart.
#[derive(Clone, Copy)]
pub struct Taps {
    pub r: usize,
    pub s: usize,
    pub c: usize,
    pub row: usize,
    pub col: usize,
}

impl Taps {
    /// A plain product: one tap.
    pub fn one(c: usize) -> Taps {
        Taps { r: 1, s: 1, c, row: 0, col: 0 }
    }
}

/// Takes finished sums.
pub trait Sink<S: Simd> {
    /// The `v.len() * LANES` sums of row `row` from column `column` of the panel on.
    ///
    /// # Safety
    /// That of [`Simd`].
    unsafe fn put(&mut self, row: usize, column: usize, v: &[S::V]);
}

/// Keeps a panel's products as they are.
pub struct Keep {
    pub to: *mut f32,
    /// Floats from a row to the next.
    pub width: usize,
}

impl<S: Simd> Sink<S> for Keep {
    #[inline(always)]
    unsafe fn put(&mut self, row: usize, column: usize, v: &[S::V]) {
        for (i, &v) in v.iter().enumerate() {
            // SAFETY: the row has `width` floats, a multiple of PANEL.
            unsafe { S::store(self.to.add(row * self.width + column + i * S::LANES), v) };
        }
    }
}

/// The products of `rows` rows, the first channel of the first tap of each at `at(row)`, with a panel of
/// weights \[taps\]\[c\]\[PANEL\]. Each sum runs over the taps and channels in order, whatever the tile.
///
/// # Safety
/// That of [`Simd`]; `at(row)` must be valid for all taps, `b` for the panel.
#[inline(always)]
pub unsafe fn panel<S: Simd>(
    rows: usize,
    taps: &Taps,
    at: impl Fn(usize) -> *const f32,
    b: *const f32,
    sink: &mut impl Sink<S>,
) {
    // SAFETY: the caller's.
    unsafe {
        match (S::LANES, S::REGISTERS) {
            (16, _) => sweep::<S, 8, 2>(rows, taps, at, b, sink),
            (8, 16) => sweep::<S, 6, 2>(rows, taps, at, b, sink),
            (4, _) => sweep::<S, 6, 4>(rows, taps, at, b, sink),
            _ => sweep::<S, 2, 2>(rows, taps, at, b, sink),
        }
    }
}

#[inline(always)]
unsafe fn sweep<S: Simd, const M: usize, const N: usize>(
    rows: usize,
    taps: &Taps,
    at: impl Fn(usize) -> *const f32,
    b: *const f32,
    sink: &mut impl Sink<S>,
) {
    for column in (0..PANEL).step_by(N * S::LANES) {
        let mut row = 0;
        while row < rows {
            // SAFETY: the caller's; `column` lies inside the panel.
            row += unsafe {
                let b = b.add(column);
                match rows - row {
                    left if left >= M => tile::<S, M, N>(row, column, taps, &at, b, sink),
                    4.. if M > 4 => tile::<S, 4, N>(row, column, taps, &at, b, sink),
                    2.. if M > 2 => tile::<S, 2, N>(row, column, taps, &at, b, sink),
                    _ => tile::<S, 1, N>(row, column, taps, &at, b, sink),
                }
            };
        }
    }
}

#[inline(always)]
unsafe fn tile<S: Simd, const M: usize, const N: usize>(
    row: usize,
    column: usize,
    taps: &Taps,
    at: &impl Fn(usize) -> *const f32,
    b: *const f32,
    sink: &mut impl Sink<S>,
) -> usize {
    let mut a = [std::ptr::null(); M];
    for (m, a) in a.iter_mut().enumerate() {
        *a = at(row + m);
    }
    // SAFETY: the caller's.
    unsafe {
        let acc = sums::<S, M, N>(taps, a, b);
        for (m, v) in acc.iter().enumerate() {
            sink.put(row + m, column, v);
        }
    }
    M
}

#[inline(always)]
unsafe fn sums<S: Simd, const M: usize, const N: usize>(
    taps: &Taps,
    a: [*const f32; M],
    mut b: *const f32,
) -> [[S::V; N]; M] {
    // SAFETY: the caller's.
    unsafe {
        let mut acc = [[S::splat(0.0); N]; M];
        for y in 0..taps.r {
            for x in 0..taps.s {
                let first = y * taps.row + x * taps.col;
                for i in first..first + taps.c {
                    let mut w = [S::splat(0.0); N];
                    for (n, w) in w.iter_mut().enumerate() {
                        *w = S::load(b.add(n * S::LANES));
                    }
                    for m in 0..M {
                        let v = S::splat(*a[m].add(i));
                        for n in 0..N {
                            acc[m][n] = S::fma(v, w[n], acc[m][n]);
                        }
                    }
                    // The next tap's or product's weights, while this tile computes.
                    for line in (0..PANEL).step_by(16) {
                        S::prefetch_second(b.wrapping_add(taps.c * PANEL + line).cast());
                    }
                    b = b.add(PANEL);
                }
            }
        }
        acc
    }
}
