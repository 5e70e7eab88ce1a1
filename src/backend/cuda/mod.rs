//! NVIDIA's GPUs. Nothing is linked: the driver and its libraries are found at run time, and an error says what is
//! missing. See `docs/cuda.md`.

mod blas;
mod convert;
mod counts;
mod dnn;
mod driver;
mod graph;
mod kernels;
mod launch;
mod link;
mod lt;
mod memory;

pub use blas::{Product, Side};
pub use counts::Counts;
pub use dnn::Convolution;
pub use driver::Host;
pub use graph::Graph;
pub use launch::{Arg, Launch};
pub use link::{Exchange, Link, LinkId};
pub use lt::After;
pub use memory::{Memory, Pool};

use super::arena::Source;
use crate::error::{Context, Error, Result};
use crate::tensor::{Allocate, Layout, Tensor};
use driver::Driver;
use kernels::Kernels;
use std::ffi::c_void;
use std::fmt;
use std::sync::Arc;

/// A GPU to run on, and the stream that all its work goes to in order.
pub struct Cuda {
    driver: Arc<Driver>,
    memory: Pool,
    kernels: Kernels,
    blas: blas::Blas,
    dnn: dnn::Dnn,
}

/// The most arguments of a kernel.
const MOST_ARGS: usize = 64;

impl Cuda {
    /// The GPU of that number, in a stream of its own.
    ///
    /// # Errors
    /// `Device`: which of driver, GPU or library is missing.
    pub fn new(index: u32) -> Result<Cuda> {
        // SAFETY: nothing of a host's.
        unsafe { Cuda::with_host(index, Host::default()) }
    }

    /// The GPU of that number, in a host's own context or stream.
    ///
    /// # Errors
    /// As [`Cuda::new`].
    ///
    /// # Safety
    /// What is not null in `host` is a context of that GPU and a stream of that context, and stays so as long as this
    /// device or any tensor of its is there.
    pub unsafe fn with_host(index: u32, host: Host) -> Result<Cuda> {
        let driver = Arc::new(Driver::open(index, host)?);
        let memory = Pool(Memory::new(Arc::clone(&driver)));
        Ok(Cuda {
            driver,
            memory,
            kernels: Kernels::default(),
            blas: blas::Blas::default(),
            dnn: dnn::Dnn::default(),
        })
    }

    /// The GPU's name.
    pub fn name(&self) -> &str {
        self.driver.name()
    }

    /// How often something was asked of it since it was opened.
    pub fn counts(&self) -> Counts {
        self.driver.counters.now()
    }

    /// Where memory that is kept comes from.
    pub fn memory(&self) -> &Pool {
        &self.memory
    }

    /// Where a workspace's memory comes from.
    pub(super) fn source(&self) -> Box<dyn Source> {
        Box::new(self.memory.clone())
    }

    /// Starts a kernel of `cuda/`.
    ///
    /// The arguments must be those of the kernel, in its order: nothing checks that but the tests, which run every
    /// kernel. So this is for `src/ops/<op>/cuda.rs`, where the two stand side by side.
    ///
    /// # Errors
    /// `Device` when the launch failed, or something that was started before.
    pub(crate) fn launch(&self, name: &str, launch: Launch, args: &[Arg]) -> Result<()> {
        if launch.grid.contains(&0) {
            return Ok(());
        }
        let run = || {
            let mut pointers = [std::ptr::null_mut::<c_void>(); MOST_ARGS];
            let pointers = pointers
                .get_mut(..args.len())
                .ok_or_else(|| Error::internal(format!("{} arguments, at most {MOST_ARGS}", args.len())))?;
            for (pointer, arg) in pointers.iter_mut().zip(args) {
                *pointer = (&raw const arg.0).cast_mut().cast();
            }
            let kernel = self.kernels.get(&self.driver, name, launch.shared)?;
            // SAFETY: an operation passes what its kernel takes, and has checked the sizes in `outputs`; pointers are
            // of tensors of this device, which are not handed out again before this kernel is done.
            unsafe {
                self.driver.launch(&kernel.function, launch.grid, launch.block, launch.shared, pointers)
            }
        };
        run().context(|| name)
    }

    /// A copy of a tensor of the processor's, in memory of this device's; what is there already, itself.
    ///
    /// # Errors
    /// `OutOfMemory`, `Device`.
    pub fn upload(&self, tensor: &Tensor, to: &impl Allocate) -> Result<Tensor> {
        if tensor.storage().on_device() {
            return Ok(tensor.clone());
        }
        let bytes = used(tensor, tensor.storage().len());
        let mut storage = to.allocate(bytes)?;
        self.memory.0.write(storage.unique_address()?, &tensor.storage().as_bytes()?[..bytes])?;
        Tensor::new(*tensor.desc(), storage)
    }

    /// A copy of a tensor of this device's, in memory of the processor's.
    ///
    /// # Errors
    /// `OutOfMemory`, `Device`.
    pub fn download(&self, tensor: &Tensor, to: &impl Allocate) -> Result<Tensor> {
        let bytes = used(tensor, tensor.storage().len());
        let mut storage = to.allocate(bytes)?;
        tensor.storage().read(&mut storage.unique_mut()?[..bytes])?;
        Tensor::new(*tensor.desc(), storage)
    }

    /// Writes the elements of a tensor of the processor's over those of one of this device's.
    ///
    /// # Errors
    /// `Device`; `Internal` when that is shared, or of another size.
    pub fn overwrite(&self, to: &mut Tensor, from: &Tensor) -> Result<()> {
        let bytes = used(from, from.storage().len());
        if used(to, to.storage().len()) != bytes {
            return Err(Error::internal(format!("cannot write {} over {}", from.desc(), to.desc())));
        }
        self.memory.0.write(to.storage_mut().unique_address()?, &from.storage().as_bytes()?[..bytes])
    }

    /// Whether this thread is noting down work for a graph: nothing can be waited for then.
    pub fn capturing(&self) -> bool {
        self.driver.capturing()
    }

    /// Fills a tensor with zeros.
    ///
    /// # Errors
    /// `Device`, `Internal` when it is shared.
    pub fn zero(&self, tensor: &mut Tensor) -> Result<()> {
        let bytes = used(tensor, tensor.storage().len());
        let at = tensor.storage_mut().unique_address()?;
        if bytes == 0 {
            return Ok(());
        }
        // SAFETY: the tensor's own bytes, which nobody else holds.
        unsafe { self.driver.zero(at, bytes) }
    }

    /// Copies the elements of one tensor to another of as many bytes.
    ///
    /// # Errors
    /// `Device`, `Internal` when `to` is shared or the sizes differ.
    pub fn copy(&self, from: &Tensor, to: &mut Tensor) -> Result<()> {
        let bytes = used(from, from.storage().len());
        if !from.storage().on_device() || used(to, to.storage().len()) != bytes {
            return Err(Error::internal(format!("cannot copy {} to {}", from.desc(), to.desc())));
        }
        let (to, from) = (to.storage_mut().unique_address()?, from.storage().as_ptr() as usize);
        if bytes == 0 {
            return Ok(());
        }
        // SAFETY: both have so many bytes; nobody else holds those of `to`, so that the two do not overlap.
        unsafe { self.driver.copy(to, from, bytes) }
    }

    /// Waits for all that was started.
    ///
    /// # Errors
    /// `Device`: also when something that was started before failed.
    pub fn synchronize(&self) -> Result<()> {
        self.driver.synchronize()
    }
}

/// Bytes of a storage that the tensor's elements are.
fn used(tensor: &Tensor, held: usize) -> usize {
    match tensor.desc().layout {
        Layout::Plain => tensor.desc().bytes().unwrap_or(held).min(held),
        Layout::Packed(_) => held,
    }
}

impl fmt::Debug for Cuda {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Cuda({})", self.name())
    }
}
