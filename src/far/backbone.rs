use super::config::Config;
use super::matrix::{AsIs, Matrix};
use super::noise::Drops;
use super::rotary::Table;
use crate::backend::Between;
use crate::error::Result;
use crate::exec::{Exec, Param};
use crate::nn::Params;
use crate::ops::embedding::{Embedding, MAX_TABLES};
use crate::ops::linear::Linear;
use crate::ops::rms_norm::RmsNorm;
use crate::tensor::DType;
use std::ops::Range;
use std::sync::Arc;

const EPS: f32 = 1e-5;

/// RMSNorm with the models' epsilon.
pub struct Norm(Param);

impl Norm {
    /// The weight of that name.
    ///
    /// # Errors
    /// Those of [`Params::get`].
    pub fn new(at: &Params<'_>, name: &str, dim: usize) -> Result<Norm> {
        Ok(Norm(at.get(name, &[dim])?))
    }

    /// x (..., dim), normalised row by row.
    ///
    /// # Errors
    /// The operation's.
    pub fn forward<E: Exec>(&self, e: &E, x: &E::Value) -> Result<E::Value> {
        let [y] = e.apply(RmsNorm { eps: EPS }, &[x, &e.param(&self.0)?])?;
        Ok(y)
    }
}

/// A block of the backbone, or of the head: attention and a SwiGLU layer, each on the normalised stream and
/// added to it.
pub struct Block {
    attention_norm: Norm,
    wqkv: Matrix,
    wo: Matrix,
    ffn_norm: Norm,
    gate: Matrix,
    up: Matrix,
    down: Matrix,
}

impl Block {
    /// The weights below `at`.
    ///
    /// # Errors
    /// Those of [`Params::get`].
    pub fn new(at: &Params<'_>, config: &Config) -> Result<Block> {
        let (dim, hidden) = (config.dim, config.hidden);
        Ok(Block {
            attention_norm: Norm::new(at, "attention_norm.weight", dim)?,
            wqkv: Matrix::new(at, "attention.wqkv.weight", [3 * dim, dim])?.narrow(),
            wo: Matrix::new(at, "attention.wo.weight", [dim, dim])?.narrow(),
            ffn_norm: Norm::new(at, "ffn_norm.weight", dim)?,
            gate: Matrix::new(at, "feed_forward.w1.weight", [hidden, dim])?.narrow(),
            up: Matrix::new(at, "feed_forward.w3.weight", [hidden, dim])?.narrow(),
            down: Matrix::new(at, "feed_forward.w2.weight", [dim, hidden])?.narrow(),
        })
    }

    /// All matrices in the order of the computation.
    pub fn matrices_mut(&mut self) -> [&mut Matrix; 5] {
        [&mut self.wqkv, &mut self.wo, &mut self.gate, &mut self.up, &mut self.down]
    }

    /// x (b, t, dim) to the same. `attend` makes (b, t, dim) of the packed queries, keys and values
    /// (b, t, 3 * dim): from a cache, or among themselves. `drops` is what is lost of the branches.
    ///
    /// # Errors
    /// Those of the operations and of `attend`.
    pub fn forward<E: Exec>(
        &self,
        e: &E,
        x: &E::Value,
        drops: Drops,
        attend: impl FnOnce(&E, &E::Value) -> Result<E::Value>,
    ) -> Result<E::Value> {
        let qkv = self.wqkv.forward(e, &self.attention_norm.forward(e, x)?)?;
        let x = self.wo.forward_add(e, &attend(e, &qkv)?, drops.attention, x)?;
        let hidden = Matrix::swiglu(e, &self.ffn_norm.forward(e, &x)?, &self.gate, &self.up)?;
        self.down.forward_add(e, &hidden, drops.feed_forward, &x)
    }
}

/// All matrices of blocks that nobody else holds yet.
pub fn matrices_mut(blocks: &mut [Arc<Block>]) -> impl Iterator<Item = &mut Matrix> {
    blocks.iter_mut().filter_map(Arc::get_mut).flat_map(Block::matrices_mut)
}

/// What comes before the head: embeddings and the large transformer.
pub struct Backbone {
    classes: Param,
    tokens: Vec<Param>,
    aggregation: Matrix,
    aggregation_bias: Param,
    /// The blocks.
    pub layers: Vec<Arc<Block>>,
    /// Turns of the positions, shared with the head.
    pub table: Arc<Table>,
    /// Type of the factors.
    operands: DType,
}

impl Backbone {
    /// The weights of a file.
    ///
    /// # Errors
    /// Those of [`Params::get`].
    pub fn new(at: &Params<'_>, config: &Config) -> Result<Backbone> {
        let (dim, k) = (config.dim, config.codebooks);
        let token = |i: usize| at.get(format!("tok_embeddings_{i}.weight"), &[config.codebook_size, dim]);
        Ok(Backbone {
            classes: at.get("cls_embedding.embedding_table.weight", &[config.classes + 1, dim])?,
            tokens: (1..=k).map(token).collect::<Result<_>>()?,
            aggregation: Matrix::new(at, "aggregation_layer.weight", [dim, k * dim])?.narrow(),
            aggregation_bias: at.get("aggregation_layer.bias", &[dim])?,
            layers: (0..config.layers)
                .map(|i| Block::new(&at.scope(format_args!("layers.{i}")), config).map(Arc::new))
                .collect::<Result<_>>()?,
            table: Arc::new(Table::new(config)?),
            operands: at.numerics.operands(),
        })
    }

    /// All matrices in the order of the computation.
    pub fn matrices_mut(&mut self) -> impl Iterator<Item = &mut Matrix> {
        std::iter::once(&mut self.aggregation).chain(matrices_mut(&mut self.layers))
    }

    /// The input of the first position: class indices (b, 1, 1) to (b, 1, dim).
    ///
    /// # Errors
    /// The operation's.
    pub fn embed_classes<E: Exec>(&self, e: &E, classes: &E::Value) -> Result<E::Value> {
        self.lookup(e, classes, std::slice::from_ref(&self.classes))
    }

    /// The input of later positions: the codes (b, t, k) of the positions before them to (b, t, dim).
    ///
    /// # Errors
    /// The operations'.
    pub fn embed_codes<E: Exec>(&self, e: &E, codes: &E::Value) -> Result<E::Value> {
        let embedded = self.lookup(e, codes, &self.tokens)?;
        let op = Linear { bias: true, ..Linear::default() };
        self.aggregation.with(e, &embedded, op, &[&e.param(&self.aggregation_bias)?])
    }

    /// The embeddings of some sub-codes side by side, as the head reads them: (b, t, n) to (b, t, n * dim).
    ///
    /// # Errors
    /// The operation's.
    pub fn embed_each<E: Exec>(&self, e: &E, which: Range<usize>, codes: &E::Value) -> Result<E::Value> {
        self.lookup(e, codes, &self.tokens[which])
    }

    /// Inputs (b, t, dim) to the outputs of all layers. `attend(layer, e, qkv)` is what [`Block::forward`] asks
    /// for.
    ///
    /// # Errors
    /// Those of the operations and of `attend`.
    pub fn forward<E: Exec>(
        &self,
        e: &E,
        mut x: E::Value,
        attend: impl Fn(usize, &E, &E::Value) -> Result<E::Value>,
    ) -> Result<E::Value> {
        for (i, layer) in self.layers.iter().enumerate() {
            x = layer.forward(e, &x, Drops::default(), |e, qkv| attend(i, e, qkv))?;
        }
        Ok(x)
    }

    /// The tables' rows side by side: indices (b, t, tables) to (b, t, tables * dim).
    fn lookup<E: Exec>(&self, e: &E, index: &E::Value, tables: &[Param]) -> Result<E::Value> {
        let mut values = [const { None }; MAX_TABLES];
        for (value, table) in values.iter_mut().zip(tables) {
            // As the file has it: a few rows are read, so a widened copy would be a waste.
            *value = Some(e.prepared(table, &AsIs)?);
        }
        let mut inputs = [index; MAX_TABLES + 1];
        for (input, value) in inputs[1..].iter_mut().zip(values.iter().flatten()) {
            *input = value;
        }
        let op = Embedding { narrow: e.keeps_narrow(Between::Products, self.operands) };
        let [y] = e.apply(op, &inputs[..1 + tables.len()])?;
        Ok(y)
    }
}
