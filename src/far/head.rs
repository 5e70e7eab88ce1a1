use super::backbone::{Backbone, Block, Norm};
use super::config::{self, Config};
use super::matrix::Matrix;
use crate::error::Result;
use crate::exec::Exec;
use crate::nn::Params;
use crate::ops::linear::{Activation, Linear};

/// What turns the backbone's output at a position into logits of its sub-codes.
pub struct Head {
    norm: Norm,
    kind: Kind,
    outputs: Vec<Matrix>,
}

enum Kind {
    /// Blocks over [h, code 1, ..., code k - 1], one slot after the other.
    AutoRegressive(Vec<Block>),
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
                let block = |i| Block::new(&at.scope(format_args!("ar_head.{i}")), config);
                (Kind::AutoRegressive((0..layers).map(block).collect::<Result<_>>()?), all("", [n, dim])?)
            }
            config::Head::Linear => (Kind::Linear, all("", [n, dim])?),
            config::Head::Mlp { hidden } => (Kind::Mlp(all(".0", [hidden, dim])?), all(".2", [n, hidden])?),
        };
        Ok(Head { norm: Norm::new(at, "norm.weight", dim)?, kind, outputs })
    }

    /// All matrices, about in the order of the computation.
    pub fn matrices_mut(&mut self) -> impl Iterator<Item = &mut Matrix> {
        let (blocks, first): (&mut [Block], &mut [Matrix]) = match &mut self.kind {
            Kind::AutoRegressive(blocks) => (blocks, &mut []),
            Kind::Linear => (&mut [], &mut []),
            Kind::Mlp(first) => (&mut [], first),
        };
        blocks.iter_mut().flat_map(Block::matrices_mut).chain(first).chain(&mut self.outputs)
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
        for (i, output) in self.outputs.iter().enumerate() {
            let mut x = match (&self.kind, &codes) {
                (Kind::AutoRegressive(_), Some(codes)) => backbone.embed_code(e, i - 1, codes)?,
                _ => h.clone(),
            };
            if let Kind::AutoRegressive(blocks) = &self.kind {
                for (layer, block) in blocks.iter().enumerate() {
                    x = block.forward(e, &x, |e, qkv| attend(i, layer, e, qkv))?;
                }
            }
            x = self.norm.forward(e, &x)?;
            if let Kind::Mlp(first) = &self.kind {
                let op = Linear { activation: Activation::Gelu, ..Linear::default() };
                x = first[i].with(e, &x, op, &[])?;
            }
            let logits = output.forward(e, &x)?;
            let n = e.desc(&logits).shape[2];
            codes = Some(choose(i, e.reshape(&logits, &[rows, n])?)?);
        }
        Ok(())
    }
}
