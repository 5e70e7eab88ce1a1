//! CUDA's driver: the one place that knows `cust`. Its functions are found at run time, see `cuda/shim/shim.h`.

mod capture;
mod memory;
mod side;

pub(super) use side::Side;

use super::counts::Counters;
use crate::error::{Error, Result};
use cust::context::Context;
use cust::sys::{self, CUresult};
use cust::{CudaFlags, error::CudaError};
use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::ptr::null_mut;

unsafe extern "C" {
    /// What the loader said of a library; NULL when it is there.
    fn fqgan_shim_missing(library: c_int) -> *const c_char;
}

/// A library that is found at run time, by its number in `cuda/shim/shim.h`.
#[derive(Clone, Copy, Debug)]
pub(super) enum Library {
    Driver = 0,
    Blas = 1,
}

/// Why a library is not there.
pub(super) fn missing(library: Library) -> Option<String> {
    // SAFETY: the number is one of the shim's, and what it points to is never freed or written again.
    let said = unsafe { fqgan_shim_missing(library as c_int) };
    // SAFETY: as above; it ends with a zero.
    (!said.is_null()).then(|| unsafe { CStr::from_ptr(said) }.to_string_lossy().into_owned())
}

/// Where a GPU's work goes: a context and a stream of it.
pub(super) struct Driver {
    context: sys::CUcontext,
    stream: sys::CUstream,
    device: sys::CUdevice,
    name: String,
    /// What it made itself, and what goes with it.
    own_stream: bool,
    primary: Option<Context>,
    pub counters: Counters,
}

// SAFETY: the driver's functions may be called from any thread; handles are only passed to it.
unsafe impl Send for Driver {}
// SAFETY: as above.
unsafe impl Sync for Driver {}

/// A host's own context and stream, as it has them of the driver; null: the device's primary context, a stream of ours.
#[derive(Clone, Copy, Debug)]
pub struct Host {
    /// A `CUcontext`.
    pub context: *mut c_void,
    /// A `CUstream` of it.
    pub stream: *mut c_void,
}

impl Default for Host {
    fn default() -> Host {
        Host { context: null_mut(), stream: null_mut() }
    }
}

/// A failed call as an error, with what it was to do.
fn check(what: &str, result: CUresult) -> Result<()> {
    match result {
        CUresult::CUDA_SUCCESS => Ok(()),
        CUresult::CUDA_ERROR_OUT_OF_MEMORY => {
            Err(Error::out_of_memory(format!("{what}: CUDA has no memory left")))
        }
        other => Err(Error::device(format!("{what}: {other:?}"))),
    }
}

fn cust_error(what: &str, error: CudaError) -> Error {
    match error {
        CudaError::OutOfMemory => Error::out_of_memory(format!("{what}: CUDA has no memory left")),
        other => Error::device(format!("{what}: {other:?}")),
    }
}

impl Driver {
    /// The GPU of that number.
    ///
    /// # Errors
    /// `Device` without a driver or such a GPU.
    pub fn open(index: u32, host: Host) -> Result<Driver> {
        if let Some(why) = missing(Library::Driver) {
            return Err(Error::device(format!("NVIDIA's driver is not installed: {why}")));
        }
        cust::init(CudaFlags::empty()).map_err(|e| cust_error("starting NVIDIA's driver", e))?;
        let count = cust::device::Device::num_devices().map_err(|e| cust_error("counting the GPUs", e))?;
        if index >= count {
            return Err(Error::device(format!("there is no GPU {index}: the driver shows {count}")));
        }
        let device = cust::device::Device::get_device(index).map_err(|e| cust_error("finding the GPU", e))?;
        let name = device.name().unwrap_or_else(|_| "a GPU".into());
        let mut current = null_mut();
        // SAFETY: writes a handle. What is current on this thread is the host's, and is put back below.
        check("reading the current context", unsafe { sys::cuCtxGetCurrent(&mut current) })?;
        let primary = match host.context.is_null() {
            true => {
                Some(Context::new(device).map_err(|e| cust_error("opening the GPU's primary context", e))?)
            }
            false => None,
        };
        let context = primary.as_ref().map_or(host.context.cast(), Context::as_raw);
        // SAFETY: `current` was current before.
        check("restoring the current context", unsafe { sys::cuCtxSetCurrent(current) })?;
        let own_stream = host.stream.is_null();
        let mut driver = Driver {
            context,
            stream: host.stream.cast(),
            device: device.as_raw(),
            name,
            own_stream: false,
            primary,
            counters: Counters::default(),
        };
        if own_stream {
            let _entered = driver.enter()?;
            let mut stream = null_mut();
            // SAFETY: writes a handle.
            check("making a stream", unsafe {
                sys::cuStreamCreateWithPriority(&mut stream, NON_BLOCKING, 0)
            })?;
            drop(_entered);
            driver.stream = stream;
            driver.own_stream = true;
        }
        driver.keep_freed_memory()?;
        Ok(driver)
    }

    /// Memory that is freed stays in the driver's pool: getting it again costs no call of the system's.
    fn keep_freed_memory(&self) -> Result<()> {
        let mut pool = null_mut();
        let mut most = u64::MAX;
        let attribute = sys::CUmemPool_attribute::CU_MEMPOOL_ATTR_RELEASE_THRESHOLD;
        // SAFETY: writes a handle of the device's own pool, which is then told a number.
        unsafe {
            check("finding the memory pool", sys::cuDeviceGetDefaultMemPool(&mut pool, self.device))?;
            let most = (&raw mut most).cast();
            check("setting up the memory pool", sys::cuMemPoolSetAttribute(pool, attribute, most))
        }
    }

    /// The GPU's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where work of this thread goes: to the stream, or to what notes it down.
    pub fn stream(&self) -> sys::CUstream {
        capture::of(self).unwrap_or(self.stream)
    }

    /// Makes the context current on this thread until the guard is dropped.
    pub fn enter(&self) -> Result<Entered<'_>> {
        // SAFETY: the context is alive as long as `self`.
        check("entering the GPU's context", unsafe { sys::cuCtxPushCurrent_v2(self.context) })?;
        Ok(Entered { _driver: self })
    }

    /// Waits for all that was started.
    pub fn synchronize(&self) -> Result<()> {
        self.not_while_capturing("waiting for the GPU")?;
        let _entered = self.enter()?;
        self.counters.waits.add();
        // SAFETY: the stream is alive.
        check("waiting for the GPU", unsafe { sys::cuStreamSynchronize(self.stream) })
    }

    /// A mark to be put in the stream.
    pub fn event(&self) -> Result<Event> {
        let _entered = self.enter()?;
        let mut raw = null_mut();
        // SAFETY: writes a handle.
        check("making an event", unsafe { sys::cuEventCreate(&mut raw, DISABLE_TIMING) })?;
        Ok(Event(raw))
    }

    /// Marks what has been started up to now.
    pub fn record(&self, event: &Event) -> Result<()> {
        self.not_while_capturing("marking what was started")?;
        let _entered = self.enter()?;
        // SAFETY: both are alive.
        check("recording an event", unsafe { sys::cuEventRecord(event.0, self.stream) })
    }

    /// Waits for what was marked; at once where nothing was.
    pub fn wait(&self, event: &Event) -> Result<()> {
        self.not_while_capturing("waiting for the GPU")?;
        let _entered = self.enter()?;
        self.counters.waits.add();
        // SAFETY: it is alive.
        check("waiting for an event", unsafe { sys::cuEventSynchronize(event.0) })
    }

    /// Gives an event back.
    pub fn free_event(&self, event: &Event) {
        if let Ok(_entered) = self.enter() {
            // SAFETY: its owner gives it back.
            let _ = unsafe { sys::cuEventDestroy_v2(event.0) };
        }
    }

    /// Kernels of a fat binary. They stay loaded as long as the context is there.
    pub fn load(&self, image: &[u8]) -> Result<Module> {
        let _entered = self.enter()?;
        let mut module = null_mut();
        // SAFETY: a fat binary as nvcc made it, which says itself how long it is.
        check("loading kernels", unsafe { sys::cuModuleLoadData(&mut module, image.as_ptr().cast()) })?;
        Ok(Module(module))
    }

    /// A kernel.
    pub fn function(&self, module: &Module, name: &str) -> Result<Function> {
        let _entered = self.enter()?;
        let name_z = CString::new(name).map_err(|_| Error::internal("a kernel's name has a zero"))?;
        let mut function = null_mut();
        // SAFETY: the module is loaded, and the name ends with a zero.
        let result = unsafe { sys::cuModuleGetFunction(&mut function, module.0, name_z.as_ptr()) };
        check(&format!("finding the kernel {name}"), result)?;
        Ok(Function(function))
    }

    /// Lets a kernel use more than 48 KB of shared memory.
    pub fn allow_shared(&self, function: &Function, bytes: u32) -> Result<()> {
        let _entered = self.enter()?;
        let attribute = sys::CUfunction_attribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
        // SAFETY: the function is loaded.
        let result = unsafe { sys::cuFuncSetAttribute(function.0, attribute, bytes as c_int) };
        check(&format!("allowing {bytes} bytes of shared memory"), result)
    }

    /// Starts a kernel.
    ///
    /// # Safety
    /// `args` point to values of the types that the kernel has, whose pointers are memory of the GPU as large as it
    /// reads and writes.
    pub unsafe fn launch(
        &self,
        function: &Function,
        grid: [u32; 3],
        block: [u32; 3],
        shared: u32,
        args: &mut [*mut c_void],
    ) -> Result<()> {
        let _entered = self.enter()?;
        self.counters.kernels.add();
        let ([gx, gy, gz], [bx, by, bz]) = (grid, block);
        // SAFETY: the caller's.
        let result = unsafe {
            let (function, stream) = (function.0, self.stream());
            sys::cuLaunchKernel(
                function,
                gx,
                gy,
                gz,
                bx,
                by,
                bz,
                shared,
                stream,
                args.as_mut_ptr(),
                null_mut(),
            )
        };
        check("starting a kernel", result)
    }

    /// Starts a graph.
    pub fn start(&self, graph: &Graph) -> Result<()> {
        self.not_while_capturing("starting a graph")?;
        let _entered = self.enter()?;
        self.counters.graphs.add();
        // SAFETY: the graph is alive; who captured it keeps the memory that it works on.
        check("starting a graph", unsafe { sys::cuGraphLaunch(graph.0, self.stream) })
    }

    /// Gives a graph back.
    pub fn free_graph(&self, graph: &Graph) {
        if let Ok(_entered) = self.enter() {
            // SAFETY: its owner gives it back. One that still runs is freed when it is done.
            let _ = unsafe { sys::cuGraphExecDestroy(graph.0) };
        }
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        if self.own_stream
            && let Ok(_entered) = self.enter()
        {
            // SAFETY: made in `open`; nothing is left that could start work on it.
            let _ = unsafe { sys::cuStreamSynchronize(self.stream) };
            // SAFETY: as above.
            let _ = unsafe { sys::cuStreamDestroy_v2(self.stream) };
        }
        // The primary context is released last; a host's is the host's.
        drop(self.primary.take());
    }
}

/// `CU_STREAM_NON_BLOCKING`: no waiting for what others do on the default stream.
const NON_BLOCKING: u32 = 1;
/// `CU_EVENT_DISABLE_TIMING`.
const DISABLE_TIMING: u32 = 2;

/// The context is current as long as this is there.
pub(super) struct Entered<'a> {
    _driver: &'a Driver,
}

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        let mut popped = null_mut();
        // SAFETY: pops what `enter` pushed on this thread.
        let _ = unsafe { sys::cuCtxPopCurrent_v2(&mut popped) };
    }
}

macro_rules! handles {
    ($($(#[$doc:meta])* $name:ident($raw:ident);)*) => {
        $($(#[$doc])* pub(super) struct $name(sys::$raw);
        // SAFETY: a handle, which any thread may pass to the driver.
        unsafe impl Send for $name {}
        // SAFETY: as above.
        unsafe impl Sync for $name {})*
    };
}

handles! {
    /// A mark in the stream.
    Event(CUevent);
    /// Loaded kernels.
    Module(CUmodule);
    /// A kernel.
    Function(CUfunction);
    /// Work that was noted down.
    Graph(CUgraphExec);
}
