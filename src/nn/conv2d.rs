use super::{Activation, Numerics, Params, present};
use crate::backend::Between;
use crate::error::Result;
use crate::exec::{Exec, Param};
use crate::ops::conv2d::{self, Pack, WithSums};

/// A convolution over channels-last activations.
pub struct Conv2d {
    weight: Param,
    bias: Param,
    op: conv2d::Conv2d,
    pack: Pack,
    /// Whether a GroupNorm follows.
    sums: bool,
}

impl Conv2d {
    /// 3x3, stride 1, padding 1.
    ///
    /// # Errors
    /// Those of [`Params::get`].
    pub fn new(at: &Params<'_>, from: usize, to: usize) -> Result<Conv2d> {
        Conv2d::with(at, from, to, conv2d::Conv2d::same(3))
    }

    /// 3x3, stride 2, zeros at the right and the bottom only.
    ///
    /// # Errors
    /// Those of [`Params::get`].
    pub fn downsample(at: &Params<'_>, channels: usize) -> Result<Conv2d> {
        let op = conv2d::Conv2d { stride: 2, padding: [0, 0, 1, 1], ..conv2d::Conv2d::same(3) };
        Conv2d::with(at, channels, channels, op)
    }

    /// Nearest x2, then 3x3, stride 1, padding 1.
    ///
    /// # Errors
    /// Those of [`Params::get`].
    pub fn upsample(at: &Params<'_>, channels: usize) -> Result<Conv2d> {
        let op = conv2d::Conv2d { upsample: true, ..conv2d::Conv2d::same(3) };
        Conv2d::with(at, channels, channels, op)
    }

    /// A square kernel of `side`, `stride` and as much `padding` on all sides; nothing gathers sums of its output.
    /// Without `bias` none is read.
    ///
    /// # Errors
    /// Those of [`Params::get`].
    pub fn square(
        at: &Params<'_>,
        [from, to]: [usize; 2],
        [side, stride, padding]: [usize; 3],
        bias: bool,
    ) -> Result<Conv2d> {
        Conv2d::window(at, [from, to], [side; 2], stride, [padding; 2], bias)
    }

    /// As [`Conv2d::square`] with a kernel of `rows` and `columns`, padded above and below, left and right.
    ///
    /// # Errors
    /// Those of [`Params::get`].
    pub fn window(
        at: &Params<'_>,
        [from, to]: [usize; 2],
        [rows, columns]: [usize; 2],
        stride: usize,
        [above, left]: [usize; 2],
        bias: bool,
    ) -> Result<Conv2d> {
        let op = conv2d::Conv2d { stride, padding: [above, left, above, left], ..conv2d::Conv2d::same(1) };
        let weight = at.get("weight", &[to, from, rows, columns])?;
        let bias = if bias { at.get("bias", &[to])? } else { at.zeros("bias", to)? };
        Ok(Conv2d { weight, bias, op, pack: op.pack(), sums: false })
    }

    fn with(at: &Params<'_>, from: usize, to: usize, op: conv2d::Conv2d) -> Result<Conv2d> {
        let (weight, bias) = (at.get("weight", &[to, from, 3, 3])?, at.get("bias", &[to])?);
        let (operands, gradient) = (at.numerics.operands(), at.numerics.gradients());
        let op = conv2d::Conv2d { operands, gradient, ..op };
        let Numerics { compact, deep, .. } = at.numerics;
        let pack = Pack { compact, few: deep, ..op.pack() };
        Ok(Conv2d { weight, bias, op, pack, sums: true })
    }

    /// The same where no GroupNorm follows.
    pub fn without_sums(self) -> Conv2d {
        Conv2d { sums: false, ..self }
    }

    /// x (n, h, w, from) to (n, oh, ow, to).
    ///
    /// # Errors
    /// The operation's.
    pub fn forward<E: Exec>(&self, e: &E, x: &E::Value) -> Result<Activation<E::Value>> {
        self.run(e, x, None, None)
    }

    /// Of SiLU(x * scale + shift), `norm` being GroupNorm's coefficients.
    ///
    /// # Errors
    /// The operation's.
    pub fn forward_normed<E: Exec>(
        &self,
        e: &E,
        x: &E::Value,
        norm: &E::Value,
    ) -> Result<Activation<E::Value>> {
        self.run(e, x, Some(norm), None)
    }

    /// As [`Conv2d::forward_normed`], plus `skip`.
    ///
    /// # Errors
    /// The operation's.
    pub fn forward_normed_add<E: Exec>(
        &self,
        e: &E,
        x: &E::Value,
        norm: &E::Value,
        skip: &E::Value,
    ) -> Result<Activation<E::Value>> {
        self.run(e, x, Some(norm), Some(skip))
    }

    fn run<E: Exec>(
        &self,
        e: &E,
        x: &E::Value,
        norm: Option<&E::Value>,
        skip: Option<&E::Value>,
    ) -> Result<Activation<E::Value>> {
        let (weight, bias) = (e.prepared(&self.weight, &self.pack)?, e.param(&self.bias)?);
        let op = conv2d::Conv2d {
            norm: norm.map(|_| conv2d::Norm { silu: true }),
            residual: skip.is_some(),
            // What no GroupNorm follows leaves the network, or is as good as its last digits.
            narrow: self.sums && e.keeps_narrow(Between::Convolutions, self.op.operands),
            ..self.op
        };
        let (count, inputs) = present(x, [Some(&weight), Some(&bias), norm, skip]);
        if self.sums {
            let [x, sums] = e.apply(WithSums(op), &inputs[..count])?;
            return Ok(Activation { x, sums: Some(sums) });
        }
        let [x] = e.apply(op, &inputs[..count])?;
        Ok(x.into())
    }
}
