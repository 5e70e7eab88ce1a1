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
        S::scale(p, n)
    }
}

/// 2^x for x <= 0, within an ulp and a half; exactly 0 below -126, where the result would lose digits. NaN
/// stays. By a degree-6 minimax polynomial on [-1/2, 1/2].
///
/// # Safety
/// That of [`Simd`].
#[inline(always)]
pub unsafe fn exp2_nonpositive<S: Simd>(x: S::V) -> S::V {
    // SAFETY: the caller's.
    unsafe {
        let least = S::splat(-126.0);
        // `max` yields its second operand for NaN.
        let held = S::max(least, x);
        let n = S::round(held);
        let r = S::sub(held, n);
        let mut p = S::splat(1.559_467_8e-4);
        for c in [1.340_664_3e-3, 9.617_693e-3, 5.550_310_4e-2, 2.402_265_2e-1, 6.931_472_4e-1, 1.0] {
            p = S::fma(p, r, S::splat(c));
        }
        S::select_gt(least, x, S::splat(0.0), S::mul(p, S::pow2(n)))
    }
}

/// The logistic function 1 / (1 + e^-x).
///
/// # Safety
/// That of [`Simd`].
#[inline(always)]
pub unsafe fn sigmoid<S: Simd>(x: S::V) -> S::V {
    // SAFETY: the caller's.
    unsafe { S::reciprocal(S::add(S::splat(1.0), exp::<S>(S::sub(S::splat(0.0), x)))) }
}

/// SiLU, x * sigmoid(x).
///
/// # Safety
/// That of [`Simd`].
#[inline(always)]
pub unsafe fn silu<S: Simd>(x: S::V) -> S::V {
    // SAFETY: the caller's.
    unsafe { S::mul(x, sigmoid::<S>(x)) }
}

/// GELU with the error function itself, x * Phi(x), within 1e-7 of max(1, |x|).
///
/// Phi(-a) = exp(-p(a)) / 2 with p = -ln erfc(a / sqrt 2), a polynomial of degree 10 fitted on [0, 6] so that
/// Phi is off by 2e-10 at most; past that p grows faster than the true one and Phi is nothing either way.
///
/// # Safety
/// That of [`Simd`].
#[inline(always)]
pub unsafe fn gelu<S: Simd>(x: S::V) -> S::V {
    const P: [f32; 10] = [
        3.899_944_5e-8,
        -9.633_843e-7,
        1.054_438_3e-5,
        -6.554_205e-5,
        2.246_294_3e-4,
        -4.377_387e-5,
        -4.780_608e-3,
        3.633_582e-2,
        3.183_097_5e-1,
        7.978_846e-1,
    ];
    // SAFETY: the caller's.
    unsafe {
        let a = S::abs(x);
        let mut p = S::splat(P[0]);
        for c in &P[1..] {
            p = S::fma(p, a, S::splat(*c));
        }
        let zero = S::splat(0.0);
        let tail = S::mul(S::splat(0.5), exp::<S>(S::sub(zero, S::mul(p, a))));
        S::mul(x, S::select_gt(x, zero, S::sub(S::splat(1.0), tail), tail))
    }
}
