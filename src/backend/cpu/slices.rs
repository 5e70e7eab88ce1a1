use std::marker::PhantomData;
use std::ops::Range;

/// A mutable slice that the parts of a parallel section write piecewise.
pub struct Parts<'a, T> {
    ptr: *mut T,
    len: usize,
    lifetime: PhantomData<&'a mut [T]>,
}

// SAFETY: access is through `slice`, whose contract forbids overlap; T itself moves between threads.
unsafe impl<T: Send> Sync for Parts<'_, T> {}
// SAFETY: as above.
unsafe impl<T: Send> Send for Parts<'_, T> {}

impl<'a, T> Parts<'a, T> {
    /// Takes the slice for as long as the parts live.
    pub fn new(slice: &'a mut [T]) -> Parts<'a, T> {
        Parts { ptr: slice.as_mut_ptr(), len: slice.len(), lifetime: PhantomData }
    }

    /// Elements in all.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The first element's address, for parts that interleave. What is written through it must not overlap with
    /// what any other thread touches.
    pub fn pointer(&self) -> *mut T {
        self.ptr
    }

    /// Address of the first element, for kernels that write parts that are no ranges, under the same promise
    /// as [`Parts::slice`].
    pub fn as_ptr(&self) -> *mut T {
        self.ptr
    }

    /// One part.
    ///
    /// # Safety
    /// No two parts that live at the same time may overlap.
    ///
    /// # Panics
    /// When the range lies outside.
    #[allow(clippy::mut_from_ref)]
    pub unsafe fn slice(&self, range: Range<usize>) -> &mut [T] {
        assert!(range.start <= range.end && range.end <= self.len, "{range:?} of {}", self.len);
        // SAFETY: in bounds; disjoint by the caller's promise.
        unsafe { std::slice::from_raw_parts_mut(self.ptr.add(range.start), range.end - range.start) }
    }
}

/// The `index`-th of `parts` nearly equal, consecutive ranges of `0..count`, each but the last a multiple of
/// `unit` long.
pub fn split(count: usize, parts: usize, unit: usize, index: usize) -> Range<usize> {
    let units = count.div_ceil(unit);
    let at = |i: usize| (units * i / parts * unit).min(count);
    at(index)..at(index + 1)
}
