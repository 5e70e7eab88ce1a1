//! The calls of NCCL 2 that sum and gather tensors over GPUs, written from its headers. Nothing is linked: [`Nccl::open`]
//! finds the library when it is asked to, and says why it cannot.
//!
//! Every result that a version of the library may give is a [`Code`], known or not.

#![allow(non_snake_case)] // The functions have the library's own names.

use std::ffi::{CStr, c_char, c_int, c_void};
use std::fmt;

/// What a call gives, `ncclResult_t`: 0 is success.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(transparent)]
pub struct Code(pub c_int);

impl Code {
    /// All went well.
    pub const SUCCESS: Code = Code(0);
    /// A call goes on in the background: of communicators that were made so, which ours are not.
    pub const IN_PROGRESS: Code = Code(7);
}

/// `ncclDataType_t`: bytes.
pub const UINT8: c_int = 1;
/// `ncclDataType_t`: f32.
pub const FLOAT32: c_int = 7;
/// `ncclRedOp_t`: the sum.
pub const SUM: c_int = 0;

/// `ncclUniqueId`: what one process makes and all give to join.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct UniqueId(pub [u8; 128]);

/// `ncclComm_t`.
#[derive(Clone, Copy, Debug)]
#[repr(transparent)]
pub struct Comm(pub *mut c_void);

// SAFETY: a handle; the library may be called from any thread, by one at a time for each handle.
unsafe impl Send for Comm {}

macro_rules! functions {
    ($($(#[$doc:meta])* fn $name:ident($($arg:ident: $type:ty),* $(,)?) -> Code;)*) => {
        /// The library, and its functions.
        pub struct Nccl {
            $($name: unsafe extern "C" fn($($type),*) -> Code,)*
            error_string: unsafe extern "C" fn(Code) -> *const c_char,
            last_error: unsafe extern "C" fn(Comm) -> *const c_char,
            _library: libloading::Library,
        }

        impl Nccl {
            fn load(library: libloading::Library) -> Result<Nccl, libloading::Error> {
                // SAFETY: the types are those of NCCL 2's headers; pointers to functions are kept with the library.
                unsafe {
                    Ok(Nccl {
                        $($name: *library.get(concat!(stringify!($name), "\0").as_bytes())?,)*
                        error_string: *library.get(b"ncclGetErrorString\0")?,
                        last_error: *library.get(b"ncclGetLastError\0")?,
                        _library: library,
                    })
                }
            }

            $($(#[$doc])*
            ///
            /// # Safety
            /// That of the library's function of this name: communicators are alive, memory is as large as it is said
            /// to be until the stream has come past the call.
            #[allow(clippy::too_many_arguments)]
            pub unsafe fn $name(&self, $($arg: $type),*) -> Code {
                // SAFETY: the caller's.
                unsafe { (self.$name)($($arg),*) }
            })*
        }
    };
}

functions! {
    /// The library's version, as 10000 major + 100 minor + patch.
    fn ncclGetVersion(version: *mut c_int) -> Code;
    /// Makes what all processes are to give to join.
    fn ncclGetUniqueId(id: *mut UniqueId) -> Code;
    /// Joins, with the current context's GPU; waits for all others.
    fn ncclCommInitRank(comm: *mut Comm, size: c_int, id: UniqueId, rank: c_int) -> Code;
    /// Leaves, after all that was started.
    fn ncclCommDestroy(comm: Comm) -> Code;
    /// Leaves at once: what was started fails.
    fn ncclCommAbort(comm: Comm) -> Code;
    /// What became of what was started.
    fn ncclCommGetAsyncError(comm: Comm, error: *mut Code) -> Code;
    /// From here on, calls are noted down.
    fn ncclGroupStart() -> Code;
    /// Starts what was noted down, as one.
    fn ncclGroupEnd() -> Code;
    /// Every process gets what `op` makes of all processes' elements.
    fn ncclAllReduce(
        from: *const c_void,
        to: *mut c_void,
        count: usize,
        data_type: c_int,
        op: c_int,
        comm: Comm,
        stream: *mut c_void,
    ) -> Code;
    /// Every process gets all processes' elements, `count` each, in the order of ranks.
    fn ncclAllGather(
        from: *const c_void,
        to: *mut c_void,
        count: usize,
        data_type: c_int,
        comm: Comm,
        stream: *mut c_void,
    ) -> Code;
}

impl Nccl {
    /// The library of the first of these names that the loader finds.
    ///
    /// # Errors
    /// What the loader said of the first name, or of a function that the library lacks.
    ///
    /// # Safety
    /// Loading runs the library's own code: what is found under these names is NCCL 2, or behaves as it.
    pub unsafe fn open(names: &[&str]) -> Result<Nccl, String> {
        let mut first = None;
        for name in names {
            // SAFETY: the caller's.
            match unsafe { libloading::Library::new(name) } {
                Ok(library) => return Nccl::load(library).map_err(|e| e.to_string()),
                Err(error) => first = first.or(Some(error.to_string())),
            }
        }
        Err(first.unwrap_or_else(|| "no name was given".into()))
    }

    /// The library's own words for a result, and for what last went wrong.
    pub fn describe(&self, code: Code) -> String {
        // SAFETY: any result may be asked for; no communicator stands for the last error of all.
        let texts = unsafe { [(self.error_string)(code), (self.last_error)(Comm(std::ptr::null_mut()))] };
        let words = texts.iter().filter(|text| !text.is_null()).map(|&text| {
            // SAFETY: it is the library's own text, which stays, and ends with a zero.
            unsafe { CStr::from_ptr(text) }.to_string_lossy().trim().to_string()
        });
        let words: Vec<String> = words.filter(|text| !text.is_empty()).collect();
        if words.is_empty() { code.0.to_string() } else { words.join(": ") }
    }
}

impl fmt::Debug for Nccl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Nccl")
    }
}
