//! Figures of pictures and of sets of features, held against other implementations and plain loops.
#![cfg(feature = "eval")]

mod distances;
mod embedding;
mod journal;
mod npz;
#[cfg(feature = "pictures")]
mod ssim;
