//! Scaled dot-product attention of several heads (Vaswani et al. 2017), softmax(q k^T / sqrt(head_dim)) v, by
//! blocks with a running maximum and sum (Milakov, Gimelshein 2018), so that no row of scores is ever kept
//! whole.

mod backward;
mod cpu;
#[cfg(feature = "cuda")]
mod cuda;

use super::check::{dims, expect_type};
use crate::backend::Device;
use crate::error::{Error, Result};
use crate::exec::{Backward, Cost, Cx, Eager, Gradients, Op};
use crate::tensor::{DType, Desc, Tensor};

/// Attention of the tokens of each batch row among themselves.
///
/// Inputs: either qkv (b, t, 3 * d) f32, q then k then v along the last axis, as PyTorch's `in_proj_weight`
/// makes it; or q, k and v, each (b, t, d) f32. Head i has channels i * head_dim.. of each, head_dim being
/// d / heads. Output: (b, t, d) f32. On a GPU all may be bf16.
#[derive(Clone, Copy, Debug)]
pub struct Attention {
    /// Heads; divides d.
    pub heads: usize,
    /// A token sees only itself and those before it.
    pub causal: bool,
}

impl Op for Attention {
    const NAME: &'static str = "attention";

    fn outputs(&self, all: &[Desc]) -> Result<[Desc; 1]> {
        let [b, t, d] = match all {
            [qkv] => {
                let [b, t, width] = dims("qkv", qkv)?;
                expect_type("qkv", qkv, &[DType::F32, DType::BF16])?;
                if !width.is_multiple_of(3) {
                    return Err(Error::invalid(format!(
                        "qkv has {width} channels, expected a multiple of 3"
                    )));
                }
                [b, t, width / 3]
            }
            [q, k, v] => {
                for (name, desc) in [("q", q), ("k", k), ("v", v)] {
                    expect_type(name, desc, &[DType::F32, DType::BF16])?;
                    if desc.shape != q.shape || desc.dtype != q.dtype {
                        return Err(Error::invalid(format!("{name} is {desc}, q is {q}")));
                    }
                }
                dims("q", q)?
            }
            _ => return Err(Error::internal(format!("{} inputs, expected 1 or 3", all.len()))),
        };
        if self.heads == 0 || d == 0 || !d.is_multiple_of(self.heads) {
            return Err(Error::invalid(format!("{d} channels do not divide into {} heads", self.heads)));
        }
        Ok([Desc::plain([b, t, d], all[0].dtype)])
    }

    fn cost(&self, all: &[Desc]) -> Cost {
        let (rows, t) = (all[0].shape.count() as f64, all[0].shape[1] as f64);
        // Elements of q, k and v together.
        let elements = if all.len() == 1 { rows } else { 3.0 * rows };
        let seen = if self.causal { (t + 1.0) / 2.0 } else { t };
        Cost { flops: 4.0 * elements / 3.0 * seen, bytes: 4.0 * elements * 4.0 / 3.0 }
    }

    fn forward(&self, cx: Cx<'_>, all: &[&Tensor], outputs: &mut [Tensor; 1]) -> Result<()> {
        match cx.device {
            #[cfg(feature = "cuda")]
            Device::Cuda(cuda) => cuda::attention(self, cx, cuda, all, &mut outputs[0]),
            Device::Cpu(_) if all[0].dtype() != DType::F32 => Err(cx.unsupported(Self::NAME, all[0].desc())),
            Device::Cpu(cpu) => cpu::attention(self, cx, cpu, all, &mut outputs[0]),
        }
    }

    fn backward(&self, e: &Eager<'_>, pass: &Backward<'_, 1>) -> Result<Gradients> {
        backward::attention(self, e, pass)
    }
}
