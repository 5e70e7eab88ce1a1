//! What was asked of a device: so that what must not happen in steady state can be seen.

use std::ops::Sub;
use std::sync::atomic::{AtomicU64, Ordering};

/// How often something was done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Kernels that were started or noted down, but for those of cuBLAS and cuDNN.
    pub kernels: u64,
    /// Graphs that were started.
    pub graphs: u64,
    /// Pieces of memory that were taken from the driver's pool.
    pub allocations: u64,
    /// Copies between the processor's memory and the device's.
    pub copies: u64,
    /// Times that the processor waited for the device.
    pub waits: u64,
}

impl Sub for Counts {
    type Output = Counts;
    fn sub(self, before: Counts) -> Counts {
        Counts {
            kernels: self.kernels - before.kernels,
            graphs: self.graphs - before.graphs,
            allocations: self.allocations - before.allocations,
            copies: self.copies - before.copies,
            waits: self.waits - before.waits,
        }
    }
}

/// The same, still growing.
#[derive(Default)]
pub(super) struct Counters {
    pub kernels: Counter,
    pub graphs: Counter,
    pub allocations: Counter,
    pub copies: Counter,
    pub waits: Counter,
}

#[derive(Default)]
pub(super) struct Counter(AtomicU64);

impl Counter {
    pub fn add(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Counters {
    pub fn now(&self) -> Counts {
        Counts {
            kernels: self.kernels.get(),
            graphs: self.graphs.get(),
            allocations: self.allocations.get(),
            copies: self.copies.get(),
            waits: self.waits.get(),
        }
    }
}
