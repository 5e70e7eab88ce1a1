//! A fully connected layer: y = activation(x W^T + bias) + residual, with the weight as checkpoints have it,
//! one row an output.
//!
//! A plain weight is multiplied where the mapped file has it, which is fastest where few rows of x read it once.
//! For many rows, [`Pack`] puts it into panels. Each element of x W^T is summed in one order that depends on the
//! instruction level and the form of the weight alone, so a row of x gives the same bits in any batch, on any number
//! of threads, and with a plain 16-bit weight the same as with that weight widened to f32.

mod backward;
mod cpu;
#[cfg(feature = "cuda")]
mod cuda;
mod pack;

pub use pack::Pack;

use super::check::{expect, expect_type};
use super::fill::{converted, through_f32};
use crate::backend::Device;
use crate::error::{Error, Result};
use crate::exec::{Backward, Cost, Cx, Eager, Gradients, Op};
use crate::tensor::{DType, Desc, Tensor};

/// What is applied to each output before the residual is added.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Activation {
    /// Nothing.
    #[default]
    None,
    /// max(x, 0).
    Relu,
    /// x * sigmoid(x).
    Silu,
    /// x * Phi(x) with the error function itself (Hendrycks and Gimpel, 2016), not the tanh approximation.
    Gelu,
    /// x * sigmoid(1.702 x), as CLIP has it.
    QuickGelu,
}

/// One configured use of the layer.
///
/// Inputs: x (..., k) f32; weight (n, k) plain f32, bf16, f16 or i8, or made by [`Pack`]; for i8, a scale (n) f32 that
/// each output's row is multiplied with; bias (n) f32 if `bias`; residual (..., n) f32 if `residual`.
/// Output: (..., n) f32. x and the residual may be bf16, and so is the output if `narrow`; a processor widens and rounds
/// such values in steps of their own.
#[derive(Clone, Copy, Debug, Default)]
pub struct Linear {
    /// Applied to x W^T + bias.
    pub activation: Activation,
    /// Whether a bias follows the weight.
    pub bias: bool,
    /// Whether the last input is added to the result.
    pub residual: bool,
    /// How a plain weight of f32 is put into panels as it is used, if it is: there are many rows of x, and the weight is
    /// another in the next call. Its sums are then those of a packed weight, and the rule's have the same operands.
    pub panels: Option<Pack>,
    /// Whether the output is bf16.
    pub narrow: bool,
}

/// Inputs at most: x, weight, scale, bias, residual.
const MOST: usize = 5;

/// The extents (n, k) of a weight that x fits.
fn extents(x: &Desc, weight: &Desc) -> Result<[usize; 2]> {
    expect_type("x", x, &[DType::F32, DType::BF16])?;
    expect_type("weight", weight, &[DType::F32, DType::BF16, DType::F16, DType::I8])?;
    match (&x.shape[..], &weight.shape[..]) {
        (&[.., k], &[n, wide]) if k == wide => Ok([n, k]),
        _ => Err(Error::invalid(format!("x is {x} and weight {weight}, expected (..., k) and (n, k)"))),
    }
}

/// x's shape with n in place of k.
fn output(x: &Desc, n: usize) -> Result<Desc> {
    let mut shape = x.shape;
    shape.set_last(n);
    shape
        .checked_count()
        .ok_or_else(|| Error::invalid(format!("x is {x}: {n} outputs are too many to address")))?;
    Ok(Desc::plain(shape, DType::F32))
}

fn cost(all: &[Desc], matrices: usize) -> Cost {
    let (x, weight) = (&all[0], &all[1]);
    let (n, k) = (weight.shape[0], weight.shape[1]);
    let rows = x.shape.count().checked_div(k).unwrap_or(0);
    let moved: usize = all.iter().map(|d| d.shape.count() * d.dtype.size()).sum();
    Cost {
        flops: 2.0 * matrices as f64 * rows as f64 * n as f64 * k as f64,
        bytes: (moved + 4 * rows * n) as f64,
    }
}

impl Op for Linear {
    const NAME: &'static str = "linear";

    fn outputs(&self, all: &[Desc]) -> Result<[Desc; 1]> {
        let [x, weight, rest @ ..] = all else {
            return Err(Error::internal(format!("{} inputs, expected x and a weight", all.len())));
        };
        let weight = &Desc { layout: pack::unpacked(weight)?, ..*weight };
        let [n, _] = extents(x, weight)?;
        let out = output(x, n)?;
        let residual = rest.last().filter(|_| self.residual).map_or(DType::F32, |r| r.dtype);
        let row = Desc::plain([n], DType::F32);
        let after = [
            (weight.dtype == DType::I8, "scale", row),
            (self.bias, "bias", row),
            (self.residual, "residual", Desc { dtype: residual, ..out }),
        ];
        let after = after.into_iter().filter(|(there, _, _)| *there);
        let want = after.clone().count();
        if rest.len() != want {
            return Err(Error::internal(format!("{} inputs, expected {}", all.len(), 2 + want)));
        }
        for (input, (_, what, desc)) in rest.iter().zip(after) {
            expect(what, input, &desc.shape, desc.dtype)?;
        }
        if self.residual && residual != DType::BF16 {
            expect_type("residual", &rest[rest.len() - 1], &[DType::F32])?;
        }
        Ok([Desc { dtype: if self.narrow { DType::BF16 } else { DType::F32 }, ..out }])
    }

    fn cost(&self, all: &[Desc]) -> Cost {
        cost(all, 1)
    }

    fn forward(&self, cx: Cx<'_>, all: &[&Tensor], outputs: &mut [Tensor; 1]) -> Result<()> {
        match cx.device {
            #[cfg(feature = "cuda")]
            Device::Cuda(cuda) => cuda::linear(self, cx, cuda, all, &mut outputs[0]),
            Device::Cpu(cpu) => {
                let last = all.len() - 1;
                let mut wide = [all[0]; MOST];
                let wide = wide.get_mut(..=last).ok_or_else(|| Error::internal("inputs too many"))?;
                wide.copy_from_slice(all);
                let (x, residual);
                if all[0].dtype() != DType::F32 {
                    x = converted(cx, all[0], DType::F32)?;
                    wide[0] = &x;
                }
                if self.residual && all[last].dtype() != DType::F32 {
                    residual = converted(cx, all[last], DType::F32)?;
                    wide[last] = &residual;
                }
                through_f32(cx, &mut outputs[0], |out| cpu::linear(self, cx, cpu, wide, out))
            }
        }
    }

    fn backward(&self, e: &Eager<'_>, pass: &Backward<'_, 1>) -> Result<Gradients> {
        backward::linear(self, e, pass)
    }
}

/// The gated half of a SwiGLU layer (Shazeer, 2020): SiLU(x gate^T) * (x up^T), both weights read in one pass.
///
/// Inputs: x (..., k) f32; gate and up (n, k), of one type, as [`Linear`]'s weight; for i8, their scales (n) f32.
/// Output: (..., n) f32. On a GPU x may be bf16, and so is the output if `narrow`.
#[derive(Clone, Copy, Debug, Default)]
pub struct SwiGlu {
    /// Whether the output is bf16: on a GPU.
    pub narrow: bool,
}

impl Op for SwiGlu {
    const NAME: &'static str = "swiglu";

    fn outputs(&self, all: &[Desc]) -> Result<[Desc; 1]> {
        let [x, gate, up, scales @ ..] = all else {
            return Err(Error::internal(format!("{} inputs, expected x and two weights", all.len())));
        };
        let [n, _] = extents(x, gate)?;
        expect("up", up, &gate.shape, gate.dtype)?;
        let want = if gate.dtype == DType::I8 { 2 } else { 0 };
        if scales.len() != want {
            return Err(Error::internal(format!("{} inputs, expected {}", all.len(), 3 + want)));
        }
        for scale in scales {
            expect("scale", scale, &[n], DType::F32)?;
        }
        Ok([Desc { dtype: if self.narrow { DType::BF16 } else { DType::F32 }, ..output(x, n)? }])
    }

    fn cost(&self, all: &[Desc]) -> Cost {
        cost(all, 2)
    }

    fn forward(&self, cx: Cx<'_>, all: &[&Tensor], outputs: &mut [Tensor; 1]) -> Result<()> {
        match cx.device {
            #[cfg(feature = "cuda")]
            Device::Cuda(cuda) => cuda::swiglu(self, cx, cuda, all, &mut outputs[0]),
            Device::Cpu(cpu) => {
                if let Some(narrow) = [all[0], &outputs[0]].into_iter().find(|t| t.dtype() != DType::F32) {
                    return Err(cx.unsupported(Self::NAME, narrow.desc()));
                }
                cpu::swiglu(cx, cpu, all, &mut outputs[0])
            }
        }
    }
}
