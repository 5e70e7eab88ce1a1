//! Work that is noted down once and then started as one.

use super::Cuda;
use super::driver;
use crate::error::Result;
use std::sync::Arc;

/// Operations that were noted down, with the addresses of the memory that they work on. Whoever captured it keeps that
/// memory, and a workspace for it that nothing else uses.
pub struct Graph {
    cuda: Arc<Cuda>,
    raw: driver::Graph,
}

impl Graph {
    /// Notes down what `work` would start on this thread; other threads go on as before. It must wait for nothing and
    /// copy nothing from or to the processor, and find all that is made at a first use made: run it once first, with the
    /// same workspace.
    ///
    /// # Errors
    /// Those of `work`; `Internal` for work that cannot be noted down, and when this thread already notes down other work.
    pub fn capture(cuda: &Arc<Cuda>, work: impl FnOnce() -> Result<()>) -> Result<Graph> {
        let capture = cuda.driver.begin_capture()?;
        let done = work();
        // Ended in any case, after a panic when `capture` is dropped.
        let graph = capture.end().map(|raw| Graph { cuda: Arc::clone(cuda), raw });
        done.and(graph)
    }

    /// Starts it.
    ///
    /// # Errors
    /// `Device`.
    pub fn start(&self) -> Result<()> {
        self.cuda.driver.start(&self.raw)
    }
}

impl Drop for Graph {
    fn drop(&mut self) {
        self.cuda.driver.free_graph(&self.raw);
    }
}
