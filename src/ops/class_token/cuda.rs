use super::Tokens;
use crate::backend::cuda::Cuda;
use crate::error::Result;
use crate::ops::check::dims;
use crate::ops::concat::{Range, copy};
use crate::tensor::Tensor;

// A sequence is a row of a matrix, its tokens side by side.

pub(super) fn prepend(cuda: &Cuda, tokens: &Tensor, token: &Tensor, out: &mut Tensor) -> Result<()> {
    let [n, t, c] = dims("tokens", tokens.desc())?;
    let width = (t + 1) * c;
    copy(cuda, (token, Range { first: 0, width: 0 }), (&mut *out, Range { first: 0, width }), [n, c])?;
    let all = Range { first: 0, width: t * c };
    copy(cuda, (tokens, all), (out, Range { first: c, width }), [n, t * c])
}

pub(super) fn tokens(op: Tokens, cuda: &Cuda, x: &Tensor, out: &mut Tensor) -> Result<()> {
    let [n, t, c] = dims("tokens", x.desc())?;
    let each = op.count * c;
    let from = Range { first: op.first * c, width: t * c };
    copy(cuda, (x, from), (out, Range { first: 0, width: each }), [n, each])
}

pub(super) fn tokens_backward(op: Tokens, cuda: &Cuda, grad: &Tensor, dx: &mut Tensor) -> Result<()> {
    let [n, t, c] = dims("tokens", dx.desc())?;
    let each = op.count * c;
    cuda.zero(dx)?;
    let to = Range { first: op.first * c, width: t * c };
    copy(cuda, (grad, Range { first: 0, width: each }), (dx, to), [n, each])
}
