//! Noting down the work of one thread, in a stream of its own: that of other threads goes to the device's stream meanwhile.

use super::{Driver, Graph, NON_BLOCKING, check};
use crate::error::{Error, Result};
use cust::sys;
use std::cell::Cell;
use std::ptr::null_mut;

thread_local! {
    /// The device whose work this thread notes down, by its address, and the stream that takes it.
    static NOW: Cell<Option<(usize, sys::CUstream)>> = const { Cell::new(None) };
}

/// The stream that takes this thread's work, where it is noted down.
pub(super) fn of(driver: &Driver) -> Option<sys::CUstream> {
    NOW.get().filter(|(of, _)| *of == std::ptr::from_ref(driver).addr()).map(|(_, stream)| stream)
}

/// Work is noted down until this is ended or dropped.
pub(in crate::backend::cuda) struct Capture<'a> {
    driver: &'a Driver,
    stream: sys::CUstream,
    /// Whether the stream still notes down.
    begun: bool,
}

impl Driver {
    /// Whether this thread's work is noted down.
    pub fn capturing(&self) -> bool {
        of(self).is_some()
    }

    /// From here on, this thread's work is not started but noted down.
    pub fn begin_capture(&self) -> Result<Capture<'_>> {
        if NOW.get().is_some() {
            return Err(Error::internal("two graphs were to be captured at once"));
        }
        let _entered = self.enter()?;
        let mut capture = Capture { driver: self, stream: null_mut(), begun: false };
        let mode = sys::CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL;
        // SAFETY: writes a handle, which is then used.
        unsafe {
            let stream = &raw mut capture.stream;
            check("making a stream", sys::cuStreamCreateWithPriority(stream, NON_BLOCKING, 0))?;
            check("beginning a graph", sys::cuStreamBeginCapture_v2(capture.stream, mode))?;
        }
        capture.begun = true;
        NOW.set(Some((std::ptr::from_ref(self).addr(), capture.stream)));
        Ok(capture)
    }

    /// The error of what cannot be noted down.
    pub fn not_while_capturing(&self, what: &str) -> Result<()> {
        match self.capturing() {
            true => Err(Error::internal(format!("{what}, while work is noted down for a graph"))),
            false => Ok(()),
        }
    }
}

impl Capture<'_> {
    /// What was noted down, ready to be started as one.
    pub fn end(mut self) -> Result<Graph> {
        let _entered = self.driver.enter()?;
        let (graph, mut exec) = (self.take()?, null_mut());
        // SAFETY: writes a handle; the graph is not used after it was destroyed.
        unsafe {
            let made = check("making a graph", sys::cuGraphInstantiateWithFlags(&mut exec, graph, 0));
            let _ = sys::cuGraphDestroy(graph);
            made?;
        }
        Ok(Graph(exec))
    }

    /// Ends it; somebody has to destroy what it gives.
    fn take(&mut self) -> Result<sys::CUgraph> {
        NOW.set(None);
        self.begun = false;
        let mut graph = null_mut();
        // SAFETY: the stream is alive, and was told to note down; writes a handle.
        check("ending a graph", unsafe { sys::cuStreamEndCapture(self.stream, &mut graph) })?;
        Ok(graph)
    }
}

impl Drop for Capture<'_> {
    fn drop(&mut self) {
        let Ok(_entered) = self.driver.enter() else { return };
        if self.begun
            && let Ok(graph) = self.take()
        {
            // SAFETY: just made, and nobody else has it.
            let _ = unsafe { sys::cuGraphDestroy(graph) };
        }
        if !self.stream.is_null() {
            // SAFETY: made in `begin_capture`, and it holds no work: what it was given was noted down.
            let _ = unsafe { sys::cuStreamDestroy_v2(self.stream) };
        }
    }
}
