use super::{LayerNorm, Linear, Params};
use crate::backend::Between;
use crate::error::Result;
use crate::exec::Exec;
use crate::ops::attention::Attention;
use crate::ops::linear::Activation;
use std::sync::Arc;

/// A pre-LN transformer block under PyTorch's names for `MultiheadAttention` and CLIP's for the rest:
/// x + attn(ln_1(x)), then x + mlp(ln_2(x)) with an exact GELU.
pub struct TransformerBlock {
    ln_1: LayerNorm,
    in_proj: Linear,
    out_proj: Linear,
    ln_2: LayerNorm,
    c_fc: Linear,
    c_proj: Linear,
    attention: Attention,
}

impl TransformerBlock {
    /// The block of `width` channels at `at`, `hidden` of them inside the mlp.
    ///
    /// # Errors
    /// Those of [`Params::get`].
    pub fn new(
        at: &Params<'_>,
        width: usize,
        hidden: usize,
        heads: usize,
        eps: f32,
    ) -> Result<Arc<TransformerBlock>> {
        let (attn, mlp) = (at.scope("attn"), at.scope("mlp"));
        let narrow = |layer: Linear| layer.narrow(Between::Products);
        Ok(Arc::new(TransformerBlock {
            ln_1: LayerNorm::new(&at.scope("ln_1"), width, eps)?,
            in_proj: narrow(Linear::named(&attn, "in_proj_weight", "in_proj_bias", width, 3 * width)?),
            out_proj: Linear::new(&attn.scope("out_proj"), width, width)?,
            ln_2: LayerNorm::new(&at.scope("ln_2"), width, eps)?,
            c_fc: narrow(Linear::new(&mlp.scope("c_fc"), width, hidden)?.with(Activation::Gelu)),
            c_proj: Linear::new(&mlp.scope("c_proj"), hidden, width)?,
            attention: Attention { heads, causal: false },
        }))
    }

    /// x (n, t, width) to the same shape.
    ///
    /// # Errors
    /// The operations'.
    pub fn forward<E: Exec>(self: &Arc<Self>, e: &E, x: &E::Value) -> Result<E::Value> {
        let block = Arc::clone(self);
        let [y] = e.part([x], move |e, [x]| Ok([block.run(e, x)?]))?;
        Ok(y)
    }

    fn run<E: Exec>(&self, e: &E, x: &E::Value) -> Result<E::Value> {
        let qkv = self.in_proj.forward(e, &self.ln_1.forward(e, x)?)?;
        let [attended] = e.apply(self.attention, &[&qkv])?;
        let x = self.out_proj.forward_add(e, &attended, x)?;
        let hidden = self.c_fc.forward(e, &self.ln_2.forward(e, &x)?)?;
        self.c_proj.forward_add(e, &hidden, &x)
    }
}
