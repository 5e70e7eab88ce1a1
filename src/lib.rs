//! FQGAN image tokens: an image becomes a small grid of discrete codes and back, with no ML framework inside.

pub mod backend;
pub mod capi;
pub mod codes;
pub mod error;
#[cfg(feature = "eval")]
pub mod eval;
pub mod exec;
pub mod far;
mod files;
pub mod image;
pub mod nn;
#[cfg(any(feature = "eval", feature = "train"))]
pub mod npz;
pub mod ops;
pub mod rng;
pub mod teachers;
pub mod tensor;
pub mod tokenizer;
#[cfg(feature = "train")]
pub mod train;
pub mod weights;

pub use error::{Error, Result, Status};

/// The README's program compiles.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
