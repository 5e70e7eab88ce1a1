// Each method is one or a few intrinsics: sound by the contract of `Simd`, which is said there once.
#![allow(clippy::undocumented_unsafe_blocks)]

use super::{Kernel, Simd};
use std::arch::x86_64::*;

/// Sixteen lanes; bf16 pairs widened and multiplied in f32.
#[derive(Clone, Copy)]
pub struct Avx512;

/// As [`Avx512`], with the processor's own bf16 dot products.
#[derive(Clone, Copy)]
pub struct Avx512Bf16;

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma,f16c")]
pub unsafe fn run<K: Kernel>(kernel: K) -> K::Output {
    kernel.run::<Avx512>()
}

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx512bf16,avx2,fma,f16c")]
pub unsafe fn run_bf16<K: Kernel>(kernel: K) -> K::Output {
    kernel.run::<Avx512Bf16>()
}

#[inline(always)]
unsafe fn low_bf16(pairs: __m512i) -> __m512 {
    // SAFETY: the caller has AVX-512.
    unsafe { _mm512_castsi512_ps(_mm512_slli_epi32::<16>(pairs)) }
}

#[inline(always)]
unsafe fn high_bf16(pairs: __m512i) -> __m512 {
    // SAFETY: the caller has AVX-512.
    unsafe { _mm512_castsi512_ps(_mm512_and_si512(pairs, _mm512_set1_epi32(0xFFFF_0000_u32 as i32))) }
}

/// Everything the two levels share; the rest is given.
macro_rules! level {
    ($name:ident { $($own:item)* }) => {
        impl Simd for $name {
            const LANES: usize = 16;
            const REGISTERS: usize = 32;
            type V = __m512;
            type I = __m512i;

            #[inline(always)]
            unsafe fn splat(x: f32) -> __m512 { unsafe { _mm512_set1_ps(x) } }
            #[inline(always)]
            unsafe fn load(p: *const f32) -> __m512 { unsafe { _mm512_loadu_ps(p) } }
            #[inline(always)]
            unsafe fn store(p: *mut f32, v: __m512) { unsafe { _mm512_storeu_ps(p, v) } }
            #[inline(always)]
            unsafe fn load_n(p: *const f32, n: usize) -> __m512 {
                unsafe { _mm512_maskz_loadu_ps(((1u32 << n) - 1) as u16, p) }
            }
            #[inline(always)]
            unsafe fn store_n(p: *mut f32, v: __m512, n: usize) {
                unsafe { _mm512_mask_storeu_ps(p, ((1u32 << n) - 1) as u16, v) }
            }
            #[inline(always)]
            unsafe fn load_bf16(p: *const u16) -> __m512 {
                unsafe {
                    let wide = _mm512_cvtepu16_epi32(_mm256_loadu_si256(p.cast()));
                    _mm512_castsi512_ps(_mm512_slli_epi32::<16>(wide))
                }
            }
            #[inline(always)]
            unsafe fn near_bf16(a: __m512) -> __m512 {
                unsafe {
                    let up = _mm512_add_epi32(_mm512_castps_si512(a), _mm512_set1_epi32(0x8000));
                    _mm512_castsi512_ps(_mm512_and_si512(up, _mm512_set1_epi32(0xFFFF_0000_u32 as i32)))
                }
            }
            #[inline(always)]
            unsafe fn load_f16(p: *const u16) -> __m512 {
                unsafe { _mm512_cvtph_ps(_mm256_loadu_si256(p.cast())) }
            }
            #[inline(always)]
            unsafe fn load_i8(p: *const i8) -> __m512 {
                unsafe { _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(p.cast()))) }
            }
            #[inline(always)]
            unsafe fn add(a: __m512, b: __m512) -> __m512 { unsafe { _mm512_add_ps(a, b) } }
            #[inline(always)]
            unsafe fn sub(a: __m512, b: __m512) -> __m512 { unsafe { _mm512_sub_ps(a, b) } }
            #[inline(always)]
            unsafe fn mul(a: __m512, b: __m512) -> __m512 { unsafe { _mm512_mul_ps(a, b) } }
            #[inline(always)]
            unsafe fn div(a: __m512, b: __m512) -> __m512 { unsafe { _mm512_div_ps(a, b) } }
            #[inline(always)]
            unsafe fn fma(a: __m512, b: __m512, c: __m512) -> __m512 { unsafe { _mm512_fmadd_ps(a, b, c) } }
            #[inline(always)]
            unsafe fn max(a: __m512, b: __m512) -> __m512 { unsafe { _mm512_max_ps(a, b) } }
            #[inline(always)]
            unsafe fn min(a: __m512, b: __m512) -> __m512 { unsafe { _mm512_min_ps(a, b) } }
            #[inline(always)]
            unsafe fn sqrt(a: __m512) -> __m512 { unsafe { _mm512_sqrt_ps(a) } }
            #[inline(always)]
            unsafe fn round(a: __m512) -> __m512 { unsafe { _mm512_roundscale_ps::<8>(a) } }
            #[inline(always)]
            unsafe fn pow2(n: __m512) -> __m512 {
                unsafe {
                    let biased = _mm512_add_epi32(_mm512_cvtps_epi32(n), _mm512_set1_epi32(127));
                    _mm512_castsi512_ps(_mm512_slli_epi32::<23>(biased))
                }
            }
            #[inline(always)]
            unsafe fn scale(x: __m512, n: __m512) -> __m512 { unsafe { _mm512_scalef_ps(x, n) } }
            /// An estimate of 14 bits and a step of Newton's.
            #[inline(always)]
            unsafe fn reciprocal(a: __m512) -> __m512 {
                unsafe {
                    let r = _mm512_rcp14_ps(a);
                    _mm512_fmadd_ps(r, _mm512_fnmadd_ps(a, r, _mm512_set1_ps(1.0)), r)
                }
            }
            #[inline(always)]
            unsafe fn abs(a: __m512) -> __m512 { unsafe { _mm512_abs_ps(a) } }
            #[inline(always)]
            unsafe fn select_gt(a: __m512, b: __m512, yes: __m512, no: __m512) -> __m512 {
                unsafe { _mm512_mask_blend_ps(_mm512_cmp_ps_mask::<_CMP_GT_OQ>(a, b), no, yes) }
            }
            #[inline(always)]
            unsafe fn sum(a: __m512) -> f32 { unsafe { _mm512_reduce_add_ps(a) } }
            #[inline(always)]
            unsafe fn turn(from: *const f32, step: usize, to: *mut f32, to_step: usize) {
                unsafe {
                    // Fours of rows first: `fours[4 i + j]` has column 4 l + j of rows 4 i to 4 i + 3 in its part l.
                    let mut fours = [_mm512_setzero_ps(); 16];
                    for i in 0..4 {
                        let row = |r: usize| _mm512_loadu_ps(from.add((4 * i + r) * step));
                        let pair = |a, b| {
                            let (low, high) = (_mm512_unpacklo_ps(a, b), _mm512_unpackhi_ps(a, b));
                            (_mm512_castps_pd(low), _mm512_castps_pd(high))
                        };
                        let (ab, cd) = (pair(row(0), row(1)), pair(row(2), row(3)));
                        fours[4 * i] = _mm512_castpd_ps(_mm512_unpacklo_pd(ab.0, cd.0));
                        fours[4 * i + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(ab.0, cd.0));
                        fours[4 * i + 2] = _mm512_castpd_ps(_mm512_unpacklo_pd(ab.1, cd.1));
                        fours[4 * i + 3] = _mm512_castpd_ps(_mm512_unpackhi_pd(ab.1, cd.1));
                    }
                    for j in 0..4 {
                        let (a, b, c, d) = (fours[j], fours[4 + j], fours[8 + j], fours[12 + j]);
                        let even =
                            (_mm512_shuffle_f32x4::<0x88>(a, b), _mm512_shuffle_f32x4::<0x88>(c, d));
                        let odd = (_mm512_shuffle_f32x4::<0xDD>(a, b), _mm512_shuffle_f32x4::<0xDD>(c, d));
                        let put = |column: usize, v| _mm512_storeu_ps(to.add(column * to_step), v);
                        put(j, _mm512_shuffle_f32x4::<0x88>(even.0, even.1));
                        put(8 + j, _mm512_shuffle_f32x4::<0xDD>(even.0, even.1));
                        put(4 + j, _mm512_shuffle_f32x4::<0x88>(odd.0, odd.1));
                        put(12 + j, _mm512_shuffle_f32x4::<0xDD>(odd.0, odd.1));
                    }
                }
            }
            #[inline(always)]
            unsafe fn sum4(a: [__m512; 4]) -> [f32; 4] {
                unsafe {
                    let pair = |a, b| _mm512_add_ps(_mm512_unpacklo_ps(a, b), _mm512_unpackhi_ps(a, b));
                    let (ab, cd) = (_mm512_castps_pd(pair(a[0], a[1])), _mm512_castps_pd(pair(a[2], a[3])));
                    let low = _mm512_castpd_ps(_mm512_unpacklo_pd(ab, cd));
                    let four = _mm512_add_ps(low, _mm512_castpd_ps(_mm512_unpackhi_pd(ab, cd)));
                    let top = _mm512_extractf32x8_ps::<1>(four);
                    let two = _mm256_add_ps(_mm512_castps512_ps256(four), top);
                    let one = _mm_add_ps(_mm256_castps256_ps128(two), _mm256_extractf128_ps::<1>(two));
                    let mut sums = [0.0; 4];
                    _mm_storeu_ps(sums.as_mut_ptr(), one);
                    sums
                }
            }
            #[inline(always)]
            unsafe fn max_lane(a: __m512) -> f32 { unsafe { _mm512_reduce_max_ps(a) } }
            #[inline(always)]
            unsafe fn int_zero() -> __m512i { unsafe { _mm512_setzero_si512() } }
            #[inline(always)]
            unsafe fn int_add(a: __m512i, b: __m512i) -> __m512i { unsafe { _mm512_add_epi32(a, b) } }
            #[inline(always)]
            unsafe fn int_to_float(a: __m512i) -> __m512 { unsafe { _mm512_cvtepi32_ps(a) } }
            #[inline(always)]
            unsafe fn widen_i8(p: *const i8) -> __m512i {
                unsafe { _mm512_cvtepi8_epi16(_mm256_loadu_si256(p.cast())) }
            }
            #[inline(always)]
            unsafe fn dot_i16(acc: __m512i, a: *const i16, b: __m512i) -> __m512i {
                unsafe { _mm512_dpwssd_epi32(acc, _mm512_loadu_si512(a.cast()), b) }
            }
            #[inline(always)]
            unsafe fn store_i16(p: *mut i16, v: __m512) {
                unsafe { _mm256_storeu_si256(p.cast(), _mm512_cvtepi32_epi16(_mm512_cvtps_epi32(v))) }
            }
            #[inline(always)]
            unsafe fn stream(p: *mut f32, v: __m512) { unsafe { _mm512_stream_ps(p, v) } }
            $($own)*
        }
    };
}

level!(Avx512 {
    #[inline(always)]
    unsafe fn store_bf16(p: *mut u16, v: __m512) {
        unsafe {
            let bits = _mm512_castps_si512(v);
            let odd = _mm512_and_si512(_mm512_srli_epi32::<16>(bits), _mm512_set1_epi32(1));
            let rounded = _mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7FFF)));
            let nan = _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(v, v);
            let quiet = _mm512_or_si512(bits, _mm512_set1_epi32(0x0040_0000));
            let chosen = _mm512_mask_blend_epi32(nan, rounded, quiet);
            _mm256_storeu_si256(p.cast(), _mm512_cvtepi32_epi16(_mm512_srli_epi32::<16>(chosen)));
        }
    }
    #[inline(always)]
    unsafe fn dot_bf16(acc: __m512, a: *const u16, b: *const u16) -> __m512 {
        unsafe {
            let (a, b) = (_mm512_loadu_si512(a.cast()), _mm512_loadu_si512(b.cast()));
            let acc = _mm512_fmadd_ps(low_bf16(a), low_bf16(b), acc);
            _mm512_fmadd_ps(high_bf16(a), high_bf16(b), acc)
        }
    }
    #[inline(always)]
    unsafe fn dot_bf16_pair(acc: __m512, a: u32, b: *const u16) -> __m512 {
        unsafe {
            let (a, b) = (_mm512_set1_epi32(a as i32), _mm512_loadu_si512(b.cast()));
            let acc = _mm512_fmadd_ps(low_bf16(a), low_bf16(b), acc);
            _mm512_fmadd_ps(high_bf16(a), high_bf16(b), acc)
        }
    }
});

level!(Avx512Bf16 {
    #[inline(always)]
    unsafe fn store_bf16(p: *mut u16, v: __m512) {
        // SAFETY: __m256bh and __m256i are the same 256 bits.
        unsafe { _mm256_storeu_si256(p.cast(), std::mem::transmute::<__m256bh, __m256i>(_mm512_cvtneps_pbh(v))) }
    }
    #[inline(always)]
    unsafe fn store_bf16_pairs(p: *mut u16, a: __m512, b: __m512) {
        // SAFETY: __m512bh and __m512i are the same 512 bits.
        unsafe {
            let both = std::mem::transmute::<__m512bh, __m512i>(_mm512_cvtne2ps_pbh(b, a));
            // 0, 16, 1, 17, ...
            let place = _mm512_add_epi32(
                _mm512_set1_epi32(16 << 16),
                _mm512_mullo_epi32(
                    _mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0),
                    _mm512_set1_epi32(0x0001_0001),
                ),
            );
            _mm512_storeu_si512(p.cast(), _mm512_permutexvar_epi16(place, both));
        }
    }
    #[inline(always)]
    unsafe fn dot_bf16(acc: __m512, a: *const u16, b: *const u16) -> __m512 {
        // SAFETY: __m512bh and __m512i are the same 512 bits.
        unsafe {
            let a: __m512bh = std::mem::transmute(_mm512_loadu_si512(a.cast()));
            _mm512_dpbf16_ps(acc, a, std::mem::transmute::<__m512i, __m512bh>(_mm512_loadu_si512(b.cast())))
        }
    }
    #[inline(always)]
    unsafe fn dot_bf16_pair(acc: __m512, a: u32, b: *const u16) -> __m512 {
        // SAFETY: __m512bh and __m512i are the same 512 bits.
        unsafe {
            let a: __m512bh = std::mem::transmute(_mm512_set1_epi32(a as i32));
            _mm512_dpbf16_ps(acc, a, std::mem::transmute::<__m512i, __m512bh>(_mm512_loadu_si512(b.cast())))
        }
    }
});
