//! A second stream: what goes on beside the device's own work, and how the two wait for each other.

use super::{Driver, Event, NON_BLOCKING, check};
use crate::error::Result;
use cust::sys::{self, CUresult};
use std::ffi::c_void;
use std::ptr::null_mut;

/// A stream that is not the device's own.
pub(in crate::backend::cuda) struct Side(sys::CUstream);

// SAFETY: a handle, which any thread may pass to the driver.
unsafe impl Send for Side {}
// SAFETY: as above.
unsafe impl Sync for Side {}

impl Side {
    /// The stream, for libraries.
    pub fn raw(&self) -> *mut c_void {
        self.0.cast()
    }
}

impl Driver {
    /// Another stream.
    pub fn side(&self) -> Result<Side> {
        let _entered = self.enter()?;
        let mut stream = null_mut();
        // SAFETY: writes a handle.
        check("making a stream", unsafe { sys::cuStreamCreateWithPriority(&mut stream, NON_BLOCKING, 0) })?;
        Ok(Side(stream))
    }

    /// Gives it back, after all that was started in it.
    pub fn free_side(&self, side: &Side) {
        if let Ok(_entered) = self.enter() {
            // SAFETY: its owner gives it back. A failure leaves nothing to be done.
            let _ = unsafe { sys::cuStreamDestroy_v2(side.0) };
        }
    }

    /// Marks what has been started in the other stream up to now.
    pub fn record_in(&self, side: &Side, event: &Event) -> Result<()> {
        let _entered = self.enter()?;
        // SAFETY: both are alive.
        check("recording an event", unsafe { sys::cuEventRecord(event.0, side.0) })
    }

    /// What is started in the other stream from now on begins when the mark is reached.
    pub fn hold_side(&self, side: &Side, event: &Event) -> Result<()> {
        let _entered = self.enter()?;
        // SAFETY: both are alive.
        check("waiting for an event", unsafe { sys::cuStreamWaitEvent(side.0, event.0, 0) })
    }

    /// What is started in the device's own stream from now on begins when the mark is reached.
    pub fn hold(&self, event: &Event) -> Result<()> {
        let _entered = self.enter()?;
        // SAFETY: both are alive.
        check("waiting for an event", unsafe { sys::cuStreamWaitEvent(self.stream, event.0, 0) })
    }

    /// Whether the mark is reached.
    pub fn reached(&self, event: &Event) -> Result<bool> {
        let _entered = self.enter()?;
        // SAFETY: it is alive.
        match unsafe { sys::cuEventQuery(event.0) } {
            CUresult::CUDA_ERROR_NOT_READY => Ok(false),
            other => check("asking for an event", other).map(|()| true),
        }
    }
}
