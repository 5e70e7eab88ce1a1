//! Products with what follows them in the same call, by cuBLASLt: it comes with cuBLAS, and takes its handle. For each shape
//! the library's first choice is kept.

use super::Cuda;
use super::blas::{Handle, Product, SUMS_F32, WORKSPACE, address, check, kind};
use crate::error::{Error, Result};
use crate::tensor::{DType, Tensor};
use cublas_sys::{cublasHandle_t, cublasStatus_t};
use std::ffi::{c_int, c_void};
use std::ptr::{null, null_mut};
use std::sync::PoisonError;

/// A description of the library's own.
type Opaque = *mut c_void;

unsafe extern "C" {
    fn cublasLtMatmulDescCreate(made: *mut Opaque, compute: c_int, scale: c_int) -> cublasStatus_t;
    fn cublasLtMatmulDescDestroy(it: Opaque) -> cublasStatus_t;
    fn cublasLtMatmulDescSetAttribute(
        it: Opaque,
        attribute: c_int,
        value: *const c_void,
        bytes: usize,
    ) -> cublasStatus_t;
    fn cublasLtMatrixLayoutCreate(
        made: *mut Opaque,
        kind: c_int,
        rows: u64,
        columns: u64,
        stride: i64,
    ) -> cublasStatus_t;
    fn cublasLtMatrixLayoutDestroy(it: Opaque) -> cublasStatus_t;
    fn cublasLtMatmulPreferenceCreate(made: *mut Opaque) -> cublasStatus_t;
    fn cublasLtMatmulPreferenceDestroy(it: Opaque) -> cublasStatus_t;
    fn cublasLtMatmulPreferenceSetAttribute(
        it: Opaque,
        attribute: c_int,
        value: *const c_void,
        bytes: usize,
    ) -> cublasStatus_t;
    fn cublasLtMatmulAlgoGetHeuristic(
        handle: cublasHandle_t,
        it: Opaque,
        a: Opaque,
        b: Opaque,
        c: Opaque,
        d: Opaque,
        preference: Opaque,
        asked: c_int,
        found: *mut Choice,
        given: *mut c_int,
    ) -> cublasStatus_t;
    fn cublasLtMatmul(
        handle: cublasHandle_t,
        it: Opaque,
        alpha: *const c_void,
        a: *const c_void,
        of_a: Opaque,
        b: *const c_void,
        of_b: Opaque,
        beta: *const c_void,
        c: *const c_void,
        of_c: Opaque,
        d: *mut c_void,
        of_d: Opaque,
        algorithm: *const [u64; 8],
        workspace: *mut c_void,
        bytes: usize,
        stream: *mut c_void,
    ) -> cublasStatus_t;
}

/// `cublasLtMatmulHeuristicResult_t`.
#[repr(C)]
#[derive(Clone, Copy)]
struct Choice {
    algorithm: [u64; 8],
    workspace: usize,
    state: c_int,
    waves: f32,
    reserved: [c_int; 4],
}

/// `CUBLASLT_MATMUL_DESC_TRANSA`, `_TRANSB`, `_EPILOGUE`, `_BIAS_POINTER`.
const TURN_A: c_int = 3;
const TURN_B: c_int = 4;
const EPILOGUE: c_int = 7;
const BIAS: c_int = 8;
/// `CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES`, `_REDUCTION_SCHEME_MASK`.
const MOST_WORKSPACE: c_int = 1;
const REDUCTION: c_int = 3;
/// `CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE`: parts of a sum are added in f32, in their order. Those that are added as they
/// come would be other bits each time.
const IN_ORDER: u32 = 2;

/// What follows a product. Of the library's activations none is here: its GELU is the tanh approximation, and what its ReLU
/// makes of a NaN is not said.
#[derive(Clone, Copy, Default)]
pub struct After<'a> {
    /// (n) of the output's type, added to each row.
    pub bias: Option<&'a Tensor>,
    /// (m, n) of the output's type, added too.
    pub residual: Option<&'a Tensor>,
}

/// What the library's choice depends on.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Key {
    extents: [usize; 3],
    turned: [bool; 2],
    operands: c_int,
    out: c_int,
    bias: bool,
    residual: bool,
}

/// The library's notes on a product, and its choice.
pub(super) struct Plan {
    product: Made,
    a: Made,
    b: Made,
    out: Made,
    algorithm: [u64; 8],
}

/// A description, and what destroys it.
struct Made(Opaque, unsafe extern "C" fn(Opaque) -> cublasStatus_t);

// SAFETY: notes in the processor's memory, used by one at a time, under the handle's lock.
unsafe impl Send for Made {}

impl Made {
    /// `make` writes a description.
    fn new(
        make: impl FnOnce(*mut Opaque) -> cublasStatus_t,
        destroy: unsafe extern "C" fn(Opaque) -> cublasStatus_t,
    ) -> Result<Made> {
        let mut made = Made(null_mut(), destroy);
        check("describing a product", make(&raw mut made.0))?;
        Ok(made)
    }

    /// Sets an attribute of so many bytes as the value has.
    fn set<T>(
        &self,
        set: unsafe extern "C" fn(Opaque, c_int, *const c_void, usize) -> cublasStatus_t,
        attribute: c_int,
        value: T,
    ) -> Result<()> {
        // SAFETY: the value is read in the call.
        let status = unsafe { set(self.0, attribute, (&raw const value).cast(), size_of::<T>()) };
        check("describing a product", status)
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        if !self.0.is_null() {
            // SAFETY: made in `new`, and nobody else has it. A failure leaves nothing to be done.
            let _ = unsafe { (self.1)(self.0) };
        }
    }
}

/// Rows and columns of a side as it lies in memory, by columns.
fn layout(kind: c_int, [rows, columns]: [usize; 2]) -> Result<Made> {
    let (rows, columns) = (rows as u64, columns as u64);
    // SAFETY: writes a handle.
    Made::new(
        |made| unsafe { cublasLtMatrixLayoutCreate(made, kind, rows, columns, rows.cast_signed()) },
        cublasLtMatrixLayoutDestroy,
    )
}

impl Plan {
    /// `None` where the library has nothing for this.
    fn new(handle: cublasHandle_t, key: &Key) -> Result<Option<Plan>> {
        let ([m, n, k], [turn_a, turn_b]) = (key.extents, key.turned);
        // SAFETY: writes a handle. Scales are f32: kind 0.
        let product = Made::new(
            |made| unsafe { cublasLtMatmulDescCreate(made, SUMS_F32, 0) },
            cublasLtMatmulDescDestroy,
        )?;
        // SAFETY: writes a handle.
        let preference = Made::new(
            |made| unsafe { cublasLtMatmulPreferenceCreate(made) },
            cublasLtMatmulPreferenceDestroy,
        )?;
        // cuBLAS counts along columns: out^T = b^T a^T, and a row-major matrix is its own turned one there.
        let plan = Plan {
            product,
            a: layout(key.operands, if turn_b { [k, n] } else { [n, k] })?,
            b: layout(key.operands, if turn_a { [m, k] } else { [k, m] })?,
            out: layout(key.out, [n, m])?,
            algorithm: [0; 8],
        };
        // CUBLASLT_EPILOGUE_BIAS and _DEFAULT.
        let epilogue: u32 = if key.bias { 4 } else { 1 };
        plan.product.set(cublasLtMatmulDescSetAttribute, TURN_A, c_int::from(turn_b))?;
        plan.product.set(cublasLtMatmulDescSetAttribute, TURN_B, c_int::from(turn_a))?;
        plan.product.set(cublasLtMatmulDescSetAttribute, EPILOGUE, epilogue)?;
        preference.set(cublasLtMatmulPreferenceSetAttribute, MOST_WORKSPACE, WORKSPACE as u64)?;
        preference.set(cublasLtMatmulPreferenceSetAttribute, REDUCTION, IN_ORDER)?;
        let none = Choice { algorithm: [0; 8], workspace: 0, state: 0, waves: 0.0, reserved: [0; 4] };
        let (mut found, mut given) = (none, 0);
        let Plan { product: it, a, b, out, .. } = &plan;
        // SAFETY: the descriptions are alive; writes one choice and a number.
        let status = unsafe {
            let (preference, found, given) = (preference.0, &raw mut found, &raw mut given);
            cublasLtMatmulAlgoGetHeuristic(handle, it.0, a.0, b.0, out.0, out.0, preference, 1, found, given)
        };
        match status {
            cublasStatus_t::CUBLAS_STATUS_NOT_SUPPORTED => return Ok(None),
            other => check("choosing how to multiply", other)?,
        }
        let usable = given == 1 && found.state == 0 && found.workspace <= WORKSPACE;
        Ok(usable.then_some(Plan { algorithm: found.algorithm, ..plan }))
    }
}

impl Cuda {
    /// out (m, n) = a b and what follows; sums in f32, rounded once for an output of bf16. False where the library has
    /// nothing for this, and nothing was done.
    ///
    /// # Errors
    /// As [`Cuda::multiply`].
    pub fn multiply_and(&self, product: Product<'_>, after: After<'_>, out: &mut Tensor) -> Result<bool> {
        let ([m, n, _], Product { a, b, .. }) = (product.extents, product);
        product.check(out)?;
        let sides = [(after.bias, n), (after.residual, m * n)];
        for (tensor, count) in sides.into_iter().filter_map(|(t, count)| Some((t?, count))) {
            if tensor.shape().count() != count || tensor.dtype() != out.dtype() {
                let expected = format!("expected {count} of {}", out.dtype());
                return Err(Error::internal(format!("{} after a product: {expected}", tensor.desc())));
            }
        }
        // It rounds no product of f32.
        if product.extents.contains(&0) || (out.dtype() != DType::F32 && out.dtype() != a.tensor.dtype()) {
            return Ok(false);
        }
        let key = Key {
            extents: product.extents,
            turned: [a.turned, b.turned],
            operands: kind(a.tensor.dtype())?,
            out: kind(out.dtype())?,
            bias: after.bias.is_some(),
            residual: after.residual.is_some(),
        };
        let to = out.storage_mut().unique_address()? as *mut c_void;
        let bias = after.bias.map_or(Ok(null()), address)?;
        let before = after.residual.map_or(Ok(to.cast_const()), address)?;
        let (one, keep) = (1.0f32, if after.residual.is_some() { 1.0f32 } else { 0.0 });
        let mut handle = self.blas.0.lock().unwrap_or_else(PoisonError::into_inner);
        let _entered = self.driver.enter()?;
        let handle = Handle::ready(&mut handle, self)?;
        if !handle.plans.contains_key(&key) {
            handle.plans.insert(key, Plan::new(handle.raw, &key)?);
        }
        let Some(Some(plan)) = handle.plans.get(&key) else { return Ok(false) };
        if after.bias.is_some() {
            plan.product.set(cublasLtMatmulDescSetAttribute, BIAS, bias)?;
        }
        let Plan { product: it, a: of_a, b: of_b, out: of_out, algorithm } = plan;
        let workspace = handle.workspace.unique_address()? as *mut c_void;
        // SAFETY: counts were checked above, and all are memory of this device; the factors are read in the call; the
        // workspace lives as long as the handle, and all its work is in one order.
        let status = unsafe {
            cublasLtMatmul(
                handle.raw,
                it.0,
                (&raw const one).cast(),
                address(b.tensor)?,
                of_a.0,
                address(a.tensor)?,
                of_b.0,
                (&raw const keep).cast(),
                before,
                of_out.0,
                to,
                of_out.0,
                algorithm,
                workspace,
                WORKSPACE,
                self.driver.stream().cast(),
            )
        };
        check(&format!("a product of {:?}", product.extents), status)?;
        Ok(true)
    }
}
