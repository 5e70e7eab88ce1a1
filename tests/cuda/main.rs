//! The models through the CUDA backend: the same numbers as on the processor, on a GPU or on the emulated device that
//! the environment variable FQGAN_CUDA_DRIVER names.

#[path = "../common/mod.rs"]
#[allow(unused)]
mod common;
#[path = "../train/small.rs"]
#[allow(unused)]
mod small;
#[path = "../common/tiny.rs"]
#[allow(unused)]
mod tiny;

mod generator;
mod graph;
mod link;
mod missing;
mod process;
mod recipes;
mod tokenizer;
mod training;

use fqgan::backend::Device;
use fqgan::backend::cpu::Cpu;
use fqgan::backend::cuda::Cuda;
use std::sync::Arc;

/// Relative L2 error between the two devices, in f32.
const BOUND: f64 = 1e-4;

fn cuda() -> Device {
    Device::Cuda(Arc::new(Cuda::new(0).unwrap_or_else(|e| panic!("{e}"))))
}

fn cpu() -> Device {
    Device::Cpu(Arc::new(Cpu::new(2).unwrap()))
}

fn relative(got: &[f32], want: &[f32]) -> f64 {
    assert_eq!(got.len(), want.len());
    let square = |x: f64| x * x;
    let error: f64 = got.iter().zip(want).map(|(g, w)| square(f64::from(*g) - f64::from(*w))).sum();
    (error / want.iter().map(|w| square(f64::from(*w))).sum::<f64>().max(f64::MIN_POSITIVE)).sqrt()
}

#[track_caller]
fn close(what: &str, got: &[f32], want: &[f32]) {
    assert!(want.iter().any(|&w| w != 0.0), "{what}: all zeros");
    let error = relative(got, want);
    println!("{what}: {error:.1e}");
    assert!(error <= BOUND, "{what}: {error:.2e}");
}
