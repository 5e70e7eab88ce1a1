use super::Parts;
use super::simd::{Lanes, Simd};
use crate::error::{Error, Result};
use crate::tensor::{DType, Tensor};
use half::bf16;

/// The elements of a tensor that may be f32 or bf16, read as f32. Which of the two is asked at each vector, so that a
/// kernel need not be compiled for each.
#[derive(Clone, Copy)]
pub enum Values<'a> {
    /// Single precision.
    F32(&'a [f32]),
    /// Its upper half.
    Bf16(&'a [bf16]),
}

impl<'a> Values<'a> {
    /// Those of a tensor.
    ///
    /// # Errors
    /// `Unsupported` for another type; `Internal` for a tensor that is not here.
    pub fn of(tensor: &'a Tensor) -> Result<Values<'a>> {
        match tensor.dtype() {
            DType::F32 => Ok(Values::F32(tensor.data()?)),
            DType::BF16 => Ok(Values::Bf16(tensor.data()?)),
            _ => Err(other(tensor)),
        }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        match self {
            Values::F32(all) => all.len(),
            Values::Bf16(all) => all.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// `n <= LANES` elements from `at` on, the other lanes zero.
    ///
    /// # Safety
    /// That of [`Simd`], for elements that are there.
    #[inline(always)]
    pub unsafe fn load_n<S: Simd>(self, at: usize, n: usize) -> S::V {
        // SAFETY: the caller's.
        unsafe {
            match self {
                Values::F32(all) => f32::load_n::<S>(all.as_ptr().add(at), n),
                Values::Bf16(all) => bf16::load_n::<S>(all.as_ptr().add(at), n),
            }
        }
    }

    /// Where an element is, for prefetches: it need not exist.
    #[inline(always)]
    pub fn address(self, at: usize) -> *const u8 {
        match self {
            Values::F32(all) => all.as_ptr().wrapping_add(at).cast(),
            Values::Bf16(all) => all.as_ptr().wrapping_add(at).cast(),
        }
    }
}

/// A tensor's elements, f32 or bf16, that the parts of a parallel section write piecewise.
pub enum Written<'a> {
    /// Single precision.
    F32(Parts<'a, f32>),
    /// Its upper half.
    Bf16(Parts<'a, bf16>),
}

impl<'a> Written<'a> {
    /// Those of a tensor.
    ///
    /// # Errors
    /// As of [`Values::of`]; `Internal` for one that is shared.
    pub fn of(tensor: &'a mut Tensor) -> Result<Written<'a>> {
        match tensor.dtype() {
            DType::F32 => Ok(Written::F32(Parts::new(tensor.data_mut()?))),
            DType::BF16 => Ok(Written::Bf16(Parts::new(tensor.data_mut()?))),
            _ => Err(other(tensor)),
        }
    }

    /// Writes `n <= LANES` elements from `at` on, as [`Lanes::store_far`].
    ///
    /// # Safety
    /// That of [`Simd`]; nobody else touches these elements.
    ///
    /// # Panics
    /// When they are not there.
    #[inline(always)]
    pub unsafe fn store_far<S: Simd>(&self, at: usize, v: S::V, n: usize, far: bool) {
        // SAFETY: the caller's.
        unsafe {
            match self {
                Written::F32(all) => f32::store_far::<S>(all.slice(at..at + n).as_mut_ptr(), v, n, far),
                Written::Bf16(all) => bf16::store_far::<S>(all.slice(at..at + n).as_mut_ptr(), v, n, far),
            }
        }
    }
}

fn other(tensor: &Tensor) -> Error {
    Error::unsupported(format!("{}, expected f32 or bf16", tensor.desc()))
}
