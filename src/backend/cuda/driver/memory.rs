//! Memory of the GPU, and of the processor for it; copies between them.

use super::{Driver, check};
use crate::error::Result;
use cust::sys;
use std::ptr::null_mut;

impl Driver {
    /// Memory of the GPU, ready for work that is started after.
    pub fn allocate(&self, bytes: usize) -> Result<usize> {
        let _entered = self.enter()?;
        self.counters.allocations.add();
        let mut address = 0;
        // SAFETY: writes an address.
        let result = unsafe { sys::cuMemAllocAsync(&mut address, bytes.max(1), self.stream) };
        check(&format!("allocating {bytes} bytes"), result)?;
        Ok(address as usize)
    }

    /// Gives memory back once the work that was started before is done.
    pub fn free(&self, address: usize) {
        if let Ok(_entered) = self.enter() {
            // SAFETY: `allocate` gave it, and its only holder gives it back. A failure leaves nothing to be done.
            let _ = unsafe { sys::cuMemFreeAsync(address as u64, self.stream) };
        }
    }

    /// Page-locked memory of the processor's, which the GPU copies from and to by itself.
    pub fn pinned(&self, bytes: usize) -> Result<*mut u8> {
        let _entered = self.enter()?;
        let mut at = null_mut();
        // SAFETY: writes an address.
        check("allocating pinned memory", unsafe { sys::cuMemHostAlloc(&mut at, bytes.max(1), 0) })?;
        Ok(at.cast())
    }

    /// Frees what `pinned` gave.
    ///
    /// # Safety
    /// Nobody uses it any more, the GPU neither.
    pub unsafe fn free_pinned(&self, at: *mut u8) {
        if let Ok(_entered) = self.enter() {
            // SAFETY: the caller's.
            let _ = unsafe { sys::cuMemFreeHost(at.cast()) };
        }
    }

    /// Starts a copy to the GPU.
    ///
    /// # Safety
    /// `bytes` can be read at `from` until the copy is done, and written at `to`.
    pub unsafe fn write(&self, to: usize, from: *const u8, bytes: usize) -> Result<()> {
        self.not_while_capturing("a copy to the GPU")?;
        let _entered = self.enter()?;
        self.counters.copies.add();
        // SAFETY: the caller's.
        check("copying to the GPU", unsafe {
            sys::cuMemcpyHtoDAsync_v2(to as u64, from.cast(), bytes, self.stream)
        })
    }

    /// Starts a copy from the GPU.
    ///
    /// # Safety
    /// `bytes` can be written at `to` until the copy is done, and read at `from`.
    pub unsafe fn read(&self, to: *mut u8, from: usize, bytes: usize) -> Result<()> {
        self.not_while_capturing("a copy from the GPU")?;
        let _entered = self.enter()?;
        self.counters.copies.add();
        // SAFETY: the caller's.
        check("copying from the GPU", unsafe {
            sys::cuMemcpyDtoHAsync_v2(to.cast(), from as u64, bytes, self.stream)
        })
    }

    /// Starts a copy within the GPU.
    ///
    /// # Safety
    /// `bytes` can be read at `from` and written at `to`, and the two do not overlap.
    pub unsafe fn copy(&self, to: usize, from: usize, bytes: usize) -> Result<()> {
        let _entered = self.enter()?;
        // SAFETY: the caller's.
        check("copying on the GPU", unsafe {
            sys::cuMemcpyDtoDAsync_v2(to as u64, from as u64, bytes, self.stream())
        })
    }

    /// Starts to fill memory with zeros.
    ///
    /// # Safety
    /// `bytes` can be written at `to`.
    pub unsafe fn zero(&self, to: usize, bytes: usize) -> Result<()> {
        let _entered = self.enter()?;
        // SAFETY: the caller's.
        check("clearing memory", unsafe { sys::cuMemsetD8Async(to as u64, 0, bytes, self.stream()) })
    }
}
