//! Elementary functions over vectors.

use super::Simd;

/// e^x within 2 units in the last place for x in [-87, 88]; below it is held at e^-87 (1e-38), above at e^88.
/// By Cody and Waite's reduction and a degree-6 polynomial on [-ln2/2, ln2/2].
///
/// # Safety
/// That of [`Simd`].
#[inline(always)]
pub unsafe fn exp<S: Simd>(x: S::V) -> S::V {
    // SAFETY: the caller's.
    unsafe {
        // `min(x, c)` yields c for NaN; NaN must survive, so it is the second operand.
        let x = S::max(S::splat(-87.0), S::min(S::splat(88.0), x));
        let n = S::round(S::mul(x, S::splat(std::f32::consts::LOG2_E)));
        let r = S::fma(n, S::splat(-0.693_359_4), x);
        let r = S::fma(n, S::splat(2.121_944_4e-4), r);
        let mut p = S::splat(1.0 / 720.0);
        for c in [1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0, 1.0] {
            p = S::fma(p, r, S::splat(c));
        }
        S::mul(p, S::pow2(n))
    }
}

/// The logistic function 1 / (1 + e^-x).
///
/// # Safety
/// That of [`Simd`].
#[inline(always)]
pub unsafe fn sigmoid<S: Simd>(x: S::V) -> S::V {
    // SAFETY: the caller's.
    unsafe { S::div(S::splat(1.0), S::add(S::splat(1.0), exp::<S>(S::sub(S::splat(0.0), x)))) }
}

/// SiLU, x * sigmoid(x).
///
/// # Safety
/// That of [`Simd`].
#[inline(always)]
pub unsafe fn silu<S: Simd>(x: S::V) -> S::V {
    // SAFETY: the caller's.
    unsafe { S::div(x, S::add(S::splat(1.0), exp::<S>(S::sub(S::splat(0.0), x)))) }
}
