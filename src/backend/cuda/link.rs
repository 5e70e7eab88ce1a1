//! Exchanges between the GPUs of several processes, by NCCL. The library is found at run time. What is exchanged goes
//! through a stream of its own, which waits for the device's stream where it must, and the other way round: so sums
//! travel while the device computes.

use super::Cuda;
use super::driver::{Driver, Event, Side};
use crate::error::{Context, Error, Result};
use crate::tensor::{Allocate, DType, Desc, Layout, Tensor};
use nccl_sys::{Code, Comm, Nccl, UniqueId};
use std::ffi::{c_int, c_void};
use std::ptr::null_mut;
use std::sync::{Arc, Mutex, PoisonError};

/// What one process makes and all need to find each other.
pub type LinkId = [u8; 128];

/// This process's place among several, each with a GPU.
pub struct Link {
    driver: Arc<Driver>,
    nccl: Nccl,
    side: Side,
    /// None once it was given up. Calls through it take turns.
    comm: Mutex<Option<Comm>>,
    size: usize,
}

/// An exchange that was started.
pub struct Exchange {
    link: Arc<Link>,
    /// What it reads: kept until the device's stream has waited for it, as memory is handed out again in that order.
    _from: Vec<Tensor>,
    to: Vec<Tensor>,
    ready: Event,
    done: Event,
    /// Whether the device's stream waits for it already.
    held: bool,
}

/// Refuses what is not plain f32.
fn expect_f32(tensor: &Tensor) -> Result<()> {
    match tensor.desc() {
        Desc { dtype: DType::F32, layout: Layout::Plain, .. } => Ok(()),
        other => Err(Error::internal(format!("{other} was to be sent, expected plain f32"))),
    }
}

fn library() -> Result<Nccl> {
    let emulated = std::env::var("FQGAN_CUDA_DRIVER").ok().filter(|path| !path.is_empty());
    let only = emulated.as_deref().map(|path| [path]);
    // SAFETY: these names are NCCL's, or the emulated device's own.
    let library = unsafe { Nccl::open(only.as_ref().map_or(&["libnccl.so.2", "libnccl.so"], |only| only)) };
    library.map_err(|why| Error::device(format!("NCCL 2 is not installed: {why}")))
}

fn check(library: &Nccl, what: &str, code: Code) -> Result<()> {
    match code {
        Code::SUCCESS => Ok(()),
        other => Err(Error::device(format!("{what}: NCCL: {}", library.describe(other)))),
    }
}

impl Link {
    /// A new name for processes to meet under.
    ///
    /// # Errors
    /// `Device` without the library.
    pub fn id() -> Result<LinkId> {
        let library = library()?;
        let mut id = UniqueId([0; 128]);
        // SAFETY: writes the id.
        check(&library, "making an id", unsafe { library.ncclGetUniqueId(&mut id) })?;
        Ok(id.0)
    }

    /// Meets the others: `rank` of `size`, from 0, each with a GPU of its own. Waits until all are there.
    ///
    /// # Errors
    /// `Device` without the library, or when they do not meet.
    pub fn join(cuda: &Cuda, id: &LinkId, [rank, size]: [usize; 2]) -> Result<Link> {
        let (library, driver) = (library()?, Arc::clone(&cuda.driver));
        let side = driver.side()?;
        let mut link = Link { driver, nccl: library, side, comm: Mutex::new(None), size };
        let int = |v: usize| c_int::try_from(v).map_err(|_| Error::invalid(format!("{v} processes")));
        let mut comm = Comm(null_mut());
        let entered = link.driver.enter()?;
        // SAFETY: writes a handle, with the device's context current.
        let code = unsafe { link.nccl.ncclCommInitRank(&mut comm, int(size)?, UniqueId(*id), int(rank)?) };
        check(&link.nccl, "meeting the other GPUs", code)?;
        drop(entered);
        link.comm = Mutex::new(Some(comm));
        Ok(link)
    }

    /// Starts to add each of these f32 tensors over all processes, as soon as what was started before has made them.
    ///
    /// # Errors
    /// `OutOfMemory`, `Device`.
    pub fn start_sum(self: &Arc<Link>, from: Vec<Tensor>, memory: &impl Allocate) -> Result<Exchange> {
        let to = from.iter().map(|tensor| {
            let desc = Desc::plain(tensor.desc().shape, DType::F32);
            expect_f32(tensor)?;
            Tensor::new(desc, memory.allocate(desc.bytes().unwrap_or(usize::MAX))?)
        });
        let to = to.collect::<Result<Vec<_>>>()?;
        self.start(from, to, |comm, from, to, count| {
            let (library, stream) = (&self.nccl, self.side.raw());
            let (kind, sum) = (nccl_sys::FLOAT32, nccl_sys::SUM);
            // SAFETY: both have `count` floats of the device's, and are kept until the stream is past this.
            unsafe { library.ncclAllReduce(from, to, count, kind, sum, comm, stream) }
        })
    }

    /// Starts to gather a tensor of f32 of every process, in the order of ranks.
    ///
    /// # Errors
    /// As [`Link::start_sum`].
    pub fn start_gather(self: &Arc<Link>, from: Tensor, memory: &impl Allocate) -> Result<Exchange> {
        expect_f32(&from)?;
        let desc = Desc::plain([self.size, from.shape().count()], DType::F32);
        let to = Tensor::new(desc, memory.allocate(desc.bytes().unwrap_or(usize::MAX))?)?;
        self.start(vec![from], vec![to], |comm, from, to, count| {
            let (library, stream) = (&self.nccl, self.side.raw());
            // SAFETY: as above; `to` has room for as many of each process.
            unsafe { library.ncclAllGather(from, to, count, nccl_sys::FLOAT32, comm, stream) }
        })
    }

    /// Starts calls as one, between two marks. The count is of the elements of `from`.
    fn start(
        self: &Arc<Link>,
        from: Vec<Tensor>,
        mut to: Vec<Tensor>,
        call: impl Fn(Comm, *const c_void, *mut c_void, usize) -> Code,
    ) -> Result<Exchange> {
        let driver = &self.driver;
        let mut pairs = Vec::with_capacity(from.len());
        for (from, to) in from.iter().zip(&mut to) {
            if !from.storage().on_device() {
                return Err(Error::internal("a tensor of the processor's was to be sent by a GPU"));
            }
            let address: *mut c_void = std::ptr::without_provenance_mut(to.storage_mut().unique_address()?);
            pairs.push((from.storage().as_ptr().cast::<c_void>(), address, from.shape().count()));
        }
        let (ready, done) = (driver.event()?, driver.event()?);
        let exchange = Exchange { link: Arc::clone(self), _from: from, to, ready, done, held: false };
        driver.record(&exchange.ready)?;
        driver.hold_side(&self.side, &exchange.ready)?;
        let comm = self.comm.lock().unwrap_or_else(PoisonError::into_inner);
        let comm = comm.ok_or_else(|| Error::device("NCCL was given up"))?;
        let entered = driver.enter()?;
        let starting = |code| check(&self.nccl, "starting an exchange", code);
        // SAFETY: the group ends below, on this thread, whatever comes between.
        starting(unsafe { self.nccl.ncclGroupStart() })?;
        let calls = pairs.iter().try_for_each(|&(from, to, count)| starting(call(comm, from, to, count)));
        // SAFETY: began above.
        let ended = starting(unsafe { self.nccl.ncclGroupEnd() });
        drop(entered);
        calls.and(ended)?;
        driver.record_in(&self.side, &exchange.done)?;
        Ok(exchange)
    }

    /// What became of what was started.
    fn health(&self) -> Result<()> {
        let comm = self.comm.lock().unwrap_or_else(PoisonError::into_inner);
        let comm = comm.ok_or_else(|| Error::device("NCCL was given up"))?;
        let mut code = Code::SUCCESS;
        // SAFETY: the communicator is alive; writes a result.
        let asked = unsafe { self.nccl.ncclCommGetAsyncError(comm, &mut code) };
        check(&self.nccl, "asking how an exchange goes", asked)?;
        match code {
            Code::IN_PROGRESS => Ok(()),
            code => check(&self.nccl, "an exchange", code),
        }
    }

    /// Ends all that is under way: another process is lost.
    pub fn give_up(&self) {
        if let Some(comm) = self.comm.lock().unwrap_or_else(PoisonError::into_inner).take() {
            // SAFETY: taken, so that nobody uses it again. A failure leaves nothing to be done.
            let _ = unsafe { self.nccl.ncclCommAbort(comm) };
        }
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        if let Some(comm) = self.comm.get_mut().unwrap_or_else(PoisonError::into_inner).take()
            && let Ok(_entered) = self.driver.enter()
        {
            // SAFETY: nobody else has the link any more, and so the communicator.
            let _ = unsafe { self.nccl.ncclCommDestroy(comm) };
        }
        self.driver.free_side(&self.side);
    }
}

impl Exchange {
    /// Waits until what it reads is made.
    ///
    /// # Errors
    /// `Device`.
    pub fn wait_ready(&self) -> Result<()> {
        self.link.driver.wait(&self.ready)
    }

    /// Whether it is done: for who does not want to wait for a process that never comes.
    ///
    /// # Errors
    /// `Device` when it failed.
    pub fn is_done(&self) -> Result<bool> {
        let reached = self.link.driver.reached(&self.done);
        // NCCL's own words say more than the driver's.
        self.link.health()?;
        reached.context(|| "an exchange between GPUs")
    }

    /// What it gave, for work that is started in the device's stream from now on.
    ///
    /// # Errors
    /// `Device`.
    pub fn take(mut self) -> Result<Vec<Tensor>> {
        self.link.driver.hold(&self.done)?;
        self.held = true;
        Ok(std::mem::take(&mut self.to))
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        let driver = &self.link.driver;
        if !self.held {
            // Nobody took it; its memory may be handed out again in the device's order.
            let _ = driver.hold(&self.done);
        }
        [&self.ready, &self.done].into_iter().for_each(|event| driver.free_event(event));
    }
}
