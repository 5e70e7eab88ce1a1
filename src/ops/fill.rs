//! Tensors of one value, for rules.

use crate::backend::Device;
use crate::error::Result;
use crate::exec::Cx;
use crate::tensor::{Desc, Tensor};

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
