use super::{Simd, from_bf16, to_bf16};

/// Eight lanes of whatever the compiler makes of arrays.
#[derive(Clone, Copy)]
pub struct Portable;

const N: usize = 8;

#[inline(always)]
fn map(a: [f32; N], f: impl Fn(f32) -> f32) -> [f32; N] {
    std::array::from_fn(|i| f(a[i]))
}

#[inline(always)]
fn zip(a: [f32; N], b: [f32; N], f: impl Fn(f32, f32) -> f32) -> [f32; N] {
    std::array::from_fn(|i| f(a[i], b[i]))
}

impl Simd for Portable {
    const LANES: usize = N;
    const REGISTERS: usize = 8;
    type V = [f32; N];
    type I = [i32; N];

    #[inline(always)]
    unsafe fn splat(x: f32) -> [f32; N] {
        [x; N]
    }
    #[inline(always)]
    unsafe fn load(p: *const f32) -> [f32; N] {
        // SAFETY: valid for N lanes by the trait's contract; unaligned on purpose.
        unsafe { p.cast::<[f32; N]>().read_unaligned() }
    }
    #[inline(always)]
    unsafe fn store(p: *mut f32, v: [f32; N]) {
        // SAFETY: as in `load`.
        unsafe { p.cast::<[f32; N]>().write_unaligned(v) }
    }
    #[inline(always)]
    unsafe fn load_n(p: *const f32, n: usize) -> [f32; N] {
        // SAFETY: only the first n lanes are read.
        std::array::from_fn(|i| if i < n { unsafe { *p.add(i) } } else { 0.0 })
    }
    #[inline(always)]
    unsafe fn store_n(p: *mut f32, v: [f32; N], n: usize) {
        for (i, x) in v.into_iter().enumerate().take(n) {
            // SAFETY: only the first n lanes are written.
            unsafe { *p.add(i) = x }
        }
    }
    #[inline(always)]
    unsafe fn load_bf16(p: *const u16) -> [f32; N] {
        // SAFETY: valid for N lanes.
        std::array::from_fn(|i| from_bf16(unsafe { *p.add(i) }))
    }
    #[inline(always)]
    unsafe fn store_bf16(p: *mut u16, v: [f32; N]) {
        for (i, x) in v.into_iter().enumerate() {
            // SAFETY: valid for N lanes.
            unsafe { *p.add(i) = to_bf16(x) }
        }
    }
    #[inline(always)]
    unsafe fn near_bf16(a: [f32; N]) -> [f32; N] {
        map(a, |x| f32::from_bits(x.to_bits().wrapping_add(0x8000) & 0xFFFF_0000))
    }
    #[inline(always)]
    unsafe fn load_f16(p: *const u16) -> [f32; N] {
        // SAFETY: valid for N lanes.
        std::array::from_fn(|i| half::f16::from_bits(unsafe { *p.add(i) }).to_f32())
    }
    #[inline(always)]
    unsafe fn load_i8(p: *const i8) -> [f32; N] {
        // SAFETY: valid for N lanes.
        std::array::from_fn(|i| unsafe { *p.add(i) } as f32)
    }
    #[inline(always)]
    unsafe fn add(a: [f32; N], b: [f32; N]) -> [f32; N] {
        zip(a, b, |a, b| a + b)
    }
    #[inline(always)]
    unsafe fn sub(a: [f32; N], b: [f32; N]) -> [f32; N] {
        zip(a, b, |a, b| a - b)
    }
    #[inline(always)]
    unsafe fn mul(a: [f32; N], b: [f32; N]) -> [f32; N] {
        zip(a, b, |a, b| a * b)
    }
    #[inline(always)]
    unsafe fn div(a: [f32; N], b: [f32; N]) -> [f32; N] {
        zip(a, b, |a, b| a / b)
    }
    /// Two roundings: without the instruction a true fused multiply-add is a slow library call.
    #[inline(always)]
    unsafe fn fma(a: [f32; N], b: [f32; N], c: [f32; N]) -> [f32; N] {
        std::array::from_fn(|i| a[i] * b[i] + c[i])
    }
    #[inline(always)]
    unsafe fn max(a: [f32; N], b: [f32; N]) -> [f32; N] {
        zip(a, b, |a, b| if a > b { a } else { b })
    }
    #[inline(always)]
    unsafe fn min(a: [f32; N], b: [f32; N]) -> [f32; N] {
        zip(a, b, |a, b| if a < b { a } else { b })
    }
    #[inline(always)]
    unsafe fn sqrt(a: [f32; N]) -> [f32; N] {
        map(a, f32::sqrt)
    }
    /// By the magic number: exact for magnitudes below 2^22, which is all that callers need.
    #[inline(always)]
    unsafe fn round(a: [f32; N]) -> [f32; N] {
        map(a, |x| (x + 12582912.0) - 12582912.0)
    }
    #[inline(always)]
    unsafe fn pow2(n: [f32; N]) -> [f32; N] {
        map(n, |x| f32::from_bits(((x as i32 + 127) << 23) as u32))
    }
    #[inline(always)]
    unsafe fn abs(a: [f32; N]) -> [f32; N] {
        map(a, f32::abs)
    }
    #[inline(always)]
    unsafe fn select_gt(a: [f32; N], b: [f32; N], yes: [f32; N], no: [f32; N]) -> [f32; N] {
        std::array::from_fn(|i| if a[i] > b[i] { yes[i] } else { no[i] })
    }
    #[inline(always)]
    unsafe fn sum(a: [f32; N]) -> f32 {
        ((a[0] + a[4]) + (a[2] + a[6])) + ((a[1] + a[5]) + (a[3] + a[7]))
    }
    #[inline(always)]
    unsafe fn sum4(a: [[f32; N]; 4]) -> [f32; 4] {
        // SAFETY: plain arithmetic.
        a.map(|v| unsafe { Self::sum(v) })
    }
    #[inline(always)]
    unsafe fn max_lane(a: [f32; N]) -> f32 {
        a.into_iter().fold(f32::NEG_INFINITY, f32::max)
    }
    #[inline(always)]
    unsafe fn dot_bf16(acc: [f32; N], a: *const u16, b: *const u16) -> [f32; N] {
        // SAFETY: valid for N pairs.
        let at = |p: *const u16, i: usize| from_bf16(unsafe { *p.add(i) });
        std::array::from_fn(|i| acc[i] + at(a, 2 * i) * at(b, 2 * i) + at(a, 2 * i + 1) * at(b, 2 * i + 1))
    }
    #[inline(always)]
    unsafe fn int_zero() -> [i32; N] {
        [0; N]
    }
    #[inline(always)]
    unsafe fn int_add(a: [i32; N], b: [i32; N]) -> [i32; N] {
        std::array::from_fn(|i| a[i].wrapping_add(b[i]))
    }
    #[inline(always)]
    unsafe fn int_to_float(a: [i32; N]) -> [f32; N] {
        a.map(|v| v as f32)
    }
    #[inline(always)]
    unsafe fn widen_i8(p: *const i8) -> [i32; N] {
        // SAFETY: valid for 2 N bytes.
        let at = |i: usize| i32::from(unsafe { *p.add(i) });
        std::array::from_fn(|i| at(2 * i) & 0xFFFF | at(2 * i + 1) << 16)
    }
    #[inline(always)]
    unsafe fn dot_i16(acc: [i32; N], a: *const i16, b: [i32; N]) -> [i32; N] {
        // SAFETY: valid for N pairs.
        let at = |i: usize| i32::from(unsafe { *a.add(i) });
        std::array::from_fn(|i| {
            let pair = at(2 * i) * i32::from(b[i] as i16) + at(2 * i + 1) * (b[i] >> 16);
            acc[i].wrapping_add(pair)
        })
    }
    #[inline(always)]
    unsafe fn store_i16(p: *mut i16, v: [f32; N]) {
        for (i, x) in v.into_iter().enumerate() {
            // SAFETY: valid for N elements.
            unsafe { *p.add(i) = x as i16 }
        }
    }
    #[inline(always)]
    unsafe fn dot_bf16_pair(acc: [f32; N], a: u32, b: *const u16) -> [f32; N] {
        let (low, high) = (from_bf16(a as u16), from_bf16((a >> 16) as u16));
        // SAFETY: valid for N pairs.
        let at = |i: usize| from_bf16(unsafe { *b.add(i) });
        std::array::from_fn(|i| acc[i] + low * at(2 * i) + high * at(2 * i + 1))
    }
}
