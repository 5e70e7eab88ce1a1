use crate::error::Result;
use crate::exec::{Exec, Param};
use crate::nn::{LayerNorm, Linear, Numerics, Params, TransformerBlock};
use crate::ops::add::Add;
use crate::ops::class_token::{Prepend, Tokens};
use crate::ops::linear::Activation;
use crate::weights::infer::{count, extents};
use crate::weights::{Manifest, Source};
use std::sync::Arc;

/// Attention heads; shapes do not tell it.
const HEADS: usize = 8;
const EPS: f32 = 1e-5;

/// What predicts a teacher's class feature from a branch's codes, in training only.
pub struct FeatureHead {
    upscale: [Linear; 2],
    class_embedding: Param,
    positional_embedding: Param,
    ln_pre: LayerNorm,
    transformer: Vec<Arc<TransformerBlock>>,
    ln_post: LayerNorm,
    width: usize,
}

impl FeatureHead {
    /// The head whose names begin with `prefix`.
    ///
    /// # Errors
    /// `Format` when a weight is missing or has a wrong shape.
    pub fn open(source: &Source, prefix: &str, numerics: Numerics) -> Result<FeatureHead> {
        let at = Params::new(source, numerics).scope(prefix);
        let file = source.listing();
        let [width, from] = extents(file, &format!("{prefix}.upscale.0.weight"))?;
        let [positions, _] = extents(file, &format!("{prefix}.positional_embedding"))?;
        let [hidden, _] = extents(file, &format!("{prefix}.transformer.0.mlp.c_fc.weight"))?;
        let upscale = at.scope("upscale");
        let block =
            |i| TransformerBlock::new(&at.scope(format!("transformer.{i}")), width, hidden, HEADS, EPS);
        Ok(FeatureHead {
            upscale: [
                Linear::new(&upscale.scope(0), from, width)?.with(Activation::Relu),
                Linear::new(&upscale.scope(2), width, width)?,
            ],
            class_embedding: at.get("class_embedding", &[1, width])?,
            positional_embedding: at.get("positional_embedding", &[positions, width])?,
            ln_pre: LayerNorm::new(&at.scope("ln_pre"), width, EPS)?,
            transformer: (0..count(file, &format!("{prefix}.transformer.")))
                .map(block)
                .collect::<Result<_>>()?,
            ln_post: LayerNorm::new(&at.scope("ln_post"), width, EPS)?,
            width,
        })
    }

    /// Elements of the feature that it predicts.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Embeddings (n, h, w, d) of a branch to the class features (n, width).
    ///
    /// # Errors
    /// The operations'.
    pub fn forward<E: Exec>(&self, e: &E, embeddings: &E::Value) -> Result<E::Value> {
        let shape = e.desc(embeddings).shape;
        let tokens = e.reshape(embeddings, &[shape[0], shape[1] * shape[2], shape[3]])?;
        let tokens = self.upscale[1].forward(e, &self.upscale[0].forward(e, &tokens)?)?;
        let class = e.reshape(&e.param(&self.class_embedding)?, &[self.width])?;
        let [tokens] = e.apply(Prepend, &[&tokens, &class])?;
        let [tokens] = e.apply(Add, &[&tokens, &e.param(&self.positional_embedding)?])?;
        let mut x = self.ln_pre.forward(e, &tokens)?;
        for block in &self.transformer {
            x = block.forward(e, &x)?;
        }
        let [class] = e.apply(Tokens { first: 0, count: 1 }, &[&x])?;
        self.ln_post.forward(e, &e.reshape(&class, &[shape[0], self.width])?)
    }
}

/// Transformer blocks of a published head.
const LAYERS: usize = 3;

/// The tensors of a head as published: for embeddings of `d` elements at `positions` places, and features of `width`.
pub(super) fn manifest(m: &mut Manifest, prefix: &str, d: usize, width: usize, positions: usize) {
    m.layer(format!("{prefix}.upscale.0"), &[width, d]);
    m.layer(format!("{prefix}.upscale.2"), &[width, width]);
    m.tensor(format!("{prefix}.class_embedding"), &[1, width]);
    m.tensor(format!("{prefix}.positional_embedding"), &[positions + 1, width]);
    m.layer(format!("{prefix}.ln_pre"), &[width]);
    for i in 0..LAYERS {
        let at = format!("{prefix}.transformer.{i}");
        m.layer(format!("{at}.ln_1"), &[width]);
        m.tensor(format!("{at}.attn.in_proj_weight"), &[3 * width, width]);
        m.tensor(format!("{at}.attn.in_proj_bias"), &[3 * width]);
        m.layer(format!("{at}.attn.out_proj"), &[width, width]);
        m.layer(format!("{at}.ln_2"), &[width]);
        m.layer(format!("{at}.mlp.c_fc"), &[4 * width, width]);
        m.layer(format!("{at}.mlp.c_proj"), &[width, 4 * width]);
    }
    m.layer(format!("{prefix}.ln_post"), &[width]);
}
