//! What the gradient of a 3x3 filter reads of pictures and of gradients: windows, transformed to F(3x3, 4x4)'s points.

use super::filter_winograd::{A, B};
use crate::backend::cpu::Values;
use crate::backend::cpu::simd::{Lanes, Simd};
use half::bf16;
use std::mem::MaybeUninit;

/// Which of the two.
#[derive(Clone, Copy)]
pub(super) enum Transform {
    Pixels,
    Gradients,
}

/// A window transformed along columns: six rows of N vectors. It is more than the registers hold, so it is memory, which
/// nobody clears or copies.
pub(super) struct Half<V, const N: usize>([[MaybeUninit<V>; N]; 6]);

impl<V: Copy, const N: usize> Half<V, N> {
    #[inline(always)]
    pub fn new() -> Half<V, N> {
        Half([const { [const { MaybeUninit::uninit() }; N] }; 6])
    }

    /// The same vector everywhere.
    #[inline(always)]
    pub fn fill(&mut self, value: V) {
        self.0.as_flattened_mut().iter_mut().for_each(|v| _ = v.write(value));
    }

    /// # Safety
    /// [`Window::columns`] or [`Half::fill`] has written it.
    #[inline(always)]
    pub unsafe fn row(&self, i: usize) -> [V; N] {
        // SAFETY: the caller's.
        unsafe { std::array::from_fn(|j| self.0[i][j].assume_init()) }
    }
}

/// What of a picture is transformed.
#[derive(Clone, Copy)]
pub(super) struct Window<'a> {
    pub from: Values<'a>,
    /// The picture's first element.
    pub first: usize,
    /// Of rows and of columns: where the window begins, and how many there are.
    pub origin: [(isize, usize); 2],
    pub channels: usize,
    pub transform: Transform,
}

impl Window<'_> {
    /// The channels `first..first + n` of N x N pixels, transformed along columns, to all of `half`.
    ///
    /// # Safety
    /// That of [`Simd`]; the channels are there.
    #[inline(always)]
    pub unsafe fn columns<S: Simd, const N: usize>(&self, first: usize, n: usize, half: &mut Half<S::V, N>) {
        let at = self.first + first;
        // SAFETY: the caller's.
        unsafe {
            match self.from {
                Values::F32(from) => self.columns_of::<S, f32, N>(from[at..].as_ptr(), n, half),
                Values::Bf16(from) => self.columns_of::<S, bf16, N>(from[at..].as_ptr(), n, half),
            }
        }
    }

    /// The same of channels that `from` is the first pixel of.
    ///
    /// # Safety
    /// As of [`Window::columns`].
    #[inline(always)]
    unsafe fn columns_of<S: Simd, T: Lanes, const N: usize>(
        &self,
        from: *const T,
        n: usize,
        half: &mut Half<S::V, N>,
    ) {
        let [(top, h), (left, w)] = self.origin;
        let within = |at: isize, size: usize| at >= 0 && at as usize + N <= size;
        let line = w * self.channels;
        // SAFETY: pixels lie inside the picture, the channels are the caller's.
        unsafe {
            if within(top, h) && within(left, w) && n == S::LANES {
                let corner = from.add((top as usize * w + left as usize) * self.channels);
                for j in 0..N {
                    let p = corner.add(j * self.channels);
                    let mut column = [S::splat(0.0); N];
                    for (i, value) in column.iter_mut().enumerate() {
                        let p = p.add(i * line);
                        *value = T::load::<S>(p);
                        // Of the tiles after the next: a line of a pixel here and there is nothing that a processor
                        // would foresee.
                        S::prefetch_second(p.wrapping_add(8 * self.channels).cast());
                    }
                    self.column::<S, N>(column, j, half);
                }
                return;
            }
            let inside = |at: isize, size: usize| usize::try_from(at).ok().filter(|&at| at < size);
            for j in 0..N {
                let mut column = [S::splat(0.0); N];
                if let Some(x) = inside(left + j as isize, w) {
                    for (i, value) in column.iter_mut().enumerate() {
                        if let Some(y) = inside(top + i as isize, h) {
                            *value = T::load_n::<S>(from.add((y * w + x) * self.channels), n);
                        }
                    }
                }
                self.column::<S, N>(column, j, half);
            }
        }
    }

    /// # Safety
    /// That of [`Simd`].
    #[inline(always)]
    unsafe fn column<S: Simd, const N: usize>(&self, column: [S::V; N], j: usize, half: &mut Half<S::V, N>) {
        // SAFETY: the caller's.
        let six = unsafe { self.transform.axis::<S, N>(column) };
        for (row, &value) in half.0.iter_mut().zip(&six) {
            row[j].write(value);
        }
    }
}

impl Transform {
    /// One axis: of six pixels the forward's transform, of four gradients its outputs' turned round.
    ///
    /// # Safety
    /// That of [`Simd`].
    #[inline(always)]
    pub unsafe fn axis<S: Simd, const N: usize>(self, values: [S::V; N]) -> [S::V; 6] {
        // SAFETY: the caller's.
        unsafe {
            let mut six = [S::splat(0.0); 6];
            six[..N].copy_from_slice(&values);
            let [d0, d1, d2, d3, d4, d5] = six;
            let (a, b) = (S::splat(A), S::splat(B));
            let (a2, b2) = (S::splat(A * A), S::splat(B * B));
            match self {
                Transform::Pixels => {
                    let both = S::splat(-(A * A + B * B));
                    let product = S::splat(A * A * B * B);
                    let (minus_a2, minus_b2) = (S::splat(-(A * A)), S::splat(-(B * B)));
                    let (even_a, odd_a) = (S::fma(minus_b2, d2, d4), S::mul(a, S::fma(minus_b2, d1, d3)));
                    let (even_b, odd_b) = (S::fma(minus_a2, d2, d4), S::mul(b, S::fma(minus_a2, d1, d3)));
                    [
                        S::fma(product, d0, S::fma(both, d2, d4)),
                        S::add(even_a, odd_a),
                        S::sub(even_a, odd_a),
                        S::add(even_b, odd_b),
                        S::sub(even_b, odd_b),
                        S::fma(product, d1, S::fma(both, d3, d5)),
                    ]
                }
                Transform::Gradients => {
                    let (even_a, odd_a) = (S::fma(a2, d2, d0), S::mul(a, S::fma(a2, d3, d1)));
                    let (even_b, odd_b) = (S::fma(b2, d2, d0), S::mul(b, S::fma(b2, d3, d1)));
                    [
                        d0,
                        S::add(even_a, odd_a),
                        S::sub(even_a, odd_a),
                        S::add(even_b, odd_b),
                        S::sub(even_b, odd_b),
                        d3,
                    ]
                }
            }
        }
    }
}
