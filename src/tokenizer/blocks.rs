//! What the CNN of encoder and decoder is built of.

use crate::backend::Between;
use crate::error::{Error, Result};
use crate::exec::Exec;
use crate::nn::{Activation, Conv2d, GroupNorm, Linear, Params};
use crate::ops::attention::Attention;
use std::sync::Arc;

/// Groups and epsilon of every GroupNorm in the tokenizer.
pub(super) const GROUPS: usize = 32;
pub(super) const EPS: f32 = 1e-6;

pub(super) fn group_norm(at: &Params<'_>, name: &str, channels: usize) -> Result<GroupNorm> {
    GroupNorm::new(&at.scope(name), channels, GROUPS, EPS)
}

/// GN, SiLU, conv3x3, GN, SiLU, conv3x3, plus the input, through a 1x1 convolution where channels change.
pub(super) struct ResnetBlock {
    norm1: GroupNorm,
    conv1: Conv2d,
    norm2: GroupNorm,
    conv2: Conv2d,
    nin_shortcut: Option<Linear>,
}

impl ResnetBlock {
    pub(super) fn new(at: &Params<'_>, from: usize, to: usize) -> Result<Arc<ResnetBlock>> {
        Ok(Arc::new(ResnetBlock {
            norm1: group_norm(at, "norm1", from)?,
            conv1: Conv2d::new(&at.scope("conv1"), from, to)?,
            norm2: group_norm(at, "norm2", to)?,
            conv2: Conv2d::new(&at.scope("conv2"), to, to)?,
            nin_shortcut: if from == to {
                None
            } else {
                // As narrow as what it is added to.
                Some(Linear::conv1x1(&at.scope("nin_shortcut"), from, to)?.narrow(Between::Convolutions))
            },
        }))
    }

    /// x (n, h, w, from) to (n, h, w, to).
    pub(super) fn forward<E: Exec>(
        self: &Arc<Self>,
        e: &E,
        x: Activation<E::Value>,
    ) -> Result<Activation<E::Value>> {
        let block = Arc::clone(self);
        let [x, sums] = match &x.sums {
            Some(sums) => e.part([&x.x, sums], move |e, [x, sums]| {
                block.run(e, Activation { x: x.clone(), sums: Some(sums.clone()) })
            })?,
            None => e.part([&x.x], move |e, [x]| block.run(e, x.clone().into()))?,
        };
        Ok(Activation { x, sums: Some(sums) })
    }

    /// The output and its sums.
    fn run<E: Exec>(&self, e: &E, x: Activation<E::Value>) -> Result<[E::Value; 2]> {
        let norm = self.norm1.coefficients(e, &x)?;
        let h = self.conv1.forward_normed(e, &x.x, &norm)?;
        let norm = self.norm2.coefficients(e, &h)?;
        let skip = match &self.nin_shortcut {
            Some(shortcut) => shortcut.forward(e, &x.x)?,
            None => x.x,
        };
        let out = self.conv2.forward_normed_add(e, &h.x, &norm, &skip)?;
        Ok([out.x, out.sums.ok_or_else(|| Error::internal("a convolution without sums"))?])
    }
}

/// GN, one attention head over all positions, a 1x1 convolution, plus the input.
pub(super) struct AttnBlock {
    norm: GroupNorm,
    q: Linear,
    k: Linear,
    v: Linear,
    proj_out: Linear,
}

impl AttnBlock {
    pub(super) fn new(at: &Params<'_>, channels: usize) -> Result<Arc<AttnBlock>> {
        let conv = |name| Linear::conv1x1(&at.scope(name), channels, channels);
        Ok(Arc::new(AttnBlock {
            norm: group_norm(at, "norm", channels)?,
            q: conv("q")?,
            k: conv("k")?,
            v: conv("v")?,
            proj_out: conv("proj_out")?,
        }))
    }

    /// x (n, h, w, c) to the same shape.
    pub(super) fn forward<E: Exec>(
        self: &Arc<Self>,
        e: &E,
        x: Activation<E::Value>,
    ) -> Result<Activation<E::Value>> {
        let block = Arc::clone(self);
        let [out] = match &x.sums {
            Some(sums) => e.part([&x.x, sums], move |e, [x, sums]| {
                block.run(e, Activation { x: x.clone(), sums: Some(sums.clone()) })
            })?,
            None => e.part([&x.x], move |e, [x]| block.run(e, x.clone().into()))?,
        };
        Ok(out.into())
    }

    fn run<E: Exec>(&self, e: &E, x: Activation<E::Value>) -> Result<[E::Value; 1]> {
        let shape = e.desc(&x.x).shape;
        let (n, c) = (shape[0], shape[3]);
        let tokens = [n, shape[1] * shape[2], c];
        let normed = e.reshape(&self.norm.forward(e, &x)?, &tokens)?;
        let (q, k, v) =
            (self.q.forward(e, &normed)?, self.k.forward(e, &normed)?, self.v.forward(e, &normed)?);
        let [attended] = e.apply(Attention { heads: 1, causal: false }, &[&q, &k, &v])?;
        let out = self.proj_out.forward_add(e, &attended, &e.reshape(&x.x, &tokens)?)?;
        Ok([e.reshape(&out, &shape)?])
    }
}
