//! What rules need beside operations: tensors of one value, and the same numbers in another type.

use crate::backend::Device;
use crate::backend::cpu::simd::{Kernel, Simd};
use crate::backend::cpu::{Values, Written};
use crate::error::Result;
use crate::exec::Cx;
use crate::tensor::{DType, Desc, Tensor};
use std::ops::Range;

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
        Device::Cpu(_) => {
            let mut out = cx.workspace.tensor(Desc { dtype: to, ..*tensor.desc() })?;
            convert_into(cx, tensor, &mut out)?;
            Ok(out)
        }
    }
}

/// Computes an output of f32 or bf16 as f32, on the processor.
pub(super) fn through_f32(
    cx: Cx<'_>,
    out: &mut Tensor,
    compute: impl FnOnce(&mut Tensor) -> Result<()>,
) -> Result<()> {
    if out.dtype() == DType::F32 {
        return compute(out);
    }
    let mut wide = cx.workspace.tensor(Desc { dtype: DType::F32, ..*out.desc() })?;
    compute(&mut wide)?;
    convert_into(cx, &wide, out)
}

/// The same numbers, f32 or bf16, in the processor's memory.
fn convert_into(cx: Cx<'_>, from: &Tensor, to: &mut Tensor) -> Result<()> {
    const BLOCK: usize = 8192;
    let cpu = cx.cpu("conversion")?;
    let (from, to) = (Values::of(from)?, Written::of(to)?);
    cpu.pool.blocks(from.len().div_ceil(BLOCK), |_, block| {
        let range = block * BLOCK..from.len().min((block + 1) * BLOCK);
        cpu.isa.dispatch(Convert { from, to: &to, range });
    });
    Ok(())
}

struct Convert<'a> {
    from: Values<'a>,
    to: &'a Written<'a>,
    range: Range<usize>,
}

impl Kernel for Convert<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self) {
        for at in self.range.clone().step_by(S::LANES) {
            let n = S::LANES.min(self.range.end - at);
            // SAFETY: `at + n` is at most the range's end, and a range is one part's.
            unsafe { self.to.store_far::<S>(at, self.from.load_n::<S>(at, n), n, false) };
        }
    }
}
