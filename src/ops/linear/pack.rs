use super::cpu;
#[cfg(feature = "cuda")]
use crate::backend::Device;
use crate::error::{Error, Result};
use crate::exec::{Cx, Prepare};
use crate::tensor::{Allocate, DType, Desc, HeapAllocator, Layout, Tensor};

/// Panels of output channels, as the register tile reads them.
pub(super) const PANELS: Layout = Layout::Packed(1);
/// Rows as in the file, that are put into panels as they are used.
pub(super) const LATE: Layout = Layout::Packed(2);

/// Puts a weight (n, k) of f32, f16 or bf16 into panels, for many rows of x. Extents of 1 after k are dropped, so
/// that the filters of a 1x1 convolution will do.
///
/// A weight of f32 whose operands are f32 stays where it lies, and each panel is made just before the rows of x pass
/// it: for some hundred rows that is a few hundredths of the work, and a second copy of the weight would have to be
/// cleared, written and kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pack {
    /// F32, or BF16 where the processor has instructions for it: then weights and x are rounded, and products summed
    /// in f32.
    pub operands: DType,
}

/// The layout of a weight that is plain or in panels, as if it were plain.
pub(super) fn unpacked(weight: &Desc) -> Result<Layout> {
    match (weight.layout, weight.dtype) {
        (Layout::Plain, _) | (PANELS, DType::F32 | DType::BF16) | (LATE, DType::F32) => Ok(Layout::Plain),
        _ => Err(Error::invalid(format!("weight is {weight}, which was not packed for a layer"))),
    }
}

impl Prepare for Pack {
    fn prepare(&self, cx: Cx<'_>, weight: &Tensor) -> Result<Tensor> {
        let extents = match weight.shape()[..] {
            [n, k, ref rest @ ..] if rest.iter().all(|&r| r == 1) => [n, k],
            _ => return Err(Error::invalid(format!("weight is {}, expected (n, k)", weight.desc()))),
        };
        #[cfg(feature = "cuda")]
        if let Device::Cuda(cuda) = cx.device {
            return super::cuda::pack(cuda, weight, extents, self.operands);
        }
        let cpu = cx.cpu("packing a weight of linear")?;
        let dtype = cpu::operands(cpu, self.operands);
        if (weight.dtype(), dtype) == (DType::F32, DType::F32) {
            let desc = Desc { layout: LATE, ..Desc::plain(extents, dtype) };
            return Tensor::new(desc, weight.storage().clone());
        }
        let bytes = cpu::packed_elements(dtype, extents).and_then(|count| count.checked_mul(dtype.size()));
        let bytes =
            bytes.ok_or_else(|| Error::invalid(format!("weight {extents:?} is too large to pack")))?;
        let desc = Desc { layout: PANELS, ..Desc::plain(extents, dtype) };
        let mut packed = Tensor::new(desc, HeapAllocator.allocate(bytes)?)?;
        cpu::pack(cx, cpu, weight, extents, &mut packed)?;
        Ok(packed)
    }
}
