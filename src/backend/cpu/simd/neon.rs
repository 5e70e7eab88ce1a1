// Each method is one or a few intrinsics: sound by the contract of `Simd`, which is said there once.
#![allow(clippy::undocumented_unsafe_blocks)]

use super::{Kernel, Simd, to_bf16};
use std::arch::aarch64::*;

/// Four lanes of aarch64.
#[derive(Clone, Copy)]
pub struct Neon;

#[target_feature(enable = "neon")]
pub unsafe fn run<K: Kernel>(kernel: K) -> K::Output {
    kernel.run::<Neon>()
}

#[inline(always)]
unsafe fn from_array(a: [f32; 4]) -> float32x4_t {
    // SAFETY: four lanes are read from four.
    unsafe { vld1q_f32(a.as_ptr()) }
}

#[inline(always)]
unsafe fn to_array(v: float32x4_t) -> [f32; 4] {
    let mut a = [0.0; 4];
    // SAFETY: four lanes are written to four.
    unsafe { vst1q_f32(a.as_mut_ptr(), v) };
    a
}

impl Simd for Neon {
    const LANES: usize = 4;
    const REGISTERS: usize = 32;
    type V = float32x4_t;
    type I = int32x4_t;

    #[inline(always)]
    unsafe fn splat(x: f32) -> float32x4_t {
        unsafe { vdupq_n_f32(x) }
    }
    #[inline(always)]
    unsafe fn load(p: *const f32) -> float32x4_t {
        unsafe { vld1q_f32(p) }
    }
    #[inline(always)]
    unsafe fn store(p: *mut f32, v: float32x4_t) {
        unsafe { vst1q_f32(p, v) }
    }
    #[inline(always)]
    unsafe fn load_n(p: *const f32, n: usize) -> float32x4_t {
        unsafe { from_array(std::array::from_fn(|i| if i < n { *p.add(i) } else { 0.0 })) }
    }
    #[inline(always)]
    unsafe fn store_n(p: *mut f32, v: float32x4_t, n: usize) {
        unsafe { std::ptr::copy_nonoverlapping(to_array(v).as_ptr(), p, n) }
    }
    #[inline(always)]
    unsafe fn load_bf16(p: *const u16) -> float32x4_t {
        unsafe { vreinterpretq_f32_u32(vshll_n_u16::<16>(vld1_u16(p))) }
    }
    #[inline(always)]
    unsafe fn store_bf16(p: *mut u16, v: float32x4_t) {
        for (i, x) in unsafe { to_array(v) }.into_iter().enumerate() {
            unsafe { *p.add(i) = to_bf16(x) }
        }
    }
    #[inline(always)]
    unsafe fn near_bf16(a: float32x4_t) -> float32x4_t {
        unsafe {
            let up = vaddq_u32(vreinterpretq_u32_f32(a), vdupq_n_u32(0x8000));
            vreinterpretq_f32_u32(vandq_u32(up, vdupq_n_u32(0xFFFF_0000)))
        }
    }
    #[inline(always)]
    unsafe fn load_f16(p: *const u16) -> float32x4_t {
        unsafe { from_array(std::array::from_fn(|i| half::f16::from_bits(*p.add(i)).to_f32())) }
    }
    #[inline(always)]
    unsafe fn load_i8(p: *const i8) -> float32x4_t {
        unsafe { from_array(std::array::from_fn(|i| *p.add(i) as f32)) }
    }
    #[inline(always)]
    unsafe fn add(a: float32x4_t, b: float32x4_t) -> float32x4_t {
        unsafe { vaddq_f32(a, b) }
    }
    #[inline(always)]
    unsafe fn sub(a: float32x4_t, b: float32x4_t) -> float32x4_t {
        unsafe { vsubq_f32(a, b) }
    }
    #[inline(always)]
    unsafe fn mul(a: float32x4_t, b: float32x4_t) -> float32x4_t {
        unsafe { vmulq_f32(a, b) }
    }
    #[inline(always)]
    unsafe fn div(a: float32x4_t, b: float32x4_t) -> float32x4_t {
        unsafe { vdivq_f32(a, b) }
    }
    #[inline(always)]
    unsafe fn fma(a: float32x4_t, b: float32x4_t, c: float32x4_t) -> float32x4_t {
        unsafe { vfmaq_f32(c, a, b) }
    }
    #[inline(always)]
    unsafe fn max(a: float32x4_t, b: float32x4_t) -> float32x4_t {
        unsafe { vbslq_f32(vcgtq_f32(a, b), a, b) }
    }
    #[inline(always)]
    unsafe fn min(a: float32x4_t, b: float32x4_t) -> float32x4_t {
        unsafe { vbslq_f32(vcltq_f32(a, b), a, b) }
    }
    #[inline(always)]
    unsafe fn sqrt(a: float32x4_t) -> float32x4_t {
        unsafe { vsqrtq_f32(a) }
    }
    #[inline(always)]
    unsafe fn round(a: float32x4_t) -> float32x4_t {
        unsafe { vrndnq_f32(a) }
    }
    #[inline(always)]
    unsafe fn pow2(n: float32x4_t) -> float32x4_t {
        unsafe { vreinterpretq_f32_s32(vshlq_n_s32::<23>(vaddq_s32(vcvtq_s32_f32(n), vdupq_n_s32(127)))) }
    }
    #[inline(always)]
    unsafe fn abs(a: float32x4_t) -> float32x4_t {
        unsafe { vabsq_f32(a) }
    }
    #[inline(always)]
    unsafe fn select_gt(a: float32x4_t, b: float32x4_t, yes: float32x4_t, no: float32x4_t) -> float32x4_t {
        unsafe { vbslq_f32(vcgtq_f32(a, b), yes, no) }
    }
    #[inline(always)]
    unsafe fn sum(a: float32x4_t) -> f32 {
        unsafe { vaddvq_f32(a) }
    }
    #[inline(always)]
    unsafe fn sum4(a: [float32x4_t; 4]) -> [f32; 4] {
        unsafe { to_array(vpaddq_f32(vpaddq_f32(a[0], a[1]), vpaddq_f32(a[2], a[3]))) }
    }
    #[inline(always)]
    unsafe fn max_lane(a: float32x4_t) -> f32 {
        unsafe { vmaxvq_f32(a) }
    }
    #[inline(always)]
    unsafe fn dot_bf16(acc: float32x4_t, a: *const u16, b: *const u16) -> float32x4_t {
        unsafe {
            let (a, b) = (vld1q_u32(a.cast()), vld1q_u32(b.cast()));
            dot_pairs(acc, a, b)
        }
    }
    #[inline(always)]
    unsafe fn int_zero() -> int32x4_t {
        unsafe { vdupq_n_s32(0) }
    }
    #[inline(always)]
    unsafe fn int_add(a: int32x4_t, b: int32x4_t) -> int32x4_t {
        unsafe { vaddq_s32(a, b) }
    }
    #[inline(always)]
    unsafe fn int_to_float(a: int32x4_t) -> float32x4_t {
        unsafe { vcvtq_f32_s32(a) }
    }
    #[inline(always)]
    unsafe fn widen_i8(p: *const i8) -> int32x4_t {
        unsafe { vreinterpretq_s32_s16(vmovl_s8(vld1_s8(p))) }
    }
    #[inline(always)]
    unsafe fn dot_i16(acc: int32x4_t, a: *const i16, b: int32x4_t) -> int32x4_t {
        unsafe {
            let (a, b) = (vld1q_s16(a), vreinterpretq_s16_s32(b));
            vmlal_high_s16(vmlal_s16(acc, vget_low_s16(a), vget_low_s16(b)), a, b)
        }
    }
    #[inline(always)]
    unsafe fn store_i16(p: *mut i16, v: float32x4_t) {
        unsafe { vst1_s16(p, vqmovn_s32(vcvtnq_s32_f32(v))) }
    }
    #[inline(always)]
    unsafe fn dot_bf16_pair(acc: float32x4_t, a: u32, b: *const u16) -> float32x4_t {
        unsafe { dot_pairs(acc, vdupq_n_u32(a), vld1q_u32(b.cast())) }
    }
}

#[inline(always)]
unsafe fn dot_pairs(acc: float32x4_t, a: uint32x4_t, b: uint32x4_t) -> float32x4_t {
    // SAFETY: the caller has NEON.
    unsafe {
        let low = |x| vreinterpretq_f32_u32(vshlq_n_u32::<16>(x));
        let high = |x| vreinterpretq_f32_u32(vandq_u32(x, vdupq_n_u32(0xFFFF_0000)));
        vfmaq_f32(vfmaq_f32(acc, low(a), low(b)), high(a), high(b))
    }
}
