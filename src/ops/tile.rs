//! What convolutions and layers spend their time in on a processor: the register tile, some rows of pixels or tokens
//! times one panel of output channels.

use crate::backend::cpu::Values;
use crate::backend::cpu::simd::{Lanes, Simd};
use half::bf16;

/// Output channels of a panel. Packed weights are panels of this width on every level of instructions.
pub const PANEL: usize = 32;

/// The terms of each sum: `c` channels at each of r x s taps, `row` and `col` elements apart.
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

/// What is multiplied. Sums are f32 in any case.
pub trait Operand: Lanes {
    /// Channels of a step: so many of a panel's weights stand together.
    const CHANNELS: usize;
    /// Elements of a cache line.
    const LINE: usize = 64 / size_of::<Self>();

    /// Rounded to the type.
    fn narrow(x: f32) -> Self;

    /// The values where they are of this type.
    fn of(values: Values<'_>) -> Option<&[Self]>;

    /// A panel of f32, whole steps of rows of PANEL, in this type: as it is, or in `to`, which is as long.
    fn narrowed<'a, S: Simd>(panel: &'a [f32], to: &'a mut [Self]) -> &'a [Self];

    /// Adds the products of M rows' channels from `at` on with a step's weights.
    ///
    /// # Safety
    /// That of [`Simd`].
    unsafe fn step<S: Simd, const M: usize, const N: usize>(
        acc: &mut [[S::V; N]; M],
        a: &[*const Self; M],
        at: usize,
        b: *const Self,
    );
}

impl Operand for f32 {
    const CHANNELS: usize = 1;

    fn narrow(x: f32) -> f32 {
        x
    }

    fn of(values: Values<'_>) -> Option<&[f32]> {
        match values {
            Values::F32(all) => Some(all),
            Values::Bf16(_) => None,
        }
    }

    #[inline(always)]
    fn narrowed<'a, S: Simd>(panel: &'a [f32], _: &'a mut [f32]) -> &'a [f32] {
        panel
    }

    #[inline(always)]
    unsafe fn step<S: Simd, const M: usize, const N: usize>(
        acc: &mut [[S::V; N]; M],
        a: &[*const f32; M],
        at: usize,
        b: *const f32,
    ) {
        // SAFETY: the caller's.
        unsafe {
            let mut w = [S::splat(0.0); N];
            for (n, w) in w.iter_mut().enumerate() {
                *w = S::load(b.add(n * S::LANES));
            }
            for (acc, a) in acc.iter_mut().zip(a) {
                let v = S::splat(*a.add(at));
                for (acc, &w) in acc.iter_mut().zip(&w) {
                    *acc = S::fma(v, w, *acc);
                }
            }
        }
    }
}

impl Operand for bf16 {
    const CHANNELS: usize = 2;

    fn narrow(x: f32) -> bf16 {
        bf16::from_f32(x)
    }

    fn of(values: Values<'_>) -> Option<&[bf16]> {
        match values {
            Values::F32(_) => None,
            Values::Bf16(all) => Some(all),
        }
    }

    #[inline(always)]
    fn narrowed<'a, S: Simd>(panel: &'a [f32], to: &'a mut [bf16]) -> &'a [bf16] {
        let to = &mut to[..panel.len()];
        for (rows, to) in panel.chunks_exact(2 * PANEL).zip(to.chunks_exact_mut(2 * PANEL)) {
            let mut each = [bf16::ZERO; 2 * PANEL];
            for first in (0..2 * PANEL).step_by(S::LANES) {
                // SAFETY: PANEL is whole vectors.
                unsafe {
                    let v = S::load(rows.as_ptr().add(first));
                    <bf16 as Lanes>::store::<S>(each.as_mut_ptr().add(first), v);
                }
            }
            let (upper, lower) = each.split_at(PANEL);
            for (pair, (a, b)) in to.chunks_exact_mut(2).zip(upper.iter().zip(lower)) {
                pair.copy_from_slice(&[*a, *b]);
            }
        }
        to
    }

    #[inline(always)]
    unsafe fn step<S: Simd, const M: usize, const N: usize>(
        acc: &mut [[S::V; N]; M],
        a: &[*const bf16; M],
        at: usize,
        b: *const bf16,
    ) {
        // SAFETY: the caller's; a pair of channels is read as the 32 bits that it is.
        unsafe {
            for (acc, a) in acc.iter_mut().zip(a) {
                let pair = a.add(at).cast::<u32>().read_unaligned();
                for (n, acc) in acc.iter_mut().enumerate() {
                    *acc = S::dot_bf16_pair(*acc, pair, b.add(n * S::LANES * 2).cast());
                }
            }
        }
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

/// Adds a panel's products to what is there.
pub struct Add {
    pub to: *mut f32,
    /// Floats from a row to the next.
    pub width: usize,
}

impl<S: Simd> Sink<S> for Add {
    #[inline(always)]
    unsafe fn put(&mut self, row: usize, column: usize, v: &[S::V]) {
        for (i, &v) in v.iter().enumerate() {
            // SAFETY: the row has `width` floats, a multiple of PANEL.
            unsafe {
                let to = self.to.add(row * self.width + column + i * S::LANES);
                S::store(to, S::add(S::load(to), v));
            }
        }
    }
}

/// The products of `rows` rows, the first channel of the first tap of each at `at(row)`, with a panel of
/// weights \[taps\]\[c / CHANNELS\]\[PANEL\]\[CHANNELS\]. Each sum runs over the taps and channels in order, whatever
/// the tile.
///
/// # Safety
/// That of [`Simd`]; `at(row)` must be valid for all taps, `b` for the panel; `taps.c` is whole steps.
#[inline(always)]
pub unsafe fn panel<S: Simd, O: Operand>(
    rows: usize,
    taps: &Taps,
    at: impl Fn(usize) -> *const O,
    b: *const O,
    sink: &mut impl Sink<S>,
) {
    // SAFETY: the caller's.
    unsafe {
        match (S::LANES, S::REGISTERS) {
            (16, _) => sweep::<S, O, 8, 2>(rows, taps, at, b, sink),
            (8, 16) => sweep::<S, O, 6, 2>(rows, taps, at, b, sink),
            (4, _) => sweep::<S, O, 6, 4>(rows, taps, at, b, sink),
            _ => sweep::<S, O, 2, 2>(rows, taps, at, b, sink),
        }
    }
}

#[inline(always)]
unsafe fn sweep<S: Simd, O: Operand, const M: usize, const N: usize>(
    rows: usize,
    taps: &Taps,
    at: impl Fn(usize) -> *const O,
    b: *const O,
    sink: &mut impl Sink<S>,
) {
    for column in (0..PANEL).step_by(N * S::LANES) {
        let mut row = 0;
        while row < rows {
            // SAFETY: the caller's; `column` lies inside the panel.
            row += unsafe {
                let b = b.add(column * O::CHANNELS);
                match rows - row {
                    left if left >= M => tile::<S, O, M, N>(row, column, taps, &at, b, sink),
                    4.. if M > 4 => tile::<S, O, 4, N>(row, column, taps, &at, b, sink),
                    2.. if M > 2 => tile::<S, O, 2, N>(row, column, taps, &at, b, sink),
                    _ => tile::<S, O, 1, N>(row, column, taps, &at, b, sink),
                }
            };
        }
    }
}

#[inline(always)]
unsafe fn tile<S: Simd, O: Operand, const M: usize, const N: usize>(
    row: usize,
    column: usize,
    taps: &Taps,
    at: &impl Fn(usize) -> *const O,
    b: *const O,
    sink: &mut impl Sink<S>,
) -> usize {
    let mut a = [std::ptr::null(); M];
    for (m, a) in a.iter_mut().enumerate() {
        *a = at(row + m);
    }
    // SAFETY: the caller's.
    unsafe {
        let acc = sums::<S, O, M, N>(taps, a, b);
        for (m, v) in acc.iter().enumerate() {
            sink.put(row + m, column, v);
        }
    }
    M
}

#[inline(always)]
unsafe fn sums<S: Simd, O: Operand, const M: usize, const N: usize>(
    taps: &Taps,
    a: [*const O; M],
    mut b: *const O,
) -> [[S::V; N]; M] {
    // SAFETY: the caller's.
    unsafe {
        let mut acc = [[S::splat(0.0); N]; M];
        for y in 0..taps.r {
            for x in 0..taps.s {
                let first = y * taps.row + x * taps.col;
                for at in (first..first + taps.c).step_by(O::CHANNELS) {
                    O::step::<S, M, N>(&mut acc, &a, at, b);
                    // The next tap's or product's weights, while this tile computes.
                    for line in (0..PANEL * O::CHANNELS).step_by(O::LINE) {
                        S::prefetch_second(b.wrapping_add(taps.c * PANEL + line).cast());
                    }
                    b = b.add(PANEL * O::CHANNELS);
                }
            }
        }
        acc
    }
}

/// The first `count` elements of PANEL rows, `step` apart, to as many rows of PANEL.
#[inline(always)]
pub fn turn<S: Simd>(from: &[f32], step: usize, count: usize, to: &mut [f32]) {
    assert!(from.len() >= (PANEL - 1) * step + count && to.len() >= count * PANEL);
    let whole = count - count % S::LANES;
    for column in (0..whole).step_by(S::LANES) {
        for row in (0..PANEL).step_by(S::LANES) {
            // SAFETY: PANEL is whole vectors, and the slices are as long as asserted.
            unsafe {
                let from = from.as_ptr().add(row * step + column);
                S::turn(from, step, to.as_mut_ptr().add(column * PANEL + row), PANEL);
            }
        }
    }
    for column in whole..count {
        for row in 0..PANEL {
            to[column * PANEL + row] = from[row * step + column];
        }
    }
}
