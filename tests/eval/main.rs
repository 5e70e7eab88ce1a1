//! Figures of pictures and of sets of features, held against other implementations and plain loops.
#![cfg(feature = "eval")]

mod distances;
#[cfg(feature = "pictures")]
mod ssim;
