//! Elements of one type from those of another.

use super::{Arg, Cuda, Launch};
use crate::error::{Error, Result};
use crate::tensor::{Allocate, DType, Desc, Tensor};

/// `THREADS` of `cuda/convert.cu`, and elements that each takes at a time.
const THREADS: u32 = 256;
const TOGETHER: usize = 8;

impl Cuda {
    /// The same elements in another type: to nearest.
    ///
    /// # Errors
    /// `OutOfMemory`, `Device`; `Unsupported` for a pair of types that nothing needs.
    pub fn convert(&self, memory: &impl Allocate, tensor: &Tensor, to: DType) -> Result<Tensor> {
        match (tensor.dtype(), to) {
            (from, to) if from == to => return Ok(tensor.clone()),
            (DType::F16, DType::BF16) => {
                return self.convert(memory, &self.convert(memory, tensor, DType::F32)?, to);
            }
            _ => {}
        }
        let desc = Desc { dtype: to, ..*tensor.desc() };
        let mut out = Tensor::new(desc, memory.allocate(desc.bytes().unwrap_or(usize::MAX))?)?;
        self.convert_into(tensor, &mut out)?;
        Ok(out)
    }

    /// Writes the elements of one tensor to another of another type and as many elements: to nearest.
    ///
    /// # Errors
    /// As [`Cuda::convert`]; `Internal` when the counts differ.
    pub fn convert_into(&self, from: &Tensor, to: &mut Tensor) -> Result<()> {
        let kernel = match (from.dtype(), to.dtype()) {
            (DType::F32, DType::BF16) => "fqgan_convert_f32_bf16",
            (DType::BF16, DType::F32) => "fqgan_convert_bf16_f32",
            (DType::F16, DType::F32) => "fqgan_convert_f16_f32",
            (DType::I8, DType::F32) => "fqgan_convert_i8_f32",
            (from, to) => return Err(Error::unsupported(format!("{from} to {to} on {}", self.name()))),
        };
        let count = from.shape().count();
        if to.shape().count() != count {
            return Err(Error::internal(format!("cannot convert {} to {}", from.desc(), to.desc())));
        }
        let args = [Arg::read(from)?, Arg::write(to)?, count.into()];
        self.launch(kernel, Launch::over(count.div_ceil(TOGETHER), THREADS), &args)
    }
}
