//! Weight files: what is in them, their tensors without a copy where the file allows it, and writing them.
//!
//! Files come from strangers. Each format has one file that holds its trust boundary (`header.rs` for
//! safetensors, `checkpoint/pickle.rs` for PyTorch's): what leaves it names bytes that exist, and a hostile file gets an error.

mod checkpoint;
mod convert;
pub mod formula;
mod header;
pub(crate) mod infer;
mod int8;
mod listing;
mod manifest;
mod save;
mod source;
mod store;

pub use convert::{cast, convert, convert_to_int8};
pub use int8::{quantize, scale_name};
pub use listing::{FileType, Info, Listing};
pub use manifest::{Comparison, Manifest};
#[cfg(feature = "train")]
pub(crate) use save::start;
pub use save::{Metadata, save, save_with, write_with};
pub use source::{Format, Map, Source};
