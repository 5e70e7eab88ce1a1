//! Both directions. The kernels have 32 queries, or keys, a block, and one width of three to unroll for.

use super::Attention;
use crate::backend::cuda::{Arg, Cuda, Launch};
use crate::error::{Error, Result};
use crate::exec::Cx;
use crate::ops::launch::{int, typed};
use crate::tensor::{DType, Desc, Tensor};

const THREADS: u32 = 128;
const TILE: usize = 32;
/// The same of tensor cores, which multiply 16 queries a warp.
const TILE_BF16: usize = 64;

/// Queries, keys and values: where they are, and how far tokens are apart.
struct Inputs {
    at: [Arg; 3],
    stride: usize,
}

impl Inputs {
    /// Of one packed tensor or of three; d channels each.
    fn new(all: &[&Tensor], d: usize) -> Result<Inputs> {
        let packed = |i: usize| Ok(Arg::read(all[0])?.after(all[0].dtype().size() * i * d));
        match all.len() {
            1 => Ok(Inputs { at: [packed(0)?, packed(1)?, packed(2)?], stride: 3 * d }),
            _ => {
                let at = [Arg::read(all[0])?, Arg::read(all[1])?, Arg::read(all[2])?];
                Ok(Inputs { at, stride: d })
            }
        }
    }
}

/// The shape of the output, and what follows from it for the launches.
struct Shape {
    launch: Launch,
    /// Which of the kernels.
    widest: usize,
    /// Whether tensor cores multiply: values of bf16, of two widths.
    cores: bool,
    width: Arg,
    tokens: Arg,
    causal: Arg,
    /// Of the logarithms of sums, and of delta.
    rows: Desc,
}

impl Shape {
    fn new(op: &Attention, cx: Cx<'_>, out: &Desc) -> Result<Shape> {
        let lost = || Error::internal("the output lost its axes");
        let [b, t, d] = out.shape.dims().ok_or_else(lost)?;
        let width = d / op.heads;
        let widest = [64, 128, 512].into_iter().find(|&w| width <= w);
        let widest = widest.ok_or_else(|| cx.unsupported("attention", out))?;
        if op.heads > 65535 || b > 65535 {
            return Err(Error::unsupported(format!("attention of {b} sequences of {} heads", op.heads)));
        }
        let cores = out.dtype == DType::BF16 && matches!(width, 64 | 128);
        let tile = if cores { TILE_BF16 } else { TILE };
        let grid = [t.div_ceil(tile) as u32, op.heads as u32, b as u32];
        Ok(Shape {
            launch: Launch { grid, block: [THREADS, 1, 1], shared: 0 },
            widest,
            cores,
            width: int(width)?,
            tokens: int(t)?,
            causal: i32::from(op.causal).into(),
            rows: Desc::plain([b, op.heads, t], DType::F32),
        })
    }

    fn forward(&self, cuda: &Cuda, from: &Inputs, out: Arg, lse: Arg) -> Result<()> {
        let ([q, k, v], stride) = (from.at, from.stride.into());
        if self.cores {
            let kernel = match self.widest {
                64 => "fqgan_attention_bf16_forward64",
                _ => "fqgan_attention_bf16_forward128",
            };
            return cuda.launch(kernel, self.launch, &[q, k, v, out, lse, self.tokens, stride, self.causal]);
        }
        let kernel = match self.widest {
            64 => "fqgan_attention_forward64_f32",
            128 => "fqgan_attention_forward128_f32",
            _ => "fqgan_attention_forward512_f32",
        };
        let args = [q, k, v, out, lse, self.tokens, self.width, stride, self.causal];
        cuda.launch(kernel, self.launch, &args)
    }

    /// The gradients of queries, keys and values, to where they go.
    fn rules(&self, cuda: &Cuda, from: &Inputs, [grad, lse, delta]: [Arg; 3], to: [Arg; 3]) -> Result<()> {
        let kernels = match (self.cores, self.widest) {
            (true, 64) => [
                "fqgan_attention_bf16_backward_dq64",
                "fqgan_attention_bf16_backward_dk64",
                "fqgan_attention_bf16_backward_dv64",
            ],
            (true, _) => [
                "fqgan_attention_bf16_backward_dq128",
                "fqgan_attention_bf16_backward_dk128",
                "fqgan_attention_bf16_backward_dv128",
            ],
            (_, 64) => [
                "fqgan_attention_backward_dq64_f32",
                "fqgan_attention_backward_dk64_f32",
                "fqgan_attention_backward_dv64_f32",
            ],
            (_, 128) => [
                "fqgan_attention_backward_dq128_f32",
                "fqgan_attention_backward_dk128_f32",
                "fqgan_attention_backward_dv128_f32",
            ],
            _ => [
                "fqgan_attention_backward_dq512_f32",
                "fqgan_attention_backward_dk512_f32",
                "fqgan_attention_backward_dv512_f32",
            ],
        };
        let ([q, k, v], stride) = (from.at, Arg::from(from.stride));
        for (kernel, to) in kernels.into_iter().zip(to) {
            let (tokens, width, causal) = (self.tokens, self.width, self.causal);
            match self.cores {
                true => {
                    let args = [q, k, v, grad, lse, delta, to, tokens, stride, causal];
                    cuda.launch(kernel, self.launch, &args)?;
                }
                false => {
                    let args = [q, k, v, grad, lse, delta, to, tokens, width, stride, causal];
                    cuda.launch(kernel, self.launch, &args)?;
                }
            }
        }
        Ok(())
    }
}

/// Values of bf16 that tensor cores have no kernel for, as f32.
fn widened(cx: Cx<'_>, cuda: &Cuda, all: &[&Tensor]) -> Result<Vec<Tensor>> {
    all.iter().map(|t| cuda.convert(cx.workspace, t, DType::F32)).collect()
}

pub(super) fn attention(
    op: &Attention,
    cx: Cx<'_>,
    cuda: &Cuda,
    all: &[&Tensor],
    out: &mut Tensor,
) -> Result<()> {
    let shape = Shape::new(op, cx, out.desc())?;
    if out.dtype() == DType::BF16 && !shape.cores {
        let wide = widened(cx, cuda, all)?;
        let mut to = cx.workspace.tensor(Desc { dtype: DType::F32, ..*out.desc() })?;
        attention(op, cx, cuda, &wide.iter().collect::<Vec<_>>(), &mut to)?;
        return cuda.convert_into(&to, out);
    }
    let d = out.shape().last().copied().unwrap_or(0);
    shape.forward(cuda, &Inputs::new(all, d)?, Arg::write(out)?, Arg::NONE)
}

/// `all` are the forward's inputs, `to` where their gradients go: as many, and laid out alike.
pub(super) fn backward(
    op: &Attention,
    cx: Cx<'_>,
    cuda: &Cuda,
    (all, grad): (&[&Tensor], &Tensor),
    to: &mut [Tensor],
) -> Result<()> {
    let shape = Shape::new(op, cx, grad.desc())?;
    let size = grad.dtype().size();
    if grad.dtype() == DType::BF16 && !shape.cores {
        let (wide, grad) = (widened(cx, cuda, all)?, cuda.convert(cx.workspace, grad, DType::F32)?);
        let mut found = Vec::new();
        for t in to.iter() {
            found.push(cx.workspace.tensor(Desc { dtype: DType::F32, ..*t.desc() })?);
        }
        backward(op, cx, cuda, (&wide.iter().collect::<Vec<_>>(), &grad), &mut found)?;
        return found.iter().zip(to).try_for_each(|(from, to)| cuda.convert_into(from, to));
    }
    let d = grad.shape().last().copied().unwrap_or(0);
    let from = Inputs::new(all, d)?;
    let room = |desc| cx.workspace.tensor(desc);
    let (mut out, mut lse, mut delta) = (room(*grad.desc())?, room(shape.rows)?, room(shape.rows)?);
    shape.forward(cuda, &from, Arg::write(&mut out)?, Arg::write(&mut lse)?)?;
    let args = [Arg::read(&out)?, Arg::read(grad)?, Arg::write(&mut delta)?, shape.tokens, shape.width];
    let [_, heads, sequences] = shape.launch.grid;
    // A warp a token.
    let warps = grad.shape()[1].div_ceil(THREADS as usize / 32) as u32;
    let launch = Launch { grid: [warps, heads, sequences], ..shape.launch };
    let kernel =
        typed(grad.dtype(), ["fqgan_attention_backward_delta_f32", "fqgan_attention_backward_delta_bf16"]);
    cuda.launch(kernel, launch, &args)?;
    let to: [Arg; 3] = match to {
        [packed] => {
            let at = Arg::write(packed)?;
            [at, at.after(size * d), at.after(2 * size * d)]
        }
        [dq, dk, dv] => [Arg::write(dq)?, Arg::write(dk)?, Arg::write(dv)?],
        _ => return Err(Error::internal("neither one output nor three")),
    };
    shape.rules(cuda, &from, [Arg::read(grad)?, Arg::read(&lse)?, Arg::read(&delta)?], to)
}
