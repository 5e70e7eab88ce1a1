use super::{Simd, from_bf16, to_bf16};
use crate::tensor::Element;
use half::bf16;

/// An element type that vectors of f32 are loaded from and stored to.
pub trait Lanes: Element {
    /// LANES elements as f32.
    ///
    /// # Safety
    /// That of [`Simd`].
    unsafe fn load<S: Simd>(p: *const Self) -> S::V;
    /// LANES elements from f32.
    ///
    /// # Safety
    /// That of [`Simd`].
    unsafe fn store<S: Simd>(p: *mut Self, v: S::V);
    /// The first `n <= LANES` elements, the other lanes zero.
    ///
    /// # Safety
    /// That of [`Simd`], for `n` elements.
    unsafe fn load_n<S: Simd>(p: *const Self, n: usize) -> S::V;
    /// Writes the first `n <= LANES` elements.
    ///
    /// # Safety
    /// That of [`Simd`], for `n` elements.
    unsafe fn store_n<S: Simd>(p: *mut Self, v: S::V, n: usize);
    /// As [`Lanes::store_n`]; f32 as [`Simd::store_far`]. (Half as large, what is written is often still near when it is
    /// read: past the caches would be slower.)
    ///
    /// # Safety
    /// That of [`Simd`], for `n` elements.
    #[inline(always)]
    unsafe fn store_far<S: Simd>(p: *mut Self, v: S::V, n: usize, far: bool) {
        let _ = far;
        // SAFETY: the caller's.
        unsafe { Self::store_n::<S>(p, v, n) }
    }
    /// One element as f32.
    fn get(self) -> f32;
}

impl Lanes for f32 {
    #[inline(always)]
    unsafe fn load<S: Simd>(p: *const f32) -> S::V {
        // SAFETY: the caller's.
        unsafe { S::load(p) }
    }
    #[inline(always)]
    unsafe fn store<S: Simd>(p: *mut f32, v: S::V) {
        // SAFETY: the caller's.
        unsafe { S::store(p, v) }
    }
    #[inline(always)]
    unsafe fn load_n<S: Simd>(p: *const f32, n: usize) -> S::V {
        // SAFETY: the caller's.
        unsafe { S::load_up_to(p, n) }
    }
    #[inline(always)]
    unsafe fn store_n<S: Simd>(p: *mut f32, v: S::V, n: usize) {
        // SAFETY: the caller's.
        unsafe { S::store_up_to(p, v, n) }
    }
    #[inline(always)]
    unsafe fn store_far<S: Simd>(p: *mut f32, v: S::V, n: usize, far: bool) {
        // SAFETY: the caller's.
        unsafe { S::store_far(p, v, n, far) }
    }
    #[inline(always)]
    fn get(self) -> f32 {
        self
    }
}

/// As many lanes as any level has.
const WIDEST: usize = 16;

impl Lanes for bf16 {
    #[inline(always)]
    unsafe fn load<S: Simd>(p: *const bf16) -> S::V {
        // SAFETY: bf16 is its 16 bits; the rest is the caller's.
        unsafe { S::load_bf16(p.cast()) }
    }
    #[inline(always)]
    unsafe fn store<S: Simd>(p: *mut bf16, v: S::V) {
        // SAFETY: bf16 is its 16 bits; the rest is the caller's.
        unsafe { S::store_bf16(p.cast(), v) }
    }
    #[inline(always)]
    unsafe fn load_n<S: Simd>(p: *const bf16, n: usize) -> S::V {
        if n == S::LANES {
            // SAFETY: the caller's.
            return unsafe { Self::load::<S>(p) };
        }
        let mut wide = [0.0; WIDEST];
        for (i, x) in wide.iter_mut().enumerate().take(n) {
            // SAFETY: i < n.
            *x = from_bf16(unsafe { (*p.add(i)).to_bits() });
        }
        // SAFETY: WIDEST lanes are there.
        unsafe { S::load(wide.as_ptr()) }
    }
    #[inline(always)]
    unsafe fn store_n<S: Simd>(p: *mut bf16, v: S::V, n: usize) {
        if n == S::LANES {
            // SAFETY: the caller's.
            return unsafe { Self::store::<S>(p, v) };
        }
        let mut wide = [0.0; WIDEST];
        // SAFETY: WIDEST lanes are there.
        unsafe { S::store(wide.as_mut_ptr(), v) };
        for (i, &x) in wide.iter().enumerate().take(n) {
            // SAFETY: i < n.
            unsafe { *p.add(i) = bf16::from_bits(to_bf16(x)) };
        }
    }
    #[inline(always)]
    fn get(self) -> f32 {
        self.to_f32()
    }
}
