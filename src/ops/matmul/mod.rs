//! The product of two matrices, the first as it stands or turned: what the rules of layers are built of.

mod cpu;
mod panels;

pub(in crate::ops) use cpu::Product;

use super::check::{dims, expect_type, inputs};
use super::fill::{converted, through_f32};
use crate::backend::Device;
#[cfg(feature = "cuda")]
use crate::backend::cuda::{Product as Gemm, Side};
use crate::error::{Error, Result};
use crate::exec::{Cost, Cx, Op};
use crate::tensor::{DType, Desc, Tensor};

/// a b, or a^T b.
///
/// Inputs: a (m, k), or (k, m) if turned; b (k, n); each f32 or bf16. Output: (m, n) f32, or bf16 if `narrow`. A
/// processor widens and rounds values of bf16 in steps of their own.
#[derive(Clone, Copy, Debug)]
pub struct MatMul {
    /// Whether a is turned.
    pub transpose_a: bool,
    /// F32; or BF16: both are rounded where the processor has instructions for it, and products summed in f32.
    pub operands: DType,
    /// Whether the output is bf16.
    pub narrow: bool,
}

impl Op for MatMul {
    const NAME: &'static str = "matmul";

    fn outputs(&self, all: &[Desc]) -> Result<[Desc; 1]> {
        let [a, b] = inputs::<2>(all)?;
        expect_type("a", &a, &[DType::F32, DType::BF16])?;
        expect_type("b", &b, &[DType::F32, DType::BF16])?;
        let [m, k] = self.extents(&a)?;
        let [depth, n] = dims("b", &b)?;
        if depth != k {
            return Err(Error::invalid(format!("a is {a} and b {b}: {k} products against {depth}")));
        }
        Ok([Desc::plain([m, n], if self.narrow { DType::BF16 } else { DType::F32 })])
    }

    fn cost(&self, all: &[Desc]) -> Cost {
        let (a, n) = (all[0].shape.count() as f64, all[1].shape[1] as f64);
        let m = self.extents(&all[0]).map_or(0.0, |[m, _]| m as f64);
        Cost { flops: 2.0 * a * n, bytes: 4.0 * (a + all[1].shape.count() as f64 + m * n) }
    }

    fn forward(&self, cx: Cx<'_>, all: &[&Tensor], outputs: &mut [Tensor; 1]) -> Result<()> {
        match cx.device {
            #[cfg(feature = "cuda")]
            Device::Cuda(cuda) => {
                let ([m, k], n) = (self.extents(all[0].desc())?, all[1].shape()[1]);
                let convert = |t| cuda.convert(cx.workspace, t, self.operands);
                let (a, b) = (convert(all[0])?, convert(all[1])?);
                let a = Side { tensor: &a, turned: self.transpose_a };
                let b = Side { tensor: &b, turned: false };
                let (product, out) = (Gemm { extents: [m, n, k], a, b }, &mut outputs[0]);
                if self.narrow && self.operands == DType::F32 {
                    // cuBLAS has no product of f32 whose sums are rounded.
                    let mut wide = cx.workspace.tensor(Desc { dtype: DType::F32, ..*out.desc() })?;
                    cuda.multiply(product, &mut wide)?;
                    return cuda.convert_into(&wide, out);
                }
                cuda.multiply(product, out)
            }
            Device::Cpu(cpu) => {
                let (a, b) = (converted(cx, all[0], DType::F32)?, converted(cx, all[1], DType::F32)?);
                through_f32(cx, &mut outputs[0], |out| panels::forward(self, cx, cpu, &[&a, &b], out))
            }
        }
    }
}

impl MatMul {
    /// Rows of the product, and products a sum.
    fn extents(self, a: &Desc) -> Result<[usize; 2]> {
        let [rows, columns] = dims("a", a)?;
        Ok(if self.transpose_a { [columns, rows] } else { [rows, columns] })
    }
}
