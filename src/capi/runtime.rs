use super::error::{fqgan_error, fqgan_status};
use super::versioned::{self, versioned};
use super::{guard, log, parallel, pointers};
use crate::backend::Device;
use crate::backend::cpu::Cpu;
#[cfg(feature = "cuda")]
use crate::backend::cuda::{Cuda, Host};
use crate::error::{Error, Result};
use std::ffi::c_void;
use std::sync::Arc;

/// The best device there is.
pub const FQGAN_DEVICE_AUTO: i32 = 0;
/// The processor.
pub const FQGAN_DEVICE_CPU: i32 = 1;
/// A GPU of NVIDIA's.
pub const FQGAN_DEVICE_CUDA: i32 = 2;

/// The host's job system: runs job(context, index) for each index of 0 .. jobs - 1, each once, on any threads
/// and in any order, and returns when all are done. It may be called from several threads at a time. A job
/// never starts others, never blocks on another job and never throws; nor may this function throw.
pub type fqgan_parallel_fn = Option<
    unsafe extern "C-unwind" fn(
        user: *mut c_void,
        jobs: usize,
        job: Option<unsafe extern "C" fn(context: *mut c_void, index: usize)>,
        context: *mut c_void,
    ),
>;

/// How to run. A field that is zero is at its default.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct fqgan_runtime_options {
    /// sizeof(fqgan_runtime_options).
    pub struct_size: u32,
    /// FQGAN_DEVICE_AUTO, _CPU or _CUDA.
    pub device: i32,
    /// Which of several GPUs; 0 for the processor.
    pub device_index: u32,
    /// Threads to use, the calling one included, up to 1024; 0: one per physical core. With a parallel
    /// function, how many jobs it should be given at a time.
    pub threads: u32,
    /// The host's job system; NULL: threads of the library's own.
    pub parallel: fqgan_parallel_fn,
    /// Passed to parallel.
    pub parallel_user: *mut c_void,
    /// The host's own CUcontext, of the GPU that device_index names; NULL: the GPU's primary context. It must
    /// outlive the runtime and its models.
    pub cuda_context: *mut c_void,
    /// The host's own CUstream of that context, which all work is put into; NULL: a stream of the library's own. It
    /// must outlive the runtime and its models.
    pub cuda_stream: *mut c_void,
}
versioned!(fqgan_runtime_options {
    struct_size,
    device,
    device_index,
    threads,
    parallel,
    parallel_user,
    cuda_context,
    cuda_stream
});

/// A device and the threads that feed it. Any number of models share one, from any thread.
pub struct fqgan_runtime {
    pub(super) device: Device,
}

/// Far above any machine's cores, and far below what would exhaust it.
const MAX_THREADS: u32 = 1024;

/// Sets the fields up to parallel_user to their defaults, struct_size included: those that the first version had. Who
/// uses a later field sets struct_size to sizeof(fqgan_runtime_options), and all later fields.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fqgan_runtime_options_init(options: *mut fqgan_runtime_options) {
    // SAFETY: the contract of the interface.
    unsafe { versioned::init(options, 32) }
}

/// Makes a runtime. options may be NULL: all defaults. Fails with FQGAN_ERROR_DEVICE when there is no such
/// device, or the library was built without it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fqgan_runtime_create(
    options: *const fqgan_runtime_options,
    runtime: *mut *mut fqgan_runtime,
    error: *mut fqgan_error,
) -> fqgan_status {
    let make = || {
        // SAFETY: the contract of the interface.
        let device = open(unsafe { versioned::read_or_default(options) }?)?;
        log::write(log::FQGAN_LOG_INFO, format_args!("runtime: {device}"));
        Ok(fqgan_runtime { device })
    };
    // SAFETY: the contract of the interface.
    unsafe { guard::create(runtime, "runtime", error, make) }
}

/// Gives a runtime back; NULL is accepted. Models that were opened with it go on working.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fqgan_runtime_destroy(runtime: *mut fqgan_runtime) {
    // SAFETY: the contract of the interface.
    unsafe { guard::destroy(runtime) }
}

fn open(options: fqgan_runtime_options) -> Result<Device> {
    #[derive(Clone, Copy, PartialEq)]
    enum Kind {
        Auto,
        Cpu,
        Cuda,
    }
    let kind = pointers::choose(
        options.device,
        "fqgan_runtime_options.device",
        &[
            (FQGAN_DEVICE_AUTO, "FQGAN_DEVICE_AUTO", Kind::Auto),
            (FQGAN_DEVICE_CPU, "FQGAN_DEVICE_CPU", Kind::Cpu),
            (FQGAN_DEVICE_CUDA, "FQGAN_DEVICE_CUDA", Kind::Cuda),
        ],
    )?;
    if options.threads > MAX_THREADS {
        return Err(Error::invalid(format!(
            "fqgan_runtime_options.threads is {}, expected 0 (one per physical core) to {MAX_THREADS}",
            options.threads
        )));
    }
    if kind == Kind::Cuda {
        return gpu(&options);
    }
    #[cfg(feature = "cuda")]
    if kind == Kind::Auto
        && let Ok(device) = gpu(&options)
    {
        return Ok(device);
    }
    if options.device_index != 0 {
        return Err(Error::device(format!(
            "fqgan_runtime_options.device_index is {}, the processor has index 0 alone",
            options.device_index
        )));
    }
    let threads = options.threads as usize;
    let cpu = match parallel::wrap(options.parallel, options.parallel_user) {
        Some(host) => Cpu::with_host(host, threads)?,
        None => Cpu::new(threads)?,
    };
    Ok(Device::Cpu(Arc::new(cpu)))
}

/// The GPU of the options.
#[cfg(feature = "cuda")]
fn gpu(options: &fqgan_runtime_options) -> Result<Device> {
    let host = Host { context: options.cuda_context, stream: options.cuda_stream };
    if host.context.is_null() && !host.stream.is_null() {
        return Err(Error::invalid(
            "fqgan_runtime_options.cuda_stream is set without cuda_context, expected the context that it is of",
        ));
    }
    // SAFETY: the contract of the interface.
    let cuda = unsafe { Cuda::with_host(options.device_index, host) }?;
    Ok(Device::Cuda(Arc::new(cuda)))
}

#[cfg(not(feature = "cuda"))]
fn gpu(_: &fqgan_runtime_options) -> Result<Device> {
    Err(Error::device(
        "this libfqgan was built without CUDA; use FQGAN_DEVICE_CPU or FQGAN_DEVICE_AUTO, or a build with it",
    ))
}
