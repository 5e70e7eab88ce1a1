//! A vision transformer's blocks, as Hugging Face names their parts: pre-LN, separate q, k and v.

use crate::error::Result;
use crate::exec::{Exec, Param};
use crate::nn::{LayerNorm, Linear, Params};
use crate::ops::add::Add;
use crate::ops::attention::Attention;
use crate::ops::linear::Activation;
use crate::ops::multiply::Multiply;

/// Channels of a head, in every tower there is.
const HEAD: usize = 64;

/// What a tower calls the parts of its blocks.
pub(super) struct Names {
    pub norm1: &'static str,
    /// q, k, v, and the projection after attention.
    pub attention: [&'static str; 4],
    pub norm2: &'static str,
    pub mlp: [&'static str; 2],
    /// LayerScale after attention and after the mlp.
    pub scale: Option<[&'static str; 2]>,
}

/// The extents of a tower's blocks.
#[derive(Clone, Copy)]
pub(super) struct Shape {
    pub width: usize,
    pub hidden: usize,
    pub eps: f32,
    pub activation: Activation,
}

pub(super) struct Block {
    norm1: LayerNorm,
    qkv: [Linear; 3],
    out: Linear,
    norm2: LayerNorm,
    fc1: Linear,
    fc2: Linear,
    scale: Option<[Param; 2]>,
    attention: Attention,
}

impl Block {
    pub(super) fn new(at: &Params<'_>, names: &Names, shape: Shape) -> Result<Block> {
        let Shape { width, hidden, eps, activation } = shape;
        let square = |name| Linear::new(&at.scope(name), width, width);
        let [q, k, v, out] = names.attention;
        Ok(Block {
            norm1: LayerNorm::new(&at.scope(names.norm1), width, eps)?,
            qkv: [square(q)?, square(k)?, square(v)?],
            out: square(out)?,
            norm2: LayerNorm::new(&at.scope(names.norm2), width, eps)?,
            fc1: Linear::new(&at.scope(names.mlp[0]), width, hidden)?.with(activation),
            fc2: Linear::new(&at.scope(names.mlp[1]), hidden, width)?,
            scale: match names.scale {
                Some([a, b]) => Some([at.get(a, &[width])?, at.get(b, &[width])?]),
                None => None,
            },
            attention: Attention { heads: (width / HEAD).max(1), causal: false },
        })
    }

    /// x (n, t, width) to the same shape.
    pub(super) fn forward<E: Exec>(&self, e: &E, x: &E::Value) -> Result<E::Value> {
        let normed = self.norm1.forward(e, x)?;
        let [q, k, v] = &self.qkv;
        let (q, k, v) = (q.forward(e, &normed)?, k.forward(e, &normed)?, v.forward(e, &normed)?);
        let [attended] = e.apply(self.attention, &[&q, &k, &v])?;
        let x = self.add(e, &self.out, &attended, x, 0)?;
        let hidden = self.fc1.forward(e, &self.norm2.forward(e, &x)?)?;
        self.add(e, &self.fc2, &hidden, &x, 1)
    }

    /// skip + scale * layer(x).
    fn add<E: Exec>(
        &self,
        e: &E,
        layer: &Linear,
        x: &E::Value,
        skip: &E::Value,
        which: usize,
    ) -> Result<E::Value> {
        let Some(scale) = &self.scale else { return layer.forward_add(e, x, skip) };
        let [scaled] = e.apply(Multiply, &[&layer.forward(e, x)?, &e.param(&scale[which])?])?;
        let [sum] = e.apply(Add, &[skip, &scaled])?;
        Ok(sum)
    }
}
