//! Vectors of f32 at each level of instructions. A kernel is written once, generic over [`Simd`], and
//! [`Isa::dispatch`] compiles it for every level: `#[inline(always)]` carries the body into a function that
//! has the instructions switched on.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod lanes;
pub mod math;
#[cfg(target_arch = "aarch64")]
mod neon;
mod portable;
mod widen;

pub use lanes::Lanes;
pub use widen::Widen;

use super::Isa;

/// Lanes of the widest level.
const MOST_LANES: usize = 16;

/// f32 vectors of one level.
///
/// # Safety
/// Every method may only be called inside a [`Kernel`] that [`Isa::dispatch`] runs (so that the processor has
/// the instructions), and pointers must be valid for the lanes read or written. No alignment is needed.
#[allow(missing_docs, clippy::missing_safety_doc)]
pub trait Simd: Copy + Send + Sync + 'static {
    /// f32 lanes of a vector.
    const LANES: usize;
    /// Vectors that the processor keeps at once: the size of a register tile.
    const REGISTERS: usize;
    /// A vector.
    type V: Copy;
    /// A vector of 32-bit integers, or of twice as many 16-bit ones.
    type I: Copy;

    unsafe fn splat(x: f32) -> Self::V;
    unsafe fn load(p: *const f32) -> Self::V;
    unsafe fn store(p: *mut f32, v: Self::V);
    /// The first `n <= LANES` lanes, the rest zero.
    unsafe fn load_n(p: *const f32, n: usize) -> Self::V;
    /// Writes the first `n <= LANES` lanes.
    unsafe fn store_n(p: *mut f32, v: Self::V, n: usize);
    /// `load_n`, quick where `n` is LANES.
    #[inline(always)]
    unsafe fn load_up_to(p: *const f32, n: usize) -> Self::V {
        // SAFETY: the caller's.
        unsafe { if n == Self::LANES { Self::load(p) } else { Self::load_n(p, n) } }
    }
    /// `store_n`, quick where `n` is LANES.
    #[inline(always)]
    unsafe fn store_up_to(p: *mut f32, v: Self::V, n: usize) {
        // SAFETY: the caller's.
        unsafe { if n == Self::LANES { Self::store(p, v) } else { Self::store_n(p, v, n) } }
    }
    /// Widens LANES bf16 values.
    unsafe fn load_bf16(p: *const u16) -> Self::V;
    /// Rounds to nearest even and writes LANES bf16 values. A NaN stays a NaN.
    unsafe fn store_bf16(p: *mut u16, v: Self::V);
    /// Rounds as `store_bf16` and writes LANES pairs of bf16, each of a lane of `a` and the same lane of `b`.
    #[inline(always)]
    unsafe fn store_bf16_pairs(p: *mut u16, a: Self::V, b: Self::V) {
        let mut each = [[0u16; MOST_LANES]; 2];
        // SAFETY: a level has as many lanes at most; 2 * LANES values are the caller's.
        unsafe {
            Self::store_bf16(each[0].as_mut_ptr(), a);
            Self::store_bf16(each[1].as_mut_ptr(), b);
            for (i, (a, b)) in each[0].into_iter().zip(each[1]).enumerate().take(Self::LANES) {
                p.add(2 * i).write(a);
                p.add(2 * i + 1).write(b);
            }
        }
    }
    /// The nearest values of bf16, either of two that are equally near. What is not finite may become anything.
    unsafe fn near_bf16(a: Self::V) -> Self::V;
    /// Widens LANES f16 values.
    unsafe fn load_f16(p: *const u16) -> Self::V;
    /// Widens LANES signed bytes.
    unsafe fn load_i8(p: *const i8) -> Self::V;

    unsafe fn add(a: Self::V, b: Self::V) -> Self::V;
    unsafe fn sub(a: Self::V, b: Self::V) -> Self::V;
    unsafe fn mul(a: Self::V, b: Self::V) -> Self::V;
    unsafe fn div(a: Self::V, b: Self::V) -> Self::V;
    /// a * b + c, rounded once.
    unsafe fn fma(a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    /// The larger; where either is NaN, b.
    unsafe fn max(a: Self::V, b: Self::V) -> Self::V;
    /// The smaller; where either is NaN, b.
    unsafe fn min(a: Self::V, b: Self::V) -> Self::V;
    unsafe fn sqrt(a: Self::V) -> Self::V;
    /// To the nearest integer, ties to even.
    unsafe fn round(a: Self::V) -> Self::V;
    /// 2^n for integral n in -126..=127.
    unsafe fn pow2(n: Self::V) -> Self::V;
    /// x * 2^n for integral n, where x is in [0.5, 2] and n in -126..=127.
    #[inline(always)]
    unsafe fn scale(x: Self::V, n: Self::V) -> Self::V {
        // SAFETY: the caller's.
        unsafe { Self::mul(x, Self::pow2(n)) }
    }
    /// 1 / a within 2 units in the last place, for a of a magnitude in 1e-37..1e37.
    #[inline(always)]
    unsafe fn reciprocal(a: Self::V) -> Self::V {
        // SAFETY: the caller's.
        unsafe { Self::div(Self::splat(1.0), a) }
    }
    /// The magnitude.
    unsafe fn abs(a: Self::V) -> Self::V;
    /// Lanes of `yes` where a > b, else of `no`.
    unsafe fn select_gt(a: Self::V, b: Self::V, yes: Self::V, no: Self::V) -> Self::V;
    /// Sum of the lanes, in a fixed order.
    unsafe fn sum(a: Self::V) -> f32;
    /// The sums of the lanes of four vectors, each in the same fixed order (not that of `sum`).
    unsafe fn sum4(a: [Self::V; 4]) -> [f32; 4];
    /// Turns LANES rows of LANES elements, `step` apart, into as many columns: the rows written, `to_step` apart, are the
    /// columns read.
    #[inline(always)]
    unsafe fn turn(from: *const f32, step: usize, to: *mut f32, to_step: usize) {
        for i in 0..Self::LANES {
            for j in 0..Self::LANES {
                // SAFETY: the caller's rows and columns are there.
                unsafe { *to.add(j * to_step + i) = *from.add(i * step + j) };
            }
        }
    }
    /// The largest lane.
    unsafe fn max_lane(a: Self::V) -> f32;

    /// Adds the products of LANES pairs of bf16: lane i gets `a[2i] * b[2i] + a[2i+1] * b[2i+1]`.
    unsafe fn dot_bf16(acc: Self::V, a: *const u16, b: *const u16) -> Self::V;
    /// As `dot_bf16`, with the same pair of `a` (low half first) for every lane.
    unsafe fn dot_bf16_pair(acc: Self::V, a: u32, b: *const u16) -> Self::V;

    /// All zero.
    unsafe fn int_zero() -> Self::I;
    /// The sums of 32-bit integers, modulo 2^32.
    unsafe fn int_add(a: Self::I, b: Self::I) -> Self::I;
    /// 32-bit integers to f32, to nearest even.
    unsafe fn int_to_float(a: Self::I) -> Self::V;
    /// Widens 2 * LANES signed bytes to 16 bits.
    unsafe fn widen_i8(p: *const i8) -> Self::I;
    /// Adds products of 2 * LANES pairs of 16-bit integers, two to each 32-bit lane; which two is the level's
    /// own. No two values may both be -2^15 in both of a lane's pairs.
    unsafe fn dot_i16(acc: Self::I, a: *const i16, b: Self::I) -> Self::I;
    /// Writes LANES integral values from -32767 to 32767 as 16-bit integers.
    unsafe fn store_i16(p: *mut i16, v: Self::V);

    /// Brings the cache line near.
    #[inline(always)]
    unsafe fn prefetch(p: *const u8) {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: a prefetch of any address is harmless.
        unsafe {
            std::arch::x86_64::_mm_prefetch(p.cast(), std::arch::x86_64::_MM_HINT_T0);
        }
        #[cfg(not(target_arch = "x86_64"))]
        let _ = p;
    }

    /// Brings the cache line to the second cache.
    #[inline(always)]
    unsafe fn prefetch_second(p: *const u8) {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: a prefetch of any address is harmless.
        unsafe {
            std::arch::x86_64::_mm_prefetch(p.cast(), std::arch::x86_64::_MM_HINT_T1);
        }
        #[cfg(not(target_arch = "x86_64"))]
        let _ = p;
    }

    /// Stores past the caches where the level can; `p` must be aligned to the vector.
    #[inline(always)]
    unsafe fn stream(p: *mut f32, v: Self::V) {
        // SAFETY: the caller's.
        unsafe { Self::store(p, v) }
    }

    /// The first `n` lanes: whole aligned vectors past the caches if `far`, after which [`Simd::fence`] is due.
    #[inline(always)]
    unsafe fn store_far(p: *mut f32, v: Self::V, n: usize, far: bool) {
        // SAFETY: the caller's; a level's vectors are as long as they are to be aligned.
        unsafe {
            if far && n == Self::LANES && p.cast::<u8>().addr().is_multiple_of(4 * Self::LANES) {
                Self::stream(p, v);
            } else {
                Self::store_up_to(p, v, n);
            }
        }
    }

    /// After the last `stream` of a block: orders it before whatever tells another thread of it.
    #[inline(always)]
    unsafe fn fence() {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: every x86-64 has the instruction.
        unsafe {
            std::arch::x86_64::_mm_sfence();
        }
    }
}

/// Work written over [`Simd`]. Implementations mark `run`, and what it calls, `#[inline(always)]`.
pub trait Kernel {
    /// What it returns.
    type Output;
    /// Does the work with the vectors of `S`.
    fn run<S: Simd>(self) -> Self::Output;
}

impl Isa {
    /// Runs a kernel compiled for this level.
    #[inline]
    #[allow(clippy::undocumented_unsafe_blocks)] // Said once, below.
    pub fn dispatch<K: Kernel>(self, kernel: K) -> K::Output {
        match self {
            Isa::Portable => kernel.run::<portable::Portable>(),
            // Sound, all of them: callers take an `Isa` from `Isa::available`, which asks the processor.
            #[cfg(target_arch = "aarch64")]
            Isa::Neon => unsafe { neon::run(kernel) },
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => unsafe { avx2::run(kernel) },
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => unsafe { avx512::run(kernel) },
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512Bf16 => unsafe { avx512::run_bf16(kernel) },
            #[allow(unreachable_patterns)]
            other => unreachable!("{} on this target", other.name()),
        }
    }
}

/// f32 to bf16, to nearest even; a NaN stays a NaN.
#[inline(always)]
pub fn to_bf16(x: f32) -> u16 {
    half::bf16::from_f32(x).to_bits()
}

/// bf16 to f32, exact.
#[inline(always)]
pub fn from_bf16(x: u16) -> f32 {
    f32::from_bits((x as u32) << 16)
}
