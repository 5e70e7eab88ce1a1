//! The processor: threads, vector instructions, memory.

mod isa;
mod pool;
pub mod simd;
mod slices;
mod values;

pub use isa::Isa;
pub use pool::{ParallelFn, Pool};
pub use slices::{Parts, split};
pub use values::{Values, Written};

use crate::error::Result;

/// Bytes of outputs from which on they leave the caches before they are read again.
const FAR: usize = 12 << 20;

/// Whether outputs of so many elements of f32 are better written past the caches: a store that goes there first fetches
/// what it overwrites.
pub fn far(elements: usize) -> bool {
    elements * size_of::<f32>() >= FAR
}

/// A processor to run on: a pool of threads and the widest instructions that may be used.
pub struct Cpu {
    /// The threads.
    pub pool: Pool,
    /// The instructions.
    pub isa: Isa,
}

impl Cpu {
    /// A pool of `threads` (0: one a physical core) and the best instructions this processor has, unless the
    /// environment variable `FQGAN_ISA` (`portable`, `avx2`, `avx512`, `avx512bf16`, `neon`) asks for less.
    ///
    /// # Errors
    /// `InvalidArgument` when `FQGAN_ISA` names something unknown or missing here; `OutOfMemory` when threads
    /// cannot be started.
    pub fn new(threads: usize) -> Result<Cpu> {
        Ok(Cpu { pool: Pool::new(threads)?, isa: Isa::from_environment()? })
    }

    /// Jobs on a host's own threads.
    ///
    /// # Errors
    /// As [`Cpu::new`].
    pub fn with_host(parallel: Box<ParallelFn>, threads: usize) -> Result<Cpu> {
        Ok(Cpu { pool: Pool::host(parallel, threads), isa: Isa::from_environment()? })
    }
}
