use crate::error::Result;
use crate::exec::{Exec, Param};
use crate::nn::{LayerNorm, Params, TransformerBlock};
use crate::ops::{add::Add, resize_grid::ResizeGrid};
use std::sync::Arc;

const EPS: f32 = 1e-5;

/// A branch's transformer over the encoder's positions ("FactorizedAdapter"): positional embedding, `ln_pre`,
/// pre-LN blocks, `ln_post`.
pub(super) struct Adapter {
    positional_embedding: Param,
    grid: usize,
    ln_pre: LayerNorm,
    transformer: Vec<Arc<TransformerBlock>>,
    ln_post: LayerNorm,
}

/// The extents of an adapter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shape {
    pub width: usize,
    pub hidden: usize,
    pub heads: usize,
    pub layers: usize,
    /// Side of the grid that the positional embedding is made for.
    pub grid: usize,
}

impl Adapter {
    pub(super) fn new(at: &Params<'_>, shape: Shape) -> Result<Adapter> {
        let Shape { width, hidden, heads, layers, grid } = shape;
        Ok(Adapter {
            positional_embedding: at.get("positional_embedding", &[grid * grid, width])?,
            grid,
            ln_pre: LayerNorm::new(&at.scope("ln_pre"), width, EPS)?,
            transformer: (0..layers)
                .map(|i| {
                    TransformerBlock::new(&at.scope(format!("transformer.{i}")), width, hidden, heads, EPS)
                })
                .collect::<Result<_>>()?,
            ln_post: LayerNorm::new(&at.scope("ln_post"), width, EPS)?,
        })
    }

    /// x (n, h, w, c) to the same shape. A grid other than the trained one gets an interpolated table.
    pub(super) fn forward<E: Exec>(&self, e: &E, x: &E::Value) -> Result<E::Value> {
        let shape = e.desc(x).shape;
        let (h, w) = (shape[1], shape[2]);
        let mut table = e.param(&self.positional_embedding)?;
        if (h, w) != (self.grid, self.grid) {
            [table] = e.apply(ResizeGrid { from: [self.grid; 2], to: [h, w] }, &[&table])?;
        }
        let tokens = e.reshape(x, &[shape[0], h * w, shape[3]])?;
        let [x] = e.apply(Add, &[&tokens, &table])?;
        let mut x = self.ln_pre.forward(e, &x)?;
        for block in &self.transformer {
            x = block.forward(e, &x)?;
        }
        e.reshape(&self.ln_post.forward(e, &x)?, &shape)
    }
}
