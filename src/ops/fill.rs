//! What rules need beside operations: tensors of one value, and the same numbers in another type.

use crate::backend::Device;
use crate::error::Result;
use crate::exec::Cx;
use crate::tensor::{DType, Desc, Tensor};

/// A tensor of f32 of which every element is `value`.
pub(super) fn filled(cx: Cx<'_>, desc: Desc, value: f32) -> Result<Tensor> {
    let mut tensor = cx.workspace.tensor(desc)?;
    match cx.device {
        #[cfg(feature = "cuda")]
        Device::Cuda(cuda) => super::launch::fill(cuda, &mut tensor, value)?,
        Device::Cpu(_) => tensor.data_mut::<f32>()?.fill(value),
    }
    Ok(tensor)
}

/// A tensor of zeros: f32, or on a GPU bf16.
pub(super) fn zeros(cx: Cx<'_>, desc: Desc) -> Result<Tensor> {
    let mut tensor = cx.workspace.tensor(desc)?;
    match cx.device {
        #[cfg(feature = "cuda")]
        Device::Cuda(cuda) => cuda.zero(&mut tensor)?,
        Device::Cpu(_) => tensor.data_mut::<f32>()?.fill(0.0),
    }
    Ok(tensor)
}

/// The same numbers as values of that type: a gradient as what it is the gradient of.
pub(super) fn converted(cx: Cx<'_>, tensor: &Tensor, to: DType) -> Result<Tensor> {
    match cx.device {
        _ if tensor.dtype() == to => Ok(tensor.clone()),
        #[cfg(feature = "cuda")]
        Device::Cuda(cuda) => cuda.convert(cx.workspace, tensor, to),
        Device::Cpu(_) => Err(cx.unsupported("conversion", tensor.desc())),
    }
}
