use super::Simd;
use crate::tensor::Element;
use half::{bf16, f16};

/// As many lanes as any level has.
const WIDEST: usize = 16;

/// A type that weights are stored in: each of its values is one of f32.
pub trait Widen: Element {
    /// LANES elements as f32.
    ///
    /// # Safety
    /// That of [`Simd`].
    unsafe fn load<S: Simd>(p: *const Self) -> S::V;
    /// The first `n <= LANES` elements, the other lanes zero.
    ///
    /// # Safety
    /// That of [`Simd`], for `n` elements.
    unsafe fn load_n<S: Simd>(p: *const Self, n: usize) -> S::V;
}

impl Widen for f32 {
    #[inline(always)]
    unsafe fn load<S: Simd>(p: *const f32) -> S::V {
        // SAFETY: the caller's.
        unsafe { S::load(p) }
    }
    #[inline(always)]
    unsafe fn load_n<S: Simd>(p: *const f32, n: usize) -> S::V {
        // SAFETY: the caller's.
        unsafe { S::load_n(p, n) }
    }
}

macro_rules! narrow {
    ($($name:ident by $load:ident;)*) => {
        $(impl Widen for $name {
            #[inline(always)]
            unsafe fn load<S: Simd>(p: *const $name) -> S::V {
                // SAFETY: the type is its 16 bits; the rest is the caller's.
                unsafe { S::$load(p.cast()) }
            }
            #[inline(always)]
            unsafe fn load_n<S: Simd>(p: *const $name, n: usize) -> S::V {
                let mut wide = [0u16; WIDEST];
                // SAFETY: n <= WIDEST elements are there to read, and WIDEST to load.
                unsafe {
                    std::ptr::copy_nonoverlapping(p.cast(), wide.as_mut_ptr(), n);
                    S::$load(wide.as_ptr())
                }
            }
        })*
    };
}

narrow! {
    bf16 by load_bf16;
    f16 by load_f16;
}
