//! Codes to latents: each sub-codebook's entry is looked up and the k entries of a position are joined along
//! the channels, in the order of the sub-codebooks.

mod cpu;
#[cfg(feature = "cuda")]
mod cuda;

use super::check::{dims, expect_type, inputs};
use super::unit::unit;
use crate::backend::Device;
use crate::error::{Error, Result};
use crate::exec::{Cost, Cx, Op};
use crate::tensor::{Allocate, DType, Desc, HeapAllocator, Tensor};

/// Looks codes up.
///
/// Inputs: codes (n, k, h, w) u32, table (k, N, d) f32 as [`table`] makes it. Output: (n, h, w, k * d) f32, or bf16 if
/// `narrow`, zero in the channels of sub-codebooks that are not used. Codes of those are not read.
#[derive(Clone, Copy, Debug, Default)]
pub struct CodeEmbedding {
    /// Bit i: sub-codebook i is used. 0: all are, and k may exceed 32.
    pub mask: u32,
    /// Whether the output is bf16: on a GPU.
    pub narrow: bool,
}

impl CodeEmbedding {
    fn uses(self, codebook: usize) -> bool {
        self.mask == 0 || self.mask >> codebook & 1 == 1
    }
}

impl Op for CodeEmbedding {
    const NAME: &'static str = "code_embedding";

    fn outputs(&self, all: &[Desc]) -> Result<[Desc; 1]> {
        let [codes, table] = inputs::<2>(all)?;
        let [n, k, h, w] = dims("codes", &codes)?;
        let [books, _, d] = dims("table", &table)?;
        expect_type("codes", &codes, &[DType::U32])?;
        expect_type("table", &table, &[DType::F32])?;
        if k != books {
            return Err(Error::invalid(format!("codes of {k} sub-codebooks, the table has {books}")));
        }
        if self.mask != 0 && (k > 32 || u64::from(self.mask) >> k != 0) {
            return Err(Error::invalid(format!(
                "mask {:#x} does not fit {k} sub-codebooks: expected bits below {}",
                self.mask,
                k.min(32)
            )));
        }
        let width = k.checked_mul(d).ok_or_else(|| Error::invalid(format!("{k} x {d} channels overflow")))?;
        Ok([Desc::plain([n, h, w, width], if self.narrow { DType::BF16 } else { DType::F32 })])
    }

    fn cost(&self, all: &[Desc]) -> Cost {
        let width = all[1].shape.last().copied().unwrap_or(0);
        Cost { flops: 0.0, bytes: 4.0 * all[0].shape.count() as f64 * (1 + 2 * width) as f64 }
    }

    fn forward(&self, cx: Cx<'_>, all: &[&Tensor], outputs: &mut [Tensor; 1]) -> Result<()> {
        match cx.device {
            #[cfg(feature = "cuda")]
            Device::Cuda(cuda) => cuda::code_embedding(*self, cx, cuda, all, &mut outputs[0]),
            Device::Cpu(_) if self.narrow => Err(cx.unsupported(Self::NAME, outputs[0].desc())),
            Device::Cpu(cpu) => cpu::code_embedding(*self, cpu, all[0], all[1], &mut outputs[0]),
        }
    }
}

/// The error of a code at a place of codes (n, k, h, w).
fn not_there(code: u32, at: usize, [k, h, w]: [usize; 3], count: usize) -> Error {
    let area = h * w;
    Error::invalid(format!(
        "code {code} of image {}, sub-codebook {}, row {}, column {}: expected less than {count}",
        at / (k * area),
        at / area % k,
        at / w % h,
        at % w
    ))
}

/// The table of k codebooks, each (N, d) as a checkpoint has it (raw rows, any floating type): (k, N, d) f32
/// with every row divided by max(|row|, 1e-12).
///
/// # Errors
/// `InvalidArgument` when there is none, shapes differ, or a row is not finite; `OutOfMemory`.
pub fn table(codebooks: &[&Tensor]) -> Result<Tensor> {
    let first = codebooks.first().ok_or_else(|| Error::invalid("no codebook"))?;
    let [n, d] = dims("codebook 0", first.desc())?;
    let desc = Desc::plain([codebooks.len(), n, d], DType::F32);
    let bytes = desc.bytes().ok_or_else(|| Error::invalid(format!("{desc}: too large to address")))?;
    let mut out = Tensor::new(desc, HeapAllocator.allocate(bytes)?)?;
    let rows = out.data_mut::<f32>()?;
    for (index, codebook) in codebooks.iter().enumerate() {
        if codebook.shape() != first.shape() {
            return Err(Error::invalid(format!(
                "codebook {index} has shape {}, codebook 0 has {}",
                codebook.shape(),
                first.shape()
            )));
        }
        let raw = codebook.to_f32()?;
        let raw = raw.data::<f32>()?;
        for row in 0..n {
            let to = &mut rows[(index * n + row) * d..][..d];
            if unit(&raw[row * d..][..d], to).is_none() {
                return Err(Error::invalid(format!("codebook {index}, row {row} holds NaN or infinity")));
            }
        }
    }
    Ok(out)
}
