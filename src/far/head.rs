use super::backbone::{Backbone, Block, Norm, matrices_mut};
use super::config::{self, Config};
use super::matrix::Matrix;
use super::noise::Drops;
use crate::error::Result;
use crate::exec::Exec;
use crate::nn::Params;
use crate::ops::concat::{Columns, Concat};
use crate::ops::linear::{Activation, Linear};
use std::sync::Arc;

/// What turns the backbone's output at a position into logits of its sub-codes.
pub struct Head {
    norm: Norm,
    kind: Kind,
    outputs: Vec<Matrix>,
}

enum Kind {
    /// Blocks over [h, code 1, ..., code k - 1], one slot after the other.
    AutoRegressive(Vec<Arc<Block>>),
    /// The classifiers alone.
    Linear,
    /// A layer with GELU before each classifier.
    Mlp(Vec<Matrix>),
}

impl Head {
    /// The weights of a file.
    ///
    /// # Errors
    /// Those of [`Params::get`].
    pub fn new(at: &Params<'_>, config: &Config) -> Result<Head> {
        let (n, dim) = (config.codebook_size, config.dim);
        let all = |suffix: &str, extents| -> Result<Vec<Matrix>> {
            (1..=config.codebooks)
                .map(|i| Matrix::new(at, &format!("output_{i}{suffix}.weight"), extents))
                .collect()
        };
        let (kind, outputs) = match config.head {
            config::Head::AutoRegressive { layers } => {
                let block = |i| Block::new(&at.scope(format_args!("ar_head.{i}")), config).map(Arc::new);
                (Kind::AutoRegressive((0..layers).map(block).collect::<Result<_>>()?), all("", [n, dim])?)
            }
            config::Head::Linear => (Kind::Linear, all("", [n, dim])?),
            config::Head::Mlp { hidden } => {
                let first = all(".0", [hidden, dim])?.into_iter().map(Matrix::narrow).collect();
                (Kind::Mlp(first), all(".2", [n, hidden])?)
            }
        };
        Ok(Head { norm: Norm::new(at, "norm.weight", dim)?, kind, outputs })
    }

    /// All matrices, about in the order of the computation.
    pub fn matrices_mut(&mut self) -> impl Iterator<Item = &mut Matrix> {
        let (blocks, first): (&mut [Arc<Block>], &mut [Matrix]) = match &mut self.kind {
            Kind::AutoRegressive(blocks) => (blocks, &mut []),
            Kind::Linear => (&mut [], &mut []),
            Kind::Mlp(first) => (&mut [], first),
        };
        matrices_mut(blocks).chain(first).chain(&mut self.outputs)
    }

    /// Goes through the sub-codes of a position. `h` (b, 1, dim) is the backbone's output there; `choose(i,
    /// logits)` gets the logits (b, N) of sub-code i and gives its codes (b, 1, 1). `attend(slot, layer, e, qkv)`
    /// is what [`Block::forward`] asks for, slot by slot.
    ///
    /// # Errors
    /// Those of the operations, of `attend` and of `choose`.
    pub fn forward<E: Exec>(
        &self,
        e: &E,
        backbone: &Backbone,
        h: &E::Value,
        attend: impl Fn(usize, usize, &E, &E::Value) -> Result<E::Value>,
        mut choose: impl FnMut(usize, E::Value) -> Result<E::Value>,
    ) -> Result<()> {
        let rows = e.desc(h).shape[0];
        let mut codes: Option<E::Value> = None;
        for i in 0..self.outputs.len() {
            let mut x = match (&self.kind, &codes) {
                (Kind::AutoRegressive(_), Some(codes)) => backbone.embed_each(e, i - 1..i, codes)?,
                _ => h.clone(),
            };
            for (layer, block) in self.blocks().iter().enumerate() {
                x = block.forward(e, &x, Drops::default(), |e, qkv| attend(i, layer, e, qkv))?;
            }
            let logits = self.classify(e, i, &self.norm.forward(e, &x)?)?;
            let n = e.desc(&logits).shape[2];
            codes = Some(choose(i, e.reshape(&logits, &[rows, n])?)?);
        }
        Ok(())
    }

    /// The blocks; none in the ablations.
    pub fn blocks(&self) -> &[Arc<Block>] {
        match &self.kind {
            Kind::AutoRegressive(blocks) => blocks,
            Kind::Linear | Kind::Mlp(_) => &[],
        }
    }

    /// The logits of known sub-codes, (rows, N) each. `h` (rows, 1, dim) are the backbone's outputs, `codes`
    /// (rows, 1, k - 1) all sub-codes but the last, which only blocks read; `run` takes the slots (rows, k, dim)
    /// through [`Head::blocks`].
    ///
    /// # Errors
    /// Those of the operations and of `run`.
    pub fn forced<E: Exec>(
        &self,
        e: &E,
        backbone: &Backbone,
        h: &E::Value,
        codes: &E::Value,
        run: impl FnOnce(E::Value) -> Result<E::Value>,
    ) -> Result<Vec<E::Value>> {
        let (k, shape) = (self.outputs.len(), e.desc(h).shape);
        let (rows, dim) = (shape[0], shape[2]);
        if self.blocks().is_empty() {
            let x = self.norm.forward(e, &e.reshape(h, &[rows, dim])?)?;
            return (0..k).map(|i| self.classify(e, i, &x)).collect();
        }
        let mut x = h.clone();
        if k > 1 {
            let before = backbone.embed_each(e, 0..k - 1, codes)?;
            let [slots] = e.apply(Concat, &[h, &before])?;
            x = e.reshape(&slots, &[rows, k, dim])?;
        }
        let x = e.reshape(&self.norm.forward(e, &run(x)?)?, &[rows, k * dim])?;
        let slot = |i: usize| {
            let [x] = e.apply(Columns { first: i * dim, count: dim }, &[&x])?;
            self.classify(e, i, &x)
        };
        (0..k).map(slot).collect()
    }

    /// What is normalised (..., dim) to the logits of sub-code i (..., N).
    fn classify<E: Exec>(&self, e: &E, i: usize, x: &E::Value) -> Result<E::Value> {
        let Kind::Mlp(first) = &self.kind else { return self.outputs[i].forward(e, x) };
        let op = Linear { activation: Activation::Gelu, ..Linear::default() };
        self.outputs[i].forward(e, &first[i].with(e, x, op, &[])?)
    }
}
