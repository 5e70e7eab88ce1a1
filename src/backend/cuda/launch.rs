//! How a kernel is started.

use crate::error::{Error, Result};
use crate::tensor::Tensor;

/// The threads of a kernel.
#[derive(Clone, Copy, Debug)]
pub struct Launch {
    /// Blocks along x, y and z. Where one is 0, nothing is started.
    pub grid: [u32; 3],
    /// Threads of a block.
    pub block: [u32; 3],
    /// Bytes of dynamic shared memory.
    pub shared: u32,
}

/// The most blocks along x.
const MOST_BLOCKS: usize = i32::MAX as usize;

impl Launch {
    /// One block for each of `blocks`, of `threads` threads. Past 2^31 - 1 blocks the kernel must go round.
    pub fn blocks(blocks: usize, threads: u32) -> Launch {
        Launch { grid: [blocks.min(MOST_BLOCKS) as u32, 1, 1], block: [threads, 1, 1], shared: 0 }
    }

    /// One thread for each of `count` elements, in blocks of `threads`.
    pub fn over(count: usize, threads: u32) -> Launch {
        Launch::blocks(count.div_ceil(threads as usize), threads)
    }

    /// The same with so many bytes of dynamic shared memory.
    pub fn shared(self, bytes: usize) -> Launch {
        Launch { shared: bytes.min(u32::MAX as usize) as u32, ..self }
    }

    /// The same with `rows` blocks along y. Past 65535 the kernel must go round.
    pub fn rows(self, rows: usize) -> Launch {
        Launch { grid: [self.grid[0], rows.min(65535) as u32, self.grid[2]], ..self }
    }

    /// The same with `planes` blocks along z. Past 65535 the kernel must go round.
    pub fn planes(self, planes: usize) -> Launch {
        Launch { grid: [self.grid[0], self.grid[1], planes.min(65535) as u32], ..self }
    }
}

/// An argument of a kernel: a pointer or a number, in the first bytes of a word.
#[derive(Clone, Copy, Debug)]
pub struct Arg(pub(super) u64);

impl Arg {
    /// What a kernel reads.
    ///
    /// # Errors
    /// `Internal` for a tensor of the processor's memory.
    pub fn read(tensor: &Tensor) -> Result<Arg> {
        if !tensor.storage().on_device() {
            return Err(Error::internal(format!("{} was not uploaded", tensor.desc())));
        }
        Ok(Arg(tensor.storage().as_ptr() as u64))
    }

    /// What a kernel writes.
    ///
    /// # Errors
    /// `Internal` for a tensor that is shared, or of the processor's memory.
    pub fn write(tensor: &mut Tensor) -> Result<Arg> {
        Ok(Arg(tensor.storage_mut().unique_address()? as u64))
    }

    /// The same so many bytes further on: the caller sees to it that this is still inside.
    pub fn after(self, bytes: usize) -> Arg {
        Arg(self.0.wrapping_add(bytes as u64))
    }

    /// As it stands in a table of the device's memory.
    pub fn bits(self) -> u64 {
        self.0
    }

    /// A null pointer: what an operation does without.
    pub const NONE: Arg = Arg(0);
}

macro_rules! numbers {
    ($($rust:ty: $word:expr,)*) => {
        $(impl From<$rust> for Arg {
            fn from(value: $rust) -> Arg {
                #[allow(clippy::redundant_closure_call)]
                Arg(($word)(value))
            }
        })*
    };
}

// The words of little-endian machines, which all that CUDA runs on are.
numbers! {
    u32: u64::from,
    i32: |v: i32| u64::from(v.cast_unsigned()),
    f32: |v: f32| u64::from(v.to_bits()),
    u64: |v| v,
    usize: |v| v as u64,
    i64: |v: i64| v.cast_unsigned(),
    f64: |v: f64| v.to_bits(),
}
