//! The calls of cuDNN 9 that compute convolutions and their gradients, written from its headers. Nothing is linked:
//! [`Cudnn::open`] finds the library when it is asked to, and says why it cannot.
//!
//! Every status that a version of the library may give is a [`Status`], known or not. Enumerations of the library are
//! plain integers with constants here, for the same reason.

#![allow(non_snake_case)] // The functions have the library's own names.

use std::ffi::{CStr, c_char, c_int, c_void};
use std::fmt;

/// What a call gives: 0 is success.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(transparent)]
pub struct Status(pub c_int);

impl Status {
    /// All went well.
    pub const SUCCESS: Status = Status(0);

    /// Whether the library can do such a thing, but not for this type, shape or device: `CUDNN_STATUS_NOT_SUPPORTED` and
    /// its subdivisions.
    pub fn is_not_supported(self) -> bool {
        (3000..4000).contains(&self.0)
    }
}

/// `cudnnDataType_t`.
pub type DataType = c_int;
/// f32.
pub const DATA_FLOAT: DataType = 0;
/// bf16.
pub const DATA_BFLOAT16: DataType = 9;

/// `cudnnTensorFormat_t`: channels last.
pub const TENSOR_NHWC: c_int = 1;
/// `cudnnConvolutionMode_t`: the kernel is not turned round.
pub const CROSS_CORRELATION: c_int = 1;
/// `cudnnDeterminism_t`: the same input gives the same bits.
pub const DETERMINISTIC: c_int = 1;
/// `cudnnConvolutionFwdAlgo_t`: the one that may add a bias and a residual where nothing else follows.
pub const IMPLICIT_PRECOMP_GEMM: c_int = 1;
/// `cudnnActivationMode_t`: none.
pub const ACTIVATION_IDENTITY: c_int = 5;
/// `cudnnNanPropagation_t`: what is not a number stays.
pub const PROPAGATE_NAN: c_int = 1;
/// `cudnnMathType_t`: tensor cores for operands of 16 bits.
pub const TENSOR_OP_MATH: c_int = 1;
/// `cudnnMathType_t`: no tensor cores, and so no rounding of f32 to TF32.
pub const FMA_MATH: c_int = 3;

macro_rules! handles {
    ($($(#[$doc:meta])* $name:ident;)*) => {
        $($(#[$doc])*
        #[derive(Clone, Copy, Debug)]
        #[repr(transparent)]
        pub struct $name(pub *mut c_void);
        // SAFETY: a handle; the library may be called from any thread, by one at a time for each handle.
        unsafe impl Send for $name {})*
    };
}

handles! {
    /// `cudnnHandle_t`.
    Handle;
    /// `cudnnTensorDescriptor_t`.
    TensorDescriptor;
    /// `cudnnFilterDescriptor_t`.
    FilterDescriptor;
    /// `cudnnConvolutionDescriptor_t`.
    ConvolutionDescriptor;
    /// `cudnnActivationDescriptor_t`.
    ActivationDescriptor;
}

/// `cudnnConvolutionFwdAlgoPerf_t`, and those of both gradients, which have the same members.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct AlgorithmPerf {
    /// Which algorithm.
    pub algo: c_int,
    /// Whether it can be used.
    pub status: Status,
    /// Expected milliseconds, -1 where nothing was measured.
    pub time: f32,
    /// Bytes of workspace.
    pub memory: usize,
    /// [`DETERMINISTIC`], or not.
    pub determinism: c_int,
    /// How it multiplies.
    pub math_type: c_int,
    reserved: [c_int; 3],
}

impl AlgorithmPerf {
    /// Nothing yet: for the library to write.
    pub const EMPTY: AlgorithmPerf =
        AlgorithmPerf { algo: 0, status: Status(-1), time: -1.0, memory: 0, determinism: 0, math_type: 0, reserved: [0; 3] };
}

macro_rules! functions {
    ($($(#[$doc:meta])* fn $name:ident($($arg:ident: $type:ty),* $(,)?) -> Status;)*) => {
        /// The library, and its functions.
        pub struct Cudnn {
            $($name: unsafe extern "C" fn($($type),*) -> Status,)*
            error_string: unsafe extern "C" fn(Status) -> *const c_char,
            _library: libloading::Library,
        }

        impl Cudnn {
            fn load(library: libloading::Library) -> Result<Cudnn, libloading::Error> {
                // SAFETY: the types are those of cuDNN 9's headers; pointers to functions are kept with the library.
                unsafe {
                    Ok(Cudnn {
                        $($name: *library.get(concat!(stringify!($name), "\0").as_bytes())?,)*
                        error_string: *library.get(b"cudnnGetErrorString\0")?,
                        _library: library,
                    })
                }
            }

            $($(#[$doc])*
            ///
            /// # Safety
            /// That of the library's function of this name: handles are alive, memory is as large as descriptors say.
            #[allow(clippy::too_many_arguments)]
            pub unsafe fn $name(&self, $($arg: $type),*) -> Status {
                // SAFETY: the caller's.
                unsafe { (self.$name)($($arg),*) }
            })*
        }
    };
}

functions! {
    /// Makes a handle in the current context.
    fn cudnnCreate(handle: *mut Handle) -> Status;
    /// Gives it back.
    fn cudnnDestroy(handle: Handle) -> Status;
    /// Where its work goes.
    fn cudnnSetStream(handle: Handle, stream: *mut c_void) -> Status;
    /// Makes a description of a tensor.
    fn cudnnCreateTensorDescriptor(descriptor: *mut TensorDescriptor) -> Status;
    /// Says what the tensor is.
    fn cudnnSetTensor4dDescriptor(
        descriptor: TensorDescriptor,
        format: c_int,
        data_type: DataType,
        n: c_int,
        c: c_int,
        h: c_int,
        w: c_int,
    ) -> Status;
    /// Gives it back.
    fn cudnnDestroyTensorDescriptor(descriptor: TensorDescriptor) -> Status;
    /// Makes a description of a filter.
    fn cudnnCreateFilterDescriptor(descriptor: *mut FilterDescriptor) -> Status;
    /// Says what the filter is.
    fn cudnnSetFilter4dDescriptor(
        descriptor: FilterDescriptor,
        data_type: DataType,
        format: c_int,
        k: c_int,
        c: c_int,
        h: c_int,
        w: c_int,
    ) -> Status;
    /// Gives it back.
    fn cudnnDestroyFilterDescriptor(descriptor: FilterDescriptor) -> Status;
    /// Makes a description of a convolution.
    fn cudnnCreateConvolutionDescriptor(descriptor: *mut ConvolutionDescriptor) -> Status;
    /// Says what the convolution is.
    fn cudnnSetConvolution2dDescriptor(
        descriptor: ConvolutionDescriptor,
        pad_h: c_int,
        pad_w: c_int,
        stride_h: c_int,
        stride_w: c_int,
        dilation_h: c_int,
        dilation_w: c_int,
        mode: c_int,
        compute: DataType,
    ) -> Status;
    /// Says how it may multiply.
    fn cudnnSetConvolutionMathType(descriptor: ConvolutionDescriptor, math: c_int) -> Status;
    /// Gives it back.
    fn cudnnDestroyConvolutionDescriptor(descriptor: ConvolutionDescriptor) -> Status;
    /// Algorithms, the fastest first.
    fn cudnnGetConvolutionForwardAlgorithm_v7(
        handle: Handle,
        x: TensorDescriptor,
        w: FilterDescriptor,
        convolution: ConvolutionDescriptor,
        y: TensorDescriptor,
        asked: c_int,
        given: *mut c_int,
        results: *mut AlgorithmPerf,
    ) -> Status;
    /// y = alpha conv(x, w) + beta y.
    fn cudnnConvolutionForward(
        handle: Handle,
        alpha: *const c_void,
        x: TensorDescriptor,
        x_at: *const c_void,
        w: FilterDescriptor,
        w_at: *const c_void,
        convolution: ConvolutionDescriptor,
        algo: c_int,
        workspace: *mut c_void,
        workspace_bytes: usize,
        beta: *const c_void,
        y: TensorDescriptor,
        y_at: *mut c_void,
    ) -> Status;
    /// Makes a description of what follows a convolution.
    fn cudnnCreateActivationDescriptor(descriptor: *mut ActivationDescriptor) -> Status;
    /// Says what that is.
    fn cudnnSetActivationDescriptor(
        descriptor: ActivationDescriptor,
        mode: c_int,
        nan: c_int,
        coefficient: f64,
    ) -> Status;
    /// Gives it back.
    fn cudnnDestroyActivationDescriptor(descriptor: ActivationDescriptor) -> Status;
    /// y = activation(alpha1 conv(x, w) + alpha2 z + bias).
    fn cudnnConvolutionBiasActivationForward(
        handle: Handle,
        alpha1: *const c_void,
        x: TensorDescriptor,
        x_at: *const c_void,
        w: FilterDescriptor,
        w_at: *const c_void,
        convolution: ConvolutionDescriptor,
        algo: c_int,
        workspace: *mut c_void,
        workspace_bytes: usize,
        alpha2: *const c_void,
        z: TensorDescriptor,
        z_at: *const c_void,
        bias: TensorDescriptor,
        bias_at: *const c_void,
        activation: ActivationDescriptor,
        y: TensorDescriptor,
        y_at: *mut c_void,
    ) -> Status;
    /// Algorithms for the gradient of x, the fastest first.
    fn cudnnGetConvolutionBackwardDataAlgorithm_v7(
        handle: Handle,
        w: FilterDescriptor,
        dy: TensorDescriptor,
        convolution: ConvolutionDescriptor,
        dx: TensorDescriptor,
        asked: c_int,
        given: *mut c_int,
        results: *mut AlgorithmPerf,
    ) -> Status;
    /// dx = alpha (the gradient of x) + beta dx.
    fn cudnnConvolutionBackwardData(
        handle: Handle,
        alpha: *const c_void,
        w: FilterDescriptor,
        w_at: *const c_void,
        dy: TensorDescriptor,
        dy_at: *const c_void,
        convolution: ConvolutionDescriptor,
        algo: c_int,
        workspace: *mut c_void,
        workspace_bytes: usize,
        beta: *const c_void,
        dx: TensorDescriptor,
        dx_at: *mut c_void,
    ) -> Status;
    /// Algorithms for the gradient of w, the fastest first.
    fn cudnnGetConvolutionBackwardFilterAlgorithm_v7(
        handle: Handle,
        x: TensorDescriptor,
        dy: TensorDescriptor,
        convolution: ConvolutionDescriptor,
        dw: FilterDescriptor,
        asked: c_int,
        given: *mut c_int,
        results: *mut AlgorithmPerf,
    ) -> Status;
    /// dw = alpha (the gradient of w) + beta dw.
    fn cudnnConvolutionBackwardFilter(
        handle: Handle,
        alpha: *const c_void,
        x: TensorDescriptor,
        x_at: *const c_void,
        dy: TensorDescriptor,
        dy_at: *const c_void,
        convolution: ConvolutionDescriptor,
        algo: c_int,
        workspace: *mut c_void,
        workspace_bytes: usize,
        beta: *const c_void,
        dw: FilterDescriptor,
        dw_at: *mut c_void,
    ) -> Status;
}

impl Cudnn {
    /// The library of the first of these names that the loader finds.
    ///
    /// # Errors
    /// What the loader said of the first name, or of a function that the library lacks.
    ///
    /// # Safety
    /// Loading runs the library's own code: what is found under these names is cuDNN 9, or behaves as it.
    pub unsafe fn open(names: &[&str]) -> Result<Cudnn, String> {
        let mut first = None;
        for name in names {
            // SAFETY: the caller's.
            match unsafe { libloading::Library::new(name) } {
                Ok(library) => return Cudnn::load(library).map_err(|e| e.to_string()),
                Err(error) => first = first.or(Some(error.to_string())),
            }
        }
        Err(first.unwrap_or_else(|| "no name was given".into()))
    }

    /// The library's own words for a status.
    pub fn describe(&self, status: Status) -> String {
        // SAFETY: any status may be asked for; the text is the library's own and stays.
        let text = unsafe { (self.error_string)(status) };
        if text.is_null() {
            return status.0.to_string();
        }
        // SAFETY: it ends with a zero.
        unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned()
    }
}

impl fmt::Debug for Cudnn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Cudnn")
    }
}
