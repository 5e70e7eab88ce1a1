//! The three linear maps of a minimal filtering algorithm (Winograd 1980; Lavin and Gray 2016), an axis each.
//!
//! For finite points p: the filter g becomes G(p) = (g0 + g1 p + g2 p^2) / N(p), the pixels d the coefficients of
//! M(x) / (x - p) times d, with M the product of all (x - p) and N(p) the value of M(x) / (x - p) at p; the output
//! j is the sum over p of p^j times their product. Infinity takes g2 and the coefficients of M.

use super::rounding::Rounding;
use crate::backend::cpu::simd::Simd;
use std::ops::{Add, Div, Mul, Neg, Sub};

/// The most points, pixels or outputs of a scheme.
pub const MOST: usize = 8;

/// One algorithm for kernels of three. The arrays use as many of their entries as they need.
///
/// A product is a sum over channels of one or more terms: transformed pixel `FIRST[p] + t` times transformed weight
/// t of the product, t < `COUNT[p]`.
pub trait Scheme: Copy + Send + Sync + 'static {
    /// Products of a tile along an axis.
    const PRODUCTS: usize;
    /// The first transformed pixel of each product.
    const FIRST: [usize; MOST];
    /// Terms of each product.
    const COUNT: [usize; MOST];
    /// Transformed pixels along an axis.
    const INPUTS: usize;
    /// Pixels of a tile along an axis.
    const PIXELS: usize;
    /// Pixels from a tile to the next.
    const STEP: usize;
    /// Outputs of a tile along an axis.
    const OUT: usize;
    /// Whether the pixels are those before up-sampling.
    const UP: bool;
    /// How errors of operands of 16 bits make up for each other.
    const ROUNDING: Rounding = Rounding::NONE;

    /// Terms of all products along an axis.
    const TERMS: usize = {
        let (mut sum, mut p) = (0, 0);
        while p < Self::PRODUCTS {
            sum += Self::COUNT[p];
            p += 1;
        }
        sum
    };

    /// Three weights to the terms of all products.
    fn filter<R: Real>(g: [R; 3]) -> [R; MOST];
    /// Pixels to transformed pixels.
    ///
    /// # Safety
    /// That of [`Simd`].
    unsafe fn input<S: Simd>(d: [S::V; MOST]) -> [S::V; MOST];
    /// Products to the outputs.
    ///
    /// # Safety
    /// That of [`Simd`].
    unsafe fn output<S: Simd>(m: [S::V; MOST]) -> [S::V; MOST];
}

/// The numbers that filters are transformed in: f64 for operands of f32, f32 for those of bf16.
pub trait Real:
    Copy + Add<Output = Self> + Sub<Output = Self> + Mul<Output = Self> + Div<Output = Self> + Neg<Output = Self>
{
    /// The nearest of these numbers.
    fn of(x: f64) -> Self;
    /// A weight.
    fn weight(x: f32) -> Self;
    /// Rounded to f32.
    fn rounded(self) -> f32;
}

impl Real for f64 {
    #[inline(always)]
    fn of(x: f64) -> f64 {
        x
    }
    #[inline(always)]
    fn weight(x: f32) -> f64 {
        f64::from(x)
    }
    #[inline(always)]
    fn rounded(self) -> f32 {
        self as f32
    }
}

impl Real for f32 {
    #[inline(always)]
    fn of(x: f64) -> f32 {
        x as f32
    }
    #[inline(always)]
    fn weight(x: f32) -> f32 {
        x
    }
    #[inline(always)]
    fn rounded(self) -> f32 {
        self
    }
}

/// The points +-A and +-B besides 0 and infinity: of the sets whose constants are exact, the one of least error,
/// less than half of that of +-1 and +-2.
pub const A: f64 = 5.0 / 8.0;
pub const B: f64 = 3.0 / 2.0;

/// F(4, 3) at 0, +-5/8, +-3/2, infinity.
#[derive(Clone, Copy)]
pub struct F4;

impl Scheme for F4 {
    const PRODUCTS: usize = 6;
    const FIRST: [usize; MOST] = [0, 1, 2, 3, 4, 5, 0, 0];
    const COUNT: [usize; MOST] = [1; MOST];
    const INPUTS: usize = 6;
    const PIXELS: usize = 6;
    const STEP: usize = 4;
    const OUT: usize = 4;
    const UP: bool = false;
    const ROUNDING: Rounding = Rounding::F4;

    #[inline(always)]
    fn filter<R: Real>([g0, g1, g2]: [R; 3]) -> [R; MOST] {
        const N0: f64 = 1.0 / (A * A * B * B);
        const NA: f64 = 1.0 / (2.0 * A * A * (A * A - B * B));
        const NB: f64 = 1.0 / (2.0 * B * B * (B * B - A * A));
        let (even_a, odd_a) = ((g0 + g2 * R::of(A * A)) * R::of(NA), g1 * R::of(A * NA));
        let (even_b, odd_b) = ((g0 + g2 * R::of(B * B)) * R::of(NB), g1 * R::of(B * NB));
        let none = R::of(0.0);
        [g0 * R::of(N0), even_a + odd_a, even_a - odd_a, even_b + odd_b, even_b - odd_b, g2, none, none]
    }

    #[inline(always)]
    unsafe fn input<S: Simd>([d0, d1, d2, d3, d4, d5, _, _]: [S::V; MOST]) -> [S::V; MOST] {
        // SAFETY: the caller's.
        unsafe {
            let both = S::splat(-(A * A + B * B) as f32);
            let product = S::splat((A * A * B * B) as f32);
            let (a2, b2) = (S::splat(-(A * A) as f32), S::splat(-(B * B) as f32));
            let (a, b) = (S::splat(A as f32), S::splat(B as f32));
            let (minus_a, minus_b) = (S::splat(-A as f32), S::splat(-B as f32));
            let (even_a, odd_a) = (S::fma(b2, d2, d4), S::fma(b2, d1, d3));
            let (even_b, odd_b) = (S::fma(a2, d2, d4), S::fma(a2, d1, d3));
            [
                S::fma(product, d0, S::fma(both, d2, d4)),
                S::fma(a, odd_a, even_a),
                S::fma(minus_a, odd_a, even_a),
                S::fma(b, odd_b, even_b),
                S::fma(minus_b, odd_b, even_b),
                S::fma(product, d1, S::fma(both, d3, d5)),
                d0,
                d0,
            ]
        }
    }

    #[inline(always)]
    unsafe fn output<S: Simd>([m0, m1, m2, m3, m4, m5, _, _]: [S::V; MOST]) -> [S::V; MOST] {
        // SAFETY: the caller's.
        unsafe {
            let (sum_a, difference_a) = (S::add(m1, m2), S::sub(m1, m2));
            let (sum_b, difference_b) = (S::add(m3, m4), S::sub(m3, m4));
            [
                S::add(m0, S::add(sum_a, sum_b)),
                S::fma(S::splat(A as f32), difference_a, S::mul(S::splat(B as f32), difference_b)),
                S::fma(S::splat((A * A) as f32), sum_a, S::mul(S::splat((B * B) as f32), sum_b)),
                S::fma(
                    S::splat((A * A * A) as f32),
                    difference_a,
                    S::fma(S::splat((B * B * B) as f32), difference_b, m5),
                ),
                m0,
                m0,
                m0,
                m0,
            ]
        }
    }
}

/// F(4, 3) of a signal in which every pixel stands twice, padded by one: d = (p, q, q, r, r, s). The points are 0,
/// +-1, +-5/8 and infinity; the coefficients of x (x - 1) (x^2 - A^2) cancel over each pair, so the product of
/// the point -1 is zero whatever the filter, and is left out. Those of +-A differ by a factor, which the filter
/// takes, so both read the same transformed pixels.
#[derive(Clone, Copy)]
pub struct F4Up;

impl Scheme for F4Up {
    const PRODUCTS: usize = 5;
    const FIRST: [usize; MOST] = [0, 1, 2, 2, 3, 0, 0, 0];
    const COUNT: [usize; MOST] = [1; MOST];
    const INPUTS: usize = 4;
    const PIXELS: usize = 4;
    const STEP: usize = 2;
    const OUT: usize = 4;
    const UP: bool = true;

    #[inline(always)]
    fn filter<R: Real>([g0, g1, g2]: [R; 3]) -> [R; MOST] {
        const N0: f64 = 1.0 / (A * A);
        const N1: f64 = 1.0 / (1.0 - A * A);
        const NA: f64 = 1.0 / (2.0 * A * A * (A * A - 1.0));
        let (even, odd, none) = (g0 + g2 * R::of(A * A), g1 * R::of(A), R::of(0.0));
        [
            g0 * R::of(N0),
            (g0 + g1 + g2) * R::of(N1),
            (even + odd) * R::of(NA * (1.0 + A)),
            (even - odd) * R::of(NA * (1.0 - A)),
            g2,
            none,
            none,
            none,
        ]
    }

    #[inline(always)]
    unsafe fn input<S: Simd>([p, q, r, s, ..]: [S::V; MOST]) -> [S::V; MOST] {
        // SAFETY: the caller's.
        unsafe {
            let (square, both) = (S::splat((A * A) as f32), S::splat(-(1.0 + A * A) as f32));
            let minus_square = S::splat(-(A * A) as f32);
            [
                S::fma(square, p, S::fma(both, q, r)),
                S::fma(minus_square, q, r),
                S::sub(r, q),
                S::fma(square, q, S::fma(both, r, s)),
                p,
                p,
                p,
                p,
            ]
        }
    }

    #[inline(always)]
    unsafe fn output<S: Simd>([m0, m1, plus, minus, last, ..]: [S::V; MOST]) -> [S::V; MOST] {
        // SAFETY: the caller's.
        unsafe {
            let (sum, difference) = (S::add(plus, minus), S::sub(plus, minus));
            [
                S::add(S::add(m0, m1), sum),
                S::fma(S::splat(A as f32), difference, m1),
                S::fma(S::splat((A * A) as f32), sum, m1),
                S::fma(S::splat((A * A * A) as f32), difference, S::add(m1, last)),
                m0,
                m0,
                m0,
                m0,
            ]
        }
    }
}

/// F(2, 3) of a signal in which every pixel stands twice, padded by one: d = (p, q, q, r) gives g0 p + (g1 + g2) q and
/// (g0 + g1) q + g2 r by three products. Nearly no error of its own: for operands of 16 bits.
#[derive(Clone, Copy)]
pub struct F2Up;

impl Scheme for F2Up {
    const PRODUCTS: usize = 3;
    const FIRST: [usize; MOST] = [0, 1, 2, 0, 0, 0, 0, 0];
    const COUNT: [usize; MOST] = [1; MOST];
    const INPUTS: usize = 3;
    const PIXELS: usize = 3;
    const STEP: usize = 1;
    const OUT: usize = 2;
    const UP: bool = true;

    #[inline(always)]
    fn filter<R: Real>([g0, g1, g2]: [R; 3]) -> [R; MOST] {
        let none = R::of(0.0);
        [g0, g0 + g1 + g2, g2, none, none, none, none, none]
    }

    #[inline(always)]
    unsafe fn input<S: Simd>([p, q, r, ..]: [S::V; MOST]) -> [S::V; MOST] {
        // SAFETY: the caller's.
        unsafe { [S::sub(p, q), q, S::sub(r, q), p, p, p, p, p] }
    }

    #[inline(always)]
    unsafe fn output<S: Simd>([m0, m1, m2, ..]: [S::V; MOST]) -> [S::V; MOST] {
        // SAFETY: the caller's.
        unsafe { [S::add(m0, m1), S::add(m1, m2), m0, m0, m0, m0, m0, m0] }
    }
}

/// Two outputs of stride 2: the even pixels by F(2, 2) with g0 and g2, the odd ones by g1. What only one output
/// takes is one product of two terms.
#[derive(Clone, Copy)]
pub struct F2Down;

impl Scheme for F2Down {
    const PRODUCTS: usize = 3;
    const FIRST: [usize; MOST] = [0, 2, 3, 0, 0, 0, 0, 0];
    const COUNT: [usize; MOST] = [2, 1, 2, 0, 0, 0, 0, 0];
    const INPUTS: usize = 5;
    const PIXELS: usize = 5;
    const STEP: usize = 4;
    const OUT: usize = 2;
    const UP: bool = false;

    #[inline(always)]
    fn filter<R: Real>([g0, g1, g2]: [R; 3]) -> [R; MOST] {
        let none = R::of(0.0);
        [g0, g1, g0 + g2, g2, g1, none, none, none]
    }

    #[inline(always)]
    unsafe fn input<S: Simd>([d0, d1, d2, d3, d4, ..]: [S::V; MOST]) -> [S::V; MOST] {
        // SAFETY: the caller's.
        unsafe { [S::sub(d0, d2), d1, d2, S::sub(d4, d2), d3, d0, d0, d0] }
    }

    #[inline(always)]
    unsafe fn output<S: Simd>([m0, m1, m2, ..]: [S::V; MOST]) -> [S::V; MOST] {
        // SAFETY: the caller's.
        unsafe { [S::add(m0, m1), S::add(m1, m2), m0, m0, m0, m0, m0, m0] }
    }
}

/// F(6, 3) at 0, +-1/2, +-1, +-2 and infinity: 64/81 of the products of [`F4`] for four times its error.
#[derive(Clone, Copy)]
pub struct F6;

impl Scheme for F6 {
    const PRODUCTS: usize = 8;
    const FIRST: [usize; MOST] = [0, 1, 2, 3, 4, 5, 6, 7];
    const COUNT: [usize; MOST] = [1; MOST];
    const INPUTS: usize = 8;
    const PIXELS: usize = 8;
    const STEP: usize = 6;
    const OUT: usize = 6;
    const UP: bool = false;

    #[inline(always)]
    fn filter<R: Real>([g0, g1, g2]: [R; 3]) -> [R; MOST] {
        let of = R::of;
        let (even_half, odd_half) = ((g0 + g2 * of(0.25)) / of(1.40625), g1 * of(0.5) / of(1.40625));
        let (even_one, odd_one) = ((g0 + g2) / of(-4.5), g1 / of(-4.5));
        let (even_two, odd_two) = ((g0 + g2 * of(4.0)) / of(90.0), g1 * of(2.0) / of(90.0));
        [
            -g0,
            even_half + odd_half,
            even_half - odd_half,
            even_one + odd_one,
            even_one - odd_one,
            even_two + odd_two,
            even_two - odd_two,
            g2,
        ]
    }

    #[inline(always)]
    unsafe fn input<S: Simd>([d0, d1, d2, d3, d4, d5, d6, d7]: [S::V; MOST]) -> [S::V; MOST] {
        // SAFETY: the caller's.
        unsafe {
            let times = |x: f32, v: S::V, plus: S::V| S::fma(S::splat(x), v, plus);
            let (even_half, odd_half) =
                (times(4.0, d2, times(-5.0, d4, d6)), times(4.0, d1, times(-5.0, d3, d5)));
            let (even_one, odd_one) = (times(-4.25, d4, S::add(d2, d6)), times(-4.25, d3, S::add(d1, d5)));
            let (even_two, odd_two) =
                (times(0.25, d2, times(-1.25, d4, d6)), times(0.25, d1, times(-1.25, d3, d5)));
            [
                times(5.25, S::sub(d2, d4), S::sub(d6, d0)),
                times(0.5, odd_half, even_half),
                times(-0.5, odd_half, even_half),
                S::add(even_one, odd_one),
                S::sub(even_one, odd_one),
                times(2.0, odd_two, even_two),
                times(-2.0, odd_two, even_two),
                times(5.25, S::sub(d3, d5), S::sub(d7, d1)),
            ]
        }
    }

    #[inline(always)]
    unsafe fn output<S: Simd>([m0, m1, m2, m3, m4, m5, m6, m7]: [S::V; MOST]) -> [S::V; MOST] {
        // SAFETY: the caller's.
        unsafe {
            let (sum_half, difference_half) = (S::add(m1, m2), S::sub(m1, m2));
            let (sum_one, difference_one) = (S::add(m3, m4), S::sub(m3, m4));
            let (sum_two, difference_two) = (S::add(m5, m6), S::sub(m5, m6));
            let power = |half: f32, two: f32, a: S::V, b: S::V, c: S::V| {
                S::fma(S::splat(half), a, S::fma(S::splat(two), c, b))
            };
            [
                S::add(S::add(m0, sum_half), S::add(sum_one, sum_two)),
                power(0.5, 2.0, difference_half, difference_one, difference_two),
                power(0.25, 4.0, sum_half, sum_one, sum_two),
                power(0.125, 8.0, difference_half, difference_one, difference_two),
                power(0.0625, 16.0, sum_half, sum_one, sum_two),
                S::add(power(0.03125, 32.0, difference_half, difference_one, difference_two), m7),
                m0,
                m0,
            ]
        }
    }
}
