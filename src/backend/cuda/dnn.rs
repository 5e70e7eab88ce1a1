//! Convolutions, by cuDNN 9. The library is found at run time, at the first convolution. For each shape the fastest
//! algorithm that gives the same bits each time is picked once and kept; its workspace is of the call's own memory. Where
//! that algorithm is the one that can add what follows while it writes, it does.

use super::Cuda;
use crate::backend::Workspace;
use crate::error::{Error, Result};
use crate::tensor::{DType, Desc, Tensor};
use cudnn_sys::{
    ActivationDescriptor, AlgorithmPerf, ConvolutionDescriptor, Cudnn, FilterDescriptor, Handle, Status,
    TensorDescriptor,
};
use std::collections::HashMap;
use std::ffi::{c_int, c_void};
use std::ptr::null_mut;
use std::sync::{Mutex, PoisonError};

/// A convolution of pictures (n, h, w, c) by filters (k, r, s, c) to (n, oh, ow, k), with as many zeros on both sides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Convolution {
    /// n, h, w, c.
    pub x: [usize; 4],
    /// k, r, s.
    pub filter: [usize; 3],
    /// oh, ow.
    pub out: [usize; 2],
    /// Step between outputs.
    pub stride: usize,
    /// Zeros above and below, and on the left and right.
    pub padding: [usize; 2],
    /// F32, or BF16 for all three tensors; sums are f32.
    pub dtype: DType,
}

/// What is computed of a convolution's three tensors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Part {
    Output,
    Data,
    Filter,
}

/// The library's own notes on one convolution, and the algorithm that was picked.
struct Plan {
    x: TensorDescriptor,
    y: TensorDescriptor,
    w: FilterDescriptor,
    convolution: ConvolutionDescriptor,
    bias: TensorDescriptor,
    algorithm: c_int,
    workspace: usize,
    /// Whether bias and residual are added by the same call.
    fused: bool,
}

#[derive(Default)]
pub(super) struct Dnn(Mutex<Option<Opened>>);

struct Opened {
    cudnn: Cudnn,
    handle: Handle,
    /// None: what follows a convolution is an operation of its own.
    identity: ActivationDescriptor,
    plans: HashMap<(Convolution, Part), Plan>,
}

impl Opened {
    fn check(&self, what: &str, status: Status) -> Result<()> {
        match status {
            Status::SUCCESS => Ok(()),
            other => Err(Error::device(format!("{what}: {}", self.cudnn.describe(other)))),
        }
    }

    fn open(cuda: &Cuda) -> Result<Opened> {
        let emulated = std::env::var("FQGAN_CUDA_DRIVER").ok().filter(|path| !path.is_empty());
        let names: &[&str] = &["libcudnn.so.9", "libcudnn.so"];
        let only = emulated.as_deref().map(|path| [path]);
        // SAFETY: these names are cuDNN's, or the emulated device's own.
        let library = unsafe { Cudnn::open(only.as_ref().map_or(names, |only| only)) };
        let library = library.map_err(|why| Error::device(format!("cuDNN 9 is not installed: {why}")))?;
        let (none, identity) = (Handle(null_mut()), ActivationDescriptor(null_mut()));
        let mut opened = Opened { cudnn: library, handle: none, identity, plans: HashMap::new() };
        let mut handle = none;
        // SAFETY: writes a handle, which is then given the device's own stream, and a descriptor.
        unsafe {
            opened.check("opening cuDNN", opened.cudnn.cudnnCreate(&mut handle))?;
            opened.handle = handle;
            opened
                .check("opening cuDNN", opened.cudnn.cudnnSetStream(handle, cuda.driver.stream().cast()))?;
            let mut identity = opened.identity;
            opened.check("opening cuDNN", opened.cudnn.cudnnCreateActivationDescriptor(&mut identity))?;
            opened.identity = identity;
            let (mode, nan) = (cudnn_sys::ACTIVATION_IDENTITY, cudnn_sys::PROPAGATE_NAN);
            let set = opened.cudnn.cudnnSetActivationDescriptor(identity, mode, nan, 0.0);
            opened.check("opening cuDNN", set)?;
        }
        Ok(opened)
    }

    fn plan(&self, of: &Convolution, part: Part) -> Result<Plan> {
        let what = || format!("planning {of:?}");
        let int = |v: usize| {
            c_int::try_from(v)
                .map_err(|_| Error::invalid(format!("{of:?}: an extent is too large for cuDNN")))
        };
        let (kind, math) = match of.dtype {
            DType::F32 => (cudnn_sys::DATA_FLOAT, cudnn_sys::FMA_MATH),
            DType::BF16 => (cudnn_sys::DATA_BFLOAT16, cudnn_sys::TENSOR_OP_MATH),
            other => return Err(Error::internal(format!("a convolution of {other}"))),
        };
        let ([n, h, w, c], [k, r, s], [oh, ow]) = (of.x, of.filter, of.out);
        let (library, check) = (&self.cudnn, |status| self.check(&what(), status));
        let mut plan = Plan {
            x: TensorDescriptor(null_mut()),
            y: TensorDescriptor(null_mut()),
            w: FilterDescriptor(null_mut()),
            convolution: ConvolutionDescriptor(null_mut()),
            bias: TensorDescriptor(null_mut()),
            algorithm: 0,
            workspace: 0,
            fused: false,
        };
        let nhwc = cudnn_sys::TENSOR_NHWC;
        let [n, h, w, c, k, r] = [int(n)?, int(h)?, int(w)?, int(c)?, int(k)?, int(r)?];
        let [s, oh, ow, step] = [int(s)?, int(oh)?, int(ow)?, int(of.stride)?];
        let [pad_h, pad_w] = [int(of.padding[0])?, int(of.padding[1])?];
        let mut found = [AlgorithmPerf::EMPTY; 8];
        let mut given = 0;
        // SAFETY: writes descriptors, which nobody else has, and as many results as there is room for.
        unsafe {
            check(library.cudnnCreateTensorDescriptor(&mut plan.x))?;
            check(library.cudnnSetTensor4dDescriptor(plan.x, nhwc, kind, n, c, h, w))?;
            check(library.cudnnCreateTensorDescriptor(&mut plan.y))?;
            check(library.cudnnSetTensor4dDescriptor(plan.y, nhwc, kind, n, k, oh, ow))?;
            check(library.cudnnCreateTensorDescriptor(&mut plan.bias))?;
            check(library.cudnnSetTensor4dDescriptor(plan.bias, nhwc, kind, 1, k, 1, 1))?;
            check(library.cudnnCreateFilterDescriptor(&mut plan.w))?;
            check(library.cudnnSetFilter4dDescriptor(plan.w, kind, nhwc, k, c, r, s))?;
            check(library.cudnnCreateConvolutionDescriptor(&mut plan.convolution))?;
            let (it, straight) = (plan.convolution, cudnn_sys::CROSS_CORRELATION);
            let sums = cudnn_sys::DATA_FLOAT;
            check(
                library.cudnnSetConvolution2dDescriptor(it, pad_h, pad_w, step, step, 1, 1, straight, sums),
            )?;
            check(library.cudnnSetConvolutionMathType(it, math))?;
            let (asked, given, to) = (found.len() as c_int, &raw mut given, found.as_mut_ptr());
            let Plan { x, y, w, .. } = plan;
            check(match part {
                Part::Output => {
                    library.cudnnGetConvolutionForwardAlgorithm_v7(self.handle, x, w, it, y, asked, given, to)
                }
                Part::Data => library.cudnnGetConvolutionBackwardDataAlgorithm_v7(
                    self.handle,
                    w,
                    y,
                    it,
                    x,
                    asked,
                    given,
                    to,
                ),
                Part::Filter => library.cudnnGetConvolutionBackwardFilterAlgorithm_v7(
                    self.handle,
                    x,
                    y,
                    it,
                    w,
                    asked,
                    given,
                    to,
                ),
            })?;
        }
        let usable = |perf: &&AlgorithmPerf| {
            perf.status == Status::SUCCESS && perf.determinism == cudnn_sys::DETERMINISTIC
        };
        let picked = found.iter().take(usize::try_from(given).unwrap_or(0)).find(usable);
        let picked =
            picked.ok_or_else(|| Error::unsupported(format!("cuDNN has no algorithm for {of:?}")))?;
        (plan.algorithm, plan.workspace) = (picked.algo, picked.memory);
        plan.fused = part == Part::Output && picked.algo == cudnn_sys::IMPLICIT_PRECOMP_GEMM;
        Ok(plan)
    }
}

impl Drop for Opened {
    fn drop(&mut self) {
        // SAFETY: made here, and nobody has them any more. A failure leaves nothing to be done.
        unsafe {
            for plan in self.plans.values() {
                let _ = self.cudnn.cudnnDestroyTensorDescriptor(plan.x);
                let _ = self.cudnn.cudnnDestroyTensorDescriptor(plan.y);
                let _ = self.cudnn.cudnnDestroyTensorDescriptor(plan.bias);
                let _ = self.cudnn.cudnnDestroyFilterDescriptor(plan.w);
                let _ = self.cudnn.cudnnDestroyConvolutionDescriptor(plan.convolution);
            }
            if !self.identity.0.is_null() {
                let _ = self.cudnn.cudnnDestroyActivationDescriptor(self.identity);
            }
            if !self.handle.0.is_null() {
                let _ = self.cudnn.cudnnDestroy(self.handle);
            }
        }
    }
}

impl Cuda {
    /// y (n, oh, ow, k) = x convolved by w (k, r, s, c). True if a bias (k), when there is one, and a residual as large as
    /// y are added to it already; they are of the convolution's type.
    ///
    /// # Errors
    /// `Device` when cuDNN is missing or fails, `OutOfMemory`; `Internal` for tensors of other sizes.
    pub fn convolve(
        &self,
        workspace: &Workspace,
        of: &Convolution,
        [x, w]: [&Tensor; 2],
        [bias, residual]: [Option<&Tensor>; 2],
        y: &mut Tensor,
    ) -> Result<bool> {
        let outputs = of.x[0] * of.out[0] * of.out[1] * of.filter[0];
        for (tensor, count) in bias.iter().zip([of.filter[0]]).chain(residual.iter().zip([outputs])) {
            if tensor.shape().count() != count || tensor.dtype() != of.dtype || !tensor.storage().on_device()
            {
                return Err(Error::internal(format!("{} after {of:?}, expected {count}", tensor.desc())));
            }
        }
        self.run(workspace, of, Part::Output, [x, w], bias.map(|bias| (bias, residual)), y)
    }

    /// dx (n, h, w, c) of w (k, r, s, c) and dy (n, oh, ow, k).
    ///
    /// # Errors
    /// As [`Cuda::convolve`].
    pub fn data_gradient(
        &self,
        workspace: &Workspace,
        of: &Convolution,
        [w, dy]: [&Tensor; 2],
        dx: &mut Tensor,
    ) -> Result<()> {
        self.run(workspace, of, Part::Data, [w, dy], None, dx).map(|_| ())
    }

    /// dw (k, r, s, c) of x (n, h, w, c) and dy (n, oh, ow, k).
    ///
    /// # Errors
    /// As [`Cuda::convolve`].
    pub fn filter_gradient(
        &self,
        workspace: &Workspace,
        of: &Convolution,
        [x, dy]: [&Tensor; 2],
        dw: &mut Tensor,
    ) -> Result<()> {
        self.run(workspace, of, Part::Filter, [x, dy], None, dw).map(|_| ())
    }

    fn run(
        &self,
        workspace: &Workspace,
        of: &Convolution,
        part: Part,
        [a, b]: [&Tensor; 2],
        after: Option<(&Tensor, Option<&Tensor>)>,
        out: &mut Tensor,
    ) -> Result<bool> {
        let ([n, h, w, c], [k, r, s], [oh, ow]) = (of.x, of.filter, of.out);
        let (pixels, filter, outputs) = (n * h * w * c, k * r * s * c, n * oh * ow * k);
        let counts = match part {
            Part::Output => [pixels, filter, outputs],
            Part::Data => [filter, outputs, pixels],
            Part::Filter => [pixels, outputs, filter],
        };
        for (tensor, count) in [a, b, &*out].into_iter().zip(counts) {
            if tensor.shape().count() != count || tensor.dtype() != of.dtype || !tensor.storage().on_device()
            {
                return Err(Error::internal(format!("{} in {of:?}, expected {count}", tensor.desc())));
            }
        }
        if pixels == 0 || outputs == 0 {
            self.zero(out)?;
            return Ok(false);
        }
        // The library's stream stays the device's.
        self.driver.not_while_capturing("a convolution")?;
        let mut opened = self.dnn.0.lock().unwrap_or_else(PoisonError::into_inner);
        let _entered = self.driver.enter()?;
        if opened.is_none() {
            *opened = Some(Opened::open(self)?);
        }
        let opened = opened.as_mut().ok_or_else(|| Error::internal("cuDNN was lost"))?;
        if !opened.plans.contains_key(&(*of, part)) {
            let plan = opened.plan(of, part)?;
            opened.plans.insert((*of, part), plan);
        }
        let plan = opened.plans.get_mut(&(*of, part)).ok_or_else(|| Error::internal("a plan was lost"))?;
        let mut scratch = workspace.tensor(Desc::plain([plan.workspace], DType::U8))?;
        let (one, zero) = (1.0f32, 0.0f32);
        let (one, zero) = ((&raw const one).cast::<c_void>(), (&raw const zero).cast::<c_void>());
        let at = |t: &Tensor| t.storage().as_ptr().cast::<c_void>();
        let (a, b, to) = (at(a), at(b), out.storage_mut().unique_address()? as *mut c_void);
        let memory = scratch.storage_mut().unique_address()? as *mut c_void;
        let Plan { x, y, w, convolution: it, algorithm, workspace: bytes, .. } = *plan;
        let (library, handle) = (&opened.cudnn, opened.handle);
        if let Some((bias, residual)) = after.filter(|_| plan.fused) {
            // Where there is no residual, y stands for it, times zero.
            let (factor, z) = match residual {
                Some(residual) => (one, at(residual)),
                None => (zero, to.cast_const()),
            };
            // SAFETY: as below; bias and residual are as large as the descriptors say too, which `convolve` checked.
            let status = unsafe {
                library.cudnnConvolutionBiasActivationForward(
                    handle,
                    one,
                    x,
                    a,
                    w,
                    b,
                    it,
                    algorithm,
                    memory,
                    bytes,
                    factor,
                    y,
                    z,
                    plan.bias,
                    at(bias),
                    opened.identity,
                    y,
                    to,
                )
            };
            if !status.is_not_supported() {
                return opened.check("a convolution with a bias", status).map(|()| true);
            }
            // Not of this shape, and not the next time either.
            plan.fused = false;
        }
        // SAFETY: the tensors are memory of this device's, as large as the descriptors say, which was checked above;
        // the factors are read in the call; the workspace goes back to the arena in the stream's order.
        let status = unsafe {
            match part {
                Part::Output => library.cudnnConvolutionForward(
                    handle, one, x, a, w, b, it, algorithm, memory, bytes, zero, y, to,
                ),
                Part::Data => library.cudnnConvolutionBackwardData(
                    handle, one, w, a, y, b, it, algorithm, memory, bytes, zero, x, to,
                ),
                Part::Filter => library.cudnnConvolutionBackwardFilter(
                    handle, one, x, a, y, b, it, algorithm, memory, bytes, zero, w, to,
                ),
            }
        };
        opened.check("a convolution", status).map(|()| false)
    }
}
