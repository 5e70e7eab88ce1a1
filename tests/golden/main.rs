//! The models against outputs of the authors' implementation (`*.safetensors` beside this file), with weights
//! made by formula from `manifests/`.

#[path = "../common/mod.rs"]
mod common;

use fqgan::backend::Device;
use fqgan::backend::cpu::{Cpu, Isa, Pool};
use std::sync::Arc;

mod bf16;
mod far;
mod far_step;
#[cfg(feature = "eval")]
mod graph;
#[cfg(feature = "eval")]
mod metrics;
mod teachers;
mod tokenizer;
mod train_step;

/// Where a case runs: on the processor at each of these instruction levels, or on the device that FQGAN_TEST_DEVICE names.
fn devices(levels: impl IntoIterator<Item = Isa>, threads: usize) -> Vec<Device> {
    match std::env::var("FQGAN_TEST_DEVICE") {
        Ok(name) => vec![Device::named(&name, threads).unwrap_or_else(|e| panic!("{e}"))],
        Err(_) => {
            let cpu = |isa| Device::Cpu(Arc::new(Cpu { pool: Pool::new(threads).unwrap(), isa }));
            levels.into_iter().map(cpu).collect()
        }
    }
}

/// The processor at its best level, or that device.
fn device() -> Device {
    devices([Isa::best()], 0).remove(0)
}

/// A bound on a relative error: of the processor's order of sums, or of another device's, whose is its own.
fn bound(device: &Device, processor: f64) -> f64 {
    if matches!(device, Device::Cpu(_)) { processor } else { processor.max(1e-4) }
}
