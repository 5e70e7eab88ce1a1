//! The C ABI, version 1: what `include/fqgan.h` declares. One file an object; the names, layouts and rules are
//! a contract with programs that are already built, so nothing here is renamed.
//!
//! Types carry their C names, and the comments on exported items are the header's, so they speak to a C
//! reader. Every function that can fail runs in `guard::call`, which turns errors and panics into a status;
//! every pointer goes through `pointers`, every sized struct through `versioned`.
//!
//! # Safety
//! The contract of all exported functions: a pointer that is not NULL points to what its type says, for as
//! many elements as the count or capacity beside it says, for the time of the call; a handle came from its
//! `_create` or `_open` and was not given back; outputs do not overlap inputs.
#![allow(non_camel_case_types, clippy::missing_safety_doc)]

mod codes;
mod error;
#[cfg(test)]
mod faults;
mod generator;
mod guard;
mod image;
mod log;
mod model;
mod parallel;
mod pointers;
mod runtime;
mod scratch;
mod tokenizer;
mod version;
mod versioned;

pub use codes::*;
pub use error::*;
pub use generator::*;
pub use image::{
    FQGAN_PIXEL_BGRA8, FQGAN_PIXEL_RGB_F32, FQGAN_PIXEL_RGB_F32_PLANAR, FQGAN_PIXEL_RGB8, FQGAN_PIXEL_RGBA8,
    fqgan_image,
};
pub use log::{
    FQGAN_LOG_DEBUG, FQGAN_LOG_ERROR, FQGAN_LOG_INFO, FQGAN_LOG_WARNING, fqgan_log_fn, fqgan_set_log,
};
pub use model::{
    FQGAN_MAP_OFF, FQGAN_MAP_ON, FQGAN_PRECISION_BF16, FQGAN_PRECISION_F32, FQGAN_PRECISION_INT8,
    fqgan_model_options, fqgan_model_options_init,
};
pub use runtime::*;
pub use tokenizer::*;
pub use version::*;
