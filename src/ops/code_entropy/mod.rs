//! The entropy term of a codebook: each latent should choose one code with certainty, all latents together should use
//! all codes alike (Yu et al., 2023).
//!
//! a_ij = -|z_i - e_j|^2 / temperature, p_i = softmax(a_i), pbar = mean of p_i over latents; the loss is
//! mean over i of -sum_j p_ij ln p_ij, plus sum over j of pbar_j ln(pbar_j + eps).
//!
//! The latents x codes table is never written: forward and backward compute its entries again as they need them.

mod cpu;
#[cfg(feature = "cuda")]
mod cuda;

use super::check::{dims, expect, expect_type, inputs};
use crate::backend::Device;
use crate::error::{Error, Result};
use crate::exec::{Backward, Cost, Cx, Eager, Gradients, Op};
use crate::tensor::{DType, Desc, Tensor};

/// Inputs: z (..., d) f32, or on a GPU bf16, and codebook (N, d) f32, both normalised by whoever wants that; neither empty.
/// Output: a number of f32, of shape \[\].
#[derive(Clone, Copy, Debug)]
pub struct CodeEntropy {
    /// Above 0: what squared distances are divided by.
    pub temperature: f32,
    /// Above 0: keeps the logarithm of an unused code finite.
    pub eps: f32,
}

impl Op for CodeEntropy {
    const NAME: &'static str = "code_entropy";

    fn outputs(&self, all: &[Desc]) -> Result<[Desc; 1]> {
        let [z, codebook] = inputs::<2>(all)?;
        let [n, d] = dims("codebook", &codebook)?;
        expect_type("z", &z, &[DType::F32, DType::BF16])?;
        expect_type("codebook", &codebook, &[DType::F32])?;
        if z.shape.last() != Some(&d) || z.shape.count() == 0 || n == 0 {
            return Err(Error::invalid(format!(
                "z is {z} and codebook {codebook}, expected (..., d) and (N, d), neither empty"
            )));
        }
        Ok([Desc::plain([], DType::F32)])
    }

    fn cost(&self, all: &[Desc]) -> Cost {
        let (z, codebook) = (&all[0].shape, &all[1].shape);
        let pairs = (z.count() / codebook[1].max(1) * codebook[0]) as f64;
        let flops = pairs * (2.0 * codebook[1] as f64 + 16.0);
        Cost { flops, bytes: 4.0 * (z.count() + codebook.count()) as f64 }
    }

    fn forward(&self, cx: Cx<'_>, all: &[&Tensor], outputs: &mut [Tensor; 1]) -> Result<()> {
        match cx.device {
            #[cfg(feature = "cuda")]
            Device::Cuda(cuda) => cuda::forward(self, cx, cuda, all, &mut outputs[0]),
            Device::Cpu(_) if all[0].dtype() != DType::F32 => Err(cx.unsupported(Self::NAME, all[0].desc())),
            Device::Cpu(cpu) => cpu::forward(self, cx, cpu, all, &mut outputs[0]),
        }
    }

    fn backward(&self, e: &Eager<'_>, pass: &Backward<'_, 1>) -> Result<Gradients> {
        let grad = pass.grads[0].as_ref().ok_or_else(|| Error::internal("no gradient"))?;
        let [dz, de] = e.run(&CodeEntropyBackward(*self), &[pass.inputs[0], pass.inputs[1], grad])?;
        let mut found = Gradients::default();
        found[0] = Some(dz);
        found[1] = Some(de);
        Ok(found)
    }
}

/// Inputs: z, codebook, gradient of the loss. Outputs: gradients of z and of the codebook. With f'_j = ln(pbar_j +
/// eps) + pbar_j / (pbar_j + eps), H_i the entropy of p_i and c_i = sum_j p_ij f'_j, the gradient of a_ij is
/// p_ij (f'_j - ln p_ij - H_i - c_i) / rows.
#[derive(Clone, Copy, Debug)]
struct CodeEntropyBackward(CodeEntropy);

impl Op<2> for CodeEntropyBackward {
    const NAME: &'static str = "code_entropy";

    fn outputs(&self, all: &[Desc]) -> Result<[Desc; 2]> {
        let [z, codebook, grad] = inputs::<3>(all)?;
        expect("gradient", &grad, &[], DType::F32)?;
        Ok([z, codebook])
    }

    fn cost(&self, all: &[Desc]) -> Cost {
        let cost = self.0.cost(&all[..2]);
        Cost { flops: 4.0 * cost.flops, bytes: 2.0 * cost.bytes }
    }

    fn forward(&self, cx: Cx<'_>, all: &[&Tensor], outputs: &mut [Tensor; 2]) -> Result<()> {
        match cx.device {
            #[cfg(feature = "cuda")]
            Device::Cuda(cuda) => cuda::backward(&self.0, cx, cuda, all, outputs),
            Device::Cpu(cpu) => cpu::backward(&self.0, cx, cpu, all, outputs),
        }
    }
}
