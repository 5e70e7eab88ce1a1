use super::arena::{Arena, Heap};
use super::cpu::Cpu;
#[cfg(feature = "cuda")]
use super::cuda::{Cuda, Graph, Link, LinkId};
use crate::error::{Error, Result};
use crate::tensor::{Allocate, DType, Desc, Storage, Tensor};
use std::fmt;
use std::ops::Deref;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// A place where operations run. Cheap to clone; clones are the same device.
#[derive(Clone)]
pub enum Device {
    /// The processor, through a pool of threads.
    Cpu(Arc<Cpu>),
    /// A GPU of NVIDIA's.
    #[cfg(feature = "cuda")]
    Cuda(Arc<Cuda>),
}

/// Which layers a value is between.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Between {
    /// Those of a network of convolutions: pictures, large for their arithmetic.
    Convolutions,
    /// Those of a transformer: tokens.
    Products,
}

/// What it is, for logs: `cpu, 8 threads, avx512`.
impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Device::Cpu(cpu) => write!(f, "cpu, {} threads, {}", cpu.pool.threads(), cpu.isa.name()),
            #[cfg(feature = "cuda")]
            Device::Cuda(cuda) => write!(f, "cuda, {}", cuda.name()),
        }
    }
}

impl Device {
    /// The device of a name: `cpu`, with so many threads (0: one a physical core); `cuda`, or `cuda:1` for the second
    /// GPU; or `auto`, the first GPU where there is one, else the processor.
    ///
    /// # Errors
    /// `InvalidArgument` for another name; `Device` where there is no such GPU; those of [`Cpu::new`].
    pub fn named(name: &str, threads: usize) -> Result<Device> {
        let cpu = || Ok(Device::Cpu(Arc::new(Cpu::new(threads)?)));
        match name {
            "cpu" => return cpu(),
            "auto" => return Device::gpu(0).or_else(|_| cpu()),
            "cuda" => return Device::gpu(0),
            _ => {}
        }
        match name.strip_prefix("cuda:").map(str::parse) {
            Some(Ok(index)) => Device::gpu(index),
            _ => {
                Err(Error::invalid(format!("device {name:?}, expected auto, cpu, cuda, or cuda:1 and so on")))
            }
        }
    }

    #[cfg(feature = "cuda")]
    fn gpu(index: u32) -> Result<Device> {
        Ok(Device::Cuda(Arc::new(Cuda::new(index)?)))
    }

    #[cfg(not(feature = "cuda"))]
    fn gpu(_: u32) -> Result<Device> {
        Err(Error::device("this program was built without CUDA, expected device cpu or auto"))
    }

    /// `"cpu"` or `"cuda"`: for messages.
    pub fn name(&self) -> &'static str {
        match self {
            Device::Cpu(_) => "cpu",
            #[cfg(feature = "cuda")]
            Device::Cuda(_) => "cuda",
        }
    }

    /// A new name for the GPUs of several processes to meet under.
    ///
    /// # Errors
    /// `Device` without NCCL, `Unsupported` where this is no GPU.
    #[cfg(feature = "cuda")]
    pub fn link_id(&self) -> Result<LinkId> {
        match self {
            Device::Cpu(_) => Err(Error::unsupported("NCCL is for GPUs")),
            Device::Cuda(_) => Link::id(),
        }
    }

    /// Meets the GPUs of other processes: `rank` of `size`, from 0. Waits until all are there.
    ///
    /// # Errors
    /// As [`Device::link_id`]; `Device` when they do not meet.
    #[cfg(feature = "cuda")]
    pub fn link(&self, id: &LinkId, place: [usize; 2]) -> Result<Arc<Link>> {
        match self {
            Device::Cpu(_) => Err(Error::unsupported("NCCL is for GPUs")),
            Device::Cuda(cuda) => Ok(Arc::new(Link::join(cuda, id, place)?)),
        }
    }

    /// Parts of an operation that run at once: some scratch memory is one piece for each.
    pub fn parallelism(&self) -> usize {
        match self {
            Device::Cpu(cpu) => cpu.pool.threads(),
            #[cfg(feature = "cuda")]
            Device::Cuda(_) => 1,
        }
    }

    /// Whether values between layers whose factors are of type `operands` are better kept as bf16, which halves what is read
    /// and written: on a GPU where factors are; on a processor where pictures are too large for the caches, and are
    /// remembered. (Inference would gain little there, for the codes that it would change.)
    pub fn keeps_narrow(&self, between: Between, operands: DType, remembers: bool) -> bool {
        operands == DType::BF16
            && match self {
                Device::Cpu(_) => remembers && between == Between::Convolutions,
                #[cfg(feature = "cuda")]
                Device::Cuda(_) => true,
            }
    }

    /// Whether its operations read the memory that files are mapped to.
    pub fn reads_files(&self) -> bool {
        matches!(self, Device::Cpu(_))
    }

    /// An empty workspace for calls on this device, that will hold no more than `limit` bytes.
    pub fn workspace(&self, limit: Option<usize>) -> Workspace {
        match self {
            Device::Cpu(_) => {
                Workspace { arena: Arena::new(Box::new(Heap), limit), host: None, flops: AtomicU64::new(0) }
            }
            #[cfg(feature = "cuda")]
            Device::Cuda(cuda) => Workspace {
                arena: Arena::new(cuda.source(), limit),
                host: Some(Arena::new(Box::new(Heap), None)),
                flops: AtomicU64::new(0),
            },
        }
    }

    /// The same elements in memory of this device's that is kept: a weight. The processor reads them where they are.
    ///
    /// # Errors
    /// `OutOfMemory`, `Device`.
    pub fn keep(&self, tensor: &Tensor) -> Result<Tensor> {
        match self {
            Device::Cpu(_) => Ok(tensor.clone()),
            #[cfg(feature = "cuda")]
            Device::Cuda(cuda) => cuda.upload(tensor, cuda.memory()),
        }
    }

    /// The same elements in this device's memory, of the workspace where it has to be written.
    ///
    /// # Errors
    /// `OutOfMemory`, `Device`.
    pub fn upload(&self, tensor: &Tensor, workspace: &Workspace) -> Result<Tensor> {
        let _ = workspace;
        match self {
            Device::Cpu(_) => Ok(tensor.clone()),
            #[cfg(feature = "cuda")]
            Device::Cuda(cuda) => cuda.upload(tensor, workspace),
        }
    }

    /// Notes down what `work` starts, so that it can be started again as one; nothing of it runs now. `None`, without a
    /// look at `work`, on a device that gains nothing by that. The work must have run once with the same workspace, which
    /// serves nothing else as long as the recording is there, and must neither wait for anything nor bring anything from
    /// the processor.
    ///
    /// # Errors
    /// Those of `work`; `Device`; `Internal` for work that cannot be noted down.
    pub fn record(&self, work: impl FnOnce() -> Result<()>) -> Result<Option<Recording>> {
        match self {
            #[cfg(feature = "cuda")]
            Device::Cuda(cuda) => Ok(Some(Recording::Cuda(Graph::capture(cuda, work)?))),
            Device::Cpu(_) => {
                drop(work);
                Ok(None)
            }
        }
    }

    /// The same elements where the processor can read them, as soon as all that was started is done.
    ///
    /// # Errors
    /// `OutOfMemory`, `Device`.
    pub fn download(&self, tensor: &Tensor, workspace: &Workspace) -> Result<Tensor> {
        let _ = workspace;
        match self {
            Device::Cpu(_) => Ok(tensor.clone()),
            #[cfg(feature = "cuda")]
            Device::Cuda(_) if !tensor.storage().on_device() => Ok(tensor.clone()),
            #[cfg(feature = "cuda")]
            Device::Cuda(cuda) => cuda.download(tensor, &Host(workspace)),
        }
    }
}

/// Work that was noted down: see [`Device::record`].
pub enum Recording {
    /// On a GPU.
    #[cfg(feature = "cuda")]
    Cuda(Graph),
}

impl Recording {
    /// Starts the work.
    ///
    /// # Errors
    /// `Device`.
    pub fn start(&self) -> Result<()> {
        match *self {
            #[cfg(feature = "cuda")]
            Recording::Cuda(ref graph) => graph.start(),
        }
    }
}

/// The memory of one call in flight: tensors and scratch, handed out again as soon as they are dropped.
/// A model keeps the workspaces of finished calls, so that the next call of the same shape allocates nothing.
pub struct Workspace {
    arena: Arena,
    /// The processor's, where the device has memory of its own.
    host: Option<Arena>,
    /// Arithmetic that was done with it.
    flops: AtomicU64,
}

impl Workspace {
    /// The same workspace, which hands out buffers that fit more closely: less memory for training, where hundreds of
    /// tensors live at a time.
    pub fn tight(self) -> Workspace {
        Workspace { arena: self.arena.tight(), ..self }
    }

    /// A plain tensor whose elements are unspecified.
    ///
    /// # Errors
    /// `OutOfMemory` past the limit, or when the system has none.
    pub fn tensor(&self, desc: Desc) -> Result<Tensor> {
        let bytes = desc.bytes().unwrap_or(usize::MAX);
        Tensor::new(desc, self.arena.allocate(bytes)?)
    }

    /// The same where the processor can write: what is to be uploaded.
    ///
    /// # Errors
    /// As [`Workspace::tensor`].
    pub fn host_tensor(&self, desc: Desc) -> Result<Tensor> {
        let bytes = desc.bytes().unwrap_or(usize::MAX);
        Tensor::new(desc, self.host.as_ref().unwrap_or(&self.arena).allocate(bytes)?)
    }

    /// Between the rounds of work that comes again and again: the next begins as this one did.
    pub fn rest(&self) {
        self.arena.join();
    }

    /// Bytes held, in use or not.
    pub fn bytes(&self) -> usize {
        self.arena.bytes()
    }

    /// Notes down arithmetic: additions and multiplications.
    pub fn count(&self, flops: f64) {
        self.flops.fetch_add(flops as u64, Ordering::Relaxed);
    }

    /// The arithmetic that was noted down since the last call.
    pub fn take_flops(&self) -> f64 {
        self.flops.swap(0, Ordering::Relaxed) as f64
    }
}

impl Allocate for Workspace {
    fn allocate(&self, bytes: usize) -> Result<Storage> {
        self.arena.allocate(bytes)
    }
}

/// A workspace's memory of the processor.
#[cfg(feature = "cuda")]
struct Host<'a>(&'a Workspace);

#[cfg(feature = "cuda")]
impl Allocate for Host<'_> {
    fn allocate(&self, bytes: usize) -> Result<Storage> {
        self.0.host.as_ref().unwrap_or(&self.0.arena).allocate(bytes)
    }
}

/// A model's workspaces: one for each call in flight, kept for the next.
pub struct Workspaces {
    device: Device,
    limit: Option<usize>,
    idle: Mutex<Vec<Workspace>>,
}

impl Workspaces {
    /// Workspaces on `device` of at most `limit` bytes each.
    pub fn new(device: Device, limit: Option<usize>) -> Workspaces {
        Workspaces { device, limit, idle: Mutex::new(Vec::new()) }
    }

    /// A workspace for one call.
    pub fn take(&self) -> Lease<'_> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        Lease { owner: self, workspace: Some(idle.unwrap_or_else(|| self.device.workspace(self.limit))) }
    }

    /// Bytes held by idle workspaces.
    pub fn bytes(&self) -> usize {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).iter().map(Workspace::bytes).sum()
    }
}

/// A workspace on loan for the length of a call.
pub struct Lease<'a> {
    owner: &'a Workspaces,
    workspace: Option<Workspace>,
}

impl Deref for Lease<'_> {
    type Target = Workspace;
    fn deref(&self) -> &Workspace {
        // Filled in `take`, emptied in `drop` only.
        self.workspace.as_ref().unwrap_or_else(|| unreachable!())
    }
}

impl Drop for Lease<'_> {
    fn drop(&mut self) {
        if let Some(workspace) = self.workspace.take() {
            self.owner.idle.lock().unwrap_or_else(PoisonError::into_inner).push(workspace);
        }
    }
}
