//! Products of matrices, by cuBLAS. `cublas-sys` has the calls that make a handle; the newer ones stand here. The
//! library is found at run time, at the first product.

use super::Cuda;
use super::driver::{Library, missing};
use super::lt::{Key, Plan};
use crate::error::{Error, Result};
use crate::tensor::{Allocate, DType, Storage, Tensor};
use cublas_sys::{cublasHandle_t, cublasOperation_t, cublasStatus_t};
use std::collections::HashMap;
use std::ffi::{c_int, c_void};
use std::ptr::null_mut;
use std::sync::{Mutex, PoisonError};

unsafe extern "C" {
    fn cublasSetWorkspace_v2(handle: cublasHandle_t, at: *mut c_void, bytes: usize) -> cublasStatus_t;
    fn cublasGemmEx(
        handle: cublasHandle_t,
        turn_a: cublasOperation_t,
        turn_b: cublasOperation_t,
        m: c_int,
        n: c_int,
        k: c_int,
        alpha: *const c_void,
        a: *const c_void,
        type_a: c_int,
        lda: c_int,
        b: *const c_void,
        type_b: c_int,
        ldb: c_int,
        beta: *const c_void,
        c: *mut c_void,
        type_c: c_int,
        ldc: c_int,
        compute: c_int,
        algorithm: c_int,
    ) -> cublasStatus_t;
}

/// `CUBLAS_COMPUTE_32F`: sums in f32, and no rounding of f32 operands to TF32.
pub(super) const SUMS_F32: c_int = 68;
/// `CUBLAS_GEMM_DEFAULT`: the library's own choice.
const CHOOSE: c_int = -1;
/// What NVIDIA recommends for its fastest kernels on sm_90.
pub(super) const WORKSPACE: usize = 32 << 20;

/// A matrix of a product: as it stands, row-major, or turned.
#[derive(Clone, Copy)]
pub struct Side<'a> {
    /// Its elements.
    pub tensor: &'a Tensor,
    /// Whether rows and columns change places.
    pub turned: bool,
}

/// A product of (m, k) and (k, n), both f32 or both bf16.
#[derive(Clone, Copy)]
pub struct Product<'a> {
    /// m, n, k.
    pub extents: [usize; 3],
    /// (m, k); (k, m) in memory if turned.
    pub a: Side<'a>,
    /// (k, n); (n, k) in memory if turned.
    pub b: Side<'a>,
}

impl Product<'_> {
    /// That the three are as large as the extents say, and both sides of one type.
    pub(super) fn check(&self, out: &Tensor) -> Result<()> {
        let ([m, n, k], a, b) = (self.extents, self.a.tensor, self.b.tensor);
        let sides = [(a, m * k), (b, k * n), (out, m * n)];
        match sides.into_iter().find(|(t, count)| t.shape().count() != *count || a.dtype() != b.dtype()) {
            None => Ok(()),
            Some((tensor, count)) => Err(Error::internal(format!(
                "{} in a product of {m}x{k}x{n}: expected {count} of {}",
                tensor.desc(),
                a.dtype()
            ))),
        }
    }
}

/// Where the library reads a tensor.
pub(super) fn address(tensor: &Tensor) -> Result<*const c_void> {
    match tensor.storage().on_device() {
        true => Ok(tensor.storage().as_ptr().cast()),
        false => Err(Error::internal(format!("{} was not uploaded", tensor.desc()))),
    }
}

/// The handle, made at the first product. Calls through it take turns.
#[derive(Default)]
pub(super) struct Blas(pub Mutex<Option<Handle>>);

pub(super) struct Handle {
    pub raw: cublasHandle_t,
    /// Where its work goes.
    stream: *mut c_void,
    /// Kept for as long as the handle.
    pub workspace: Storage,
    /// What cuBLASLt does for each shape, if it has something for it.
    pub plans: HashMap<Key, Option<Plan>>,
}

impl Handle {
    /// Opens it if need be, and sends its work where it belongs.
    pub fn ready<'a>(slot: &'a mut Option<Handle>, cuda: &Cuda) -> Result<&'a mut Handle> {
        if slot.is_none() {
            *slot = Some(open(cuda)?);
        }
        let handle = slot.as_mut().ok_or_else(|| Error::internal("cuBLAS was lost"))?;
        handle.turn_to(cuda)?;
        Ok(handle)
    }

    /// Sends its work where the device sends this thread's.
    fn turn_to(&mut self, cuda: &Cuda) -> Result<()> {
        let stream = cuda.driver.stream().cast();
        if stream == self.stream {
            return Ok(());
        }
        let at = self.workspace.unique_address()? as *mut c_void;
        // SAFETY: the stream is alive; the workspace lives as long as the handle. Setting a stream takes the workspace
        // away, so that comes first.
        unsafe {
            check("turning cuBLAS to a stream", cublas_sys::cublasSetStream_v2(self.raw, stream.cast()))?;
            check("turning cuBLAS to a stream", cublasSetWorkspace_v2(self.raw, at, WORKSPACE))?;
        }
        self.stream = stream;
        Ok(())
    }
}

// SAFETY: a handle may be used from any thread, by one at a time.
unsafe impl Send for Handle {}

impl Drop for Handle {
    fn drop(&mut self) {
        // SAFETY: made in `open`. A failure leaves nothing to be done.
        let _ = unsafe { cublas_sys::cublasDestroy_v2(self.raw) };
    }
}

pub(super) fn check(what: &str, status: cublasStatus_t) -> Result<()> {
    match status {
        cublasStatus_t::CUBLAS_STATUS_SUCCESS => Ok(()),
        cublasStatus_t::CUBLAS_STATUS_ALLOC_FAILED => {
            Err(Error::out_of_memory(format!("{what}: cuBLAS has no memory left")))
        }
        other => Err(Error::device(format!("{what}: {other:?}"))),
    }
}

fn open(cuda: &Cuda) -> Result<Handle> {
    if let Some(why) = missing(Library::Blas) {
        return Err(Error::device(format!("cuBLAS is not installed: {why}")));
    }
    let workspace = cuda.memory().allocate(WORKSPACE)?;
    let mut raw = null_mut();
    // SAFETY: writes a handle.
    check("opening cuBLAS", unsafe { cublas_sys::cublasCreate_v2(&mut raw) })?;
    Ok(Handle { raw, stream: null_mut(), workspace, plans: HashMap::new() })
}

/// `cudaDataType_t`.
pub(super) fn kind(dtype: DType) -> Result<c_int> {
    match dtype {
        DType::F32 => Ok(0),
        DType::BF16 => Ok(14),
        other => Err(Error::internal(format!("a product of {other}"))),
    }
}

impl Cuda {
    /// out (m, n) = a b; sums in f32.
    ///
    /// # Errors
    /// `Device` when cuBLAS is missing or fails, `Internal` when the tensors are not as large as the extents say.
    pub fn multiply(&self, product: Product<'_>, out: &mut Tensor) -> Result<()> {
        let ([m, n, k], Product { a, b, .. }) = (product.extents, product);
        product.check(out)?;
        if m * n == 0 {
            return Ok(());
        }
        if k == 0 {
            return self.zero(out);
        }
        let int = |v: usize| {
            c_int::try_from(v)
                .map_err(|_| Error::invalid(format!("a product of {m}x{k}x{n}: too large for cuBLAS")))
        };
        let turn = |turned| match turned {
            true => cublasOperation_t::CUBLAS_OP_T,
            false => cublasOperation_t::CUBLAS_OP_N,
        };
        let of_out = kind(out.dtype())?;
        let to = out.storage_mut().unique_address()? as *mut c_void;
        let (one, zero) = (1.0f32, 0.0f32);
        let mut handle = self.blas.0.lock().unwrap_or_else(PoisonError::into_inner);
        let _entered = self.driver.enter()?;
        let raw = Handle::ready(&mut handle, self)?.raw;
        // cuBLAS counts along columns: out^T = b^T a^T, and a row-major matrix is its own turned one there.
        // SAFETY: counts were checked above, and all three are memory of this device; the factors are read in the call.
        let status = unsafe {
            cublasGemmEx(
                raw,
                turn(b.turned),
                turn(a.turned),
                int(n)?,
                int(m)?,
                int(k)?,
                (&raw const one).cast(),
                address(b.tensor)?,
                kind(b.tensor.dtype())?,
                int(if b.turned { k } else { n })?,
                address(a.tensor)?,
                kind(a.tensor.dtype())?,
                int(if a.turned { m } else { k })?,
                (&raw const zero).cast(),
                to,
                of_out,
                int(n)?,
                SUMS_F32,
                CHOOSE,
            )
        };
        check(&format!("a product of {m}x{k}x{n}"), status)
    }
}
