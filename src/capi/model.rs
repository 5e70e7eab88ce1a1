use super::pointers;
use super::versioned::{self, versioned};
use crate::error::{Error, Result};
use crate::nn::Precision;
use crate::tensor::Bytes;
use crate::weights::{Map, Source};
use std::ffi::{c_char, c_void};
use std::sync::Arc;

/// 32-bit floats: exact, the default.
pub const FQGAN_PRECISION_F32: i32 = 0;
/// 16-bit brain floats for the products, sums in 32 bits.
pub const FQGAN_PRECISION_BF16: i32 = 1;
/// 8-bit weights; for generators.
pub const FQGAN_PRECISION_INT8: i32 = 2;

/// The file is mapped read-only; models of one file share its memory, also between processes.
pub const FQGAN_MAP_ON: i32 = 0;
/// The file is read into memory: for files that another process may cut short while they are open.
pub const FQGAN_MAP_OFF: i32 = 1;

/// How to open a model. A field that is zero is at its default.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct fqgan_model_options {
    /// sizeof(fqgan_model_options).
    pub struct_size: u32,
    /// FQGAN_PRECISION_F32, _BF16 or _INT8.
    pub precision: i32,
    /// FQGAN_MAP_ON or _OFF.
    pub map: i32,
    /// Bytes of working memory, rearranged weights included; past them, FQGAN_ERROR_OUT_OF_MEMORY. A tight
    /// limit makes the model choose smaller, slower forms. 0: no limit.
    pub memory_limit: u64,
}
versioned!(fqgan_model_options { struct_size, precision, map, memory_limit });

/// Sets all fields to their defaults, struct_size included.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fqgan_model_options_init(options: *mut fqgan_model_options) {
    // SAFETY: the contract of the interface.
    unsafe { versioned::init(options, 24) }
}

/// The options, checked.
pub(super) struct Options {
    pub(super) precision: Precision,
    pub(super) map: Map,
    pub(super) memory_limit: Option<usize>,
}

impl Options {
    /// # Safety
    /// The contract of the interface.
    pub(super) unsafe fn read(options: *const fqgan_model_options) -> Result<Options> {
        // SAFETY: as the caller promises.
        let options = unsafe { versioned::read_or_default(options) }?;
        let precision = pointers::choose(
            options.precision,
            "fqgan_model_options.precision",
            &[
                (FQGAN_PRECISION_F32, "FQGAN_PRECISION_F32", Precision::F32),
                (FQGAN_PRECISION_BF16, "FQGAN_PRECISION_BF16", Precision::Bf16),
                (FQGAN_PRECISION_INT8, "FQGAN_PRECISION_INT8", Precision::Int8),
            ],
        )?;
        let map = pointers::choose(
            options.map,
            "fqgan_model_options.map",
            &[(FQGAN_MAP_ON, "FQGAN_MAP_ON", Map::On), (FQGAN_MAP_OFF, "FQGAN_MAP_OFF", Map::Off)],
        )?;
        // More than can be addressed is no limit.
        let memory_limit = match options.memory_limit {
            0 => None,
            bytes => Some(usize::try_from(bytes).unwrap_or(usize::MAX)),
        };
        Ok(Options { precision, map, memory_limit })
    }
}

/// A weight file of a host.
///
/// # Safety
/// The contract of the interface.
pub(super) unsafe fn open(path: *const c_char, map: Map) -> Result<Source> {
    // SAFETY: as the caller promises.
    let path = unsafe { pointers::text(path, "path") }?;
    if path.is_empty() {
        return Err(Error::invalid("path is empty, expected that of a weight file"));
    }
    Source::open(path, map)
}

/// A weight file in a host's memory, which it keeps until the model is closed.
///
/// # Safety
/// The contract of the interface, and nobody writes the bytes before the source and all that was made of it
/// is dropped.
pub(super) unsafe fn open_memory(bytes: *const c_void, length: usize) -> Result<Source> {
    // SAFETY: as the caller promises, for as long as the model lives, which is the only use of the slice.
    let bytes = unsafe { pointers::slice::<u8>(bytes.cast(), length, "bytes") }?;
    Source::from_bytes(Arc::new(Hosts(bytes)))
}

struct Hosts(&'static [u8]);

impl Bytes for Hosts {
    fn bytes(&self) -> &[u8] {
        self.0
    }
}
