//! Work that is noted down once and then started as one.

use super::Cuda;
use super::driver;
use crate::error::{Error, Result};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Operations that were noted down, with the addresses of the memory that they work on. Whoever captured it keeps that
/// memory, and a workspace for it that nothing else uses.
pub struct Graph {
    cuda: Arc<Cuda>,
    raw: driver::Graph,
}

impl Graph {
    /// Notes down what `work` would start. It must allocate nothing that was not allocated before: run it once first,
    /// with the same workspace.
    ///
    /// # Errors
    /// Those of `work`; `Internal` when another graph is being captured.
    pub fn capture(cuda: &Arc<Cuda>, work: impl FnOnce() -> Result<()>) -> Result<Graph> {
        if cuda.capturing.swap(true, Ordering::AcqRel) {
            return Err(Error::internal("two graphs were to be captured at once"));
        }
        let run = || {
            cuda.driver.begin_capture()?;
            let done = work();
            // Ended in any case: the stream must not stay as it is.
            let graph = cuda.driver.end_capture().map(|raw| Graph { cuda: Arc::clone(cuda), raw });
            done.and(graph)
        };
        let graph = run();
        cuda.capturing.store(false, Ordering::Release);
        graph
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
