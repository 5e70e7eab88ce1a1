//! The op table on a GPU: a real one, or the emulated device that the environment variable FQGAN_CUDA_DRIVER names.

use crate::table::{Case, Wide, close, on};
use fqgan::backend::Device;
use fqgan::backend::cuda::Cuda;
use fqgan::exec::Eager;
use fqgan::tensor::Tensor;
use std::sync::{Arc, OnceLock};

/// Operations that have no kernels yet.
const LACKING: &[&str] = &[];

/// Operations whose gradient has none yet.
const LACKING_GRADIENT: &[&str] = &[];

/// One device for all tests: they share its stream.
pub fn device() -> &'static Device {
    static DEVICE: OnceLock<Device> = OnceLock::new();
    DEVICE.get_or_init(|| {
        let cuda = Cuda::new(0).unwrap_or_else(|e| {
            panic!("{e}\nno GPU: build the emulated one, FQGAN_CUDA_DRIVER=$(cuda/emulator/build.sh)")
        });
        Device::Cuda(Arc::new(cuda))
    })
}

pub fn up(e: &Eager<'_>, tensor: &Tensor) -> Tensor {
    e.cx().upload(tensor).unwrap()
}

pub fn down(e: &Eager<'_>, tensor: &Tensor) -> Tensor {
    e.cx().download(tensor).unwrap()
}

/// The case on the GPU, against the same oracle. An operation that is listed as lacking must fail: whoever writes its
/// kernels takes it off the list.
#[track_caller]
pub fn check(case: &Case, expected: &[Vec<f64>]) {
    let outputs = on(device(), |e| {
        let inputs: Vec<Tensor> = case.inputs.iter().map(|t| up(e, t)).collect();
        let outputs = case.run_on(e, &inputs)?;
        outputs.iter().map(|t| e.cx().download(t)).collect::<Result<Vec<_>, _>>()
    });
    if LACKING.contains(&case.op.as_str()) {
        assert!(outputs.is_err(), "{}: it has kernels now, take it off the list", case.op);
        return;
    }
    let outputs = outputs.unwrap_or_else(|e| panic!("{} on cuda: {e}", case.name));
    assert_eq!(outputs.len(), expected.len(), "{}: outputs", case.name);
    for (i, (got, want)) in outputs.iter().zip(expected).enumerate() {
        close(&format!("{} on cuda, output {i}", case.name), &Wide::of(got).data, want, case.bound);
    }
}

/// Whether the gradient of an operation runs here, for `check_gradients`.
pub fn has_gradient(op: &str) -> bool {
    !LACKING.contains(&op) && !LACKING_GRADIENT.contains(&op)
}
