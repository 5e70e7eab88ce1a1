use super::backbone::{Backbone, Block};
use super::config::Config;
use super::head::Head;
use super::matrix::Matrix;
use super::noise::Noise;
use crate::error::{Error, Result};
use crate::exec::{Cx, Exec};
use crate::nn::Params;
use crate::ops::concat::Concat;
use crate::tensor::Tensor;
use std::ops::Range;
use std::sync::Arc;

/// The network: what [`super::Generator`] runs position by position, and what training records whole.
pub struct Model {
    pub(super) backbone: Backbone,
    pub(super) head: Head,
    config: Config,
}

/// Codes that are known, arranged as a pass over all positions at once reads them.
#[derive(Clone, Debug)]
pub struct Known<V> {
    /// (n, 1, 1)
    pub classes: V,
    /// All positions but the last: (n, positions - 1, k).
    pub before: V,
    /// All sub-codes but the last of each position: (n * positions, 1, k - 1).
    pub within: V,
    /// What each sub-code's logits are about, (n * positions) each.
    pub targets: Vec<V>,
}

impl Known<Tensor> {
    /// Arranges codes (n, positions, k) of pictures of these classes (n).
    ///
    /// # Errors
    /// `InvalidArgument` when there is no picture, or the lengths do not fit together; `OutOfMemory`.
    pub fn new(cx: Cx<'_>, config: &Config, classes: &[u32], codes: &[u32]) -> Result<Self> {
        let (n, positions, k) = (classes.len(), config.positions(), config.codebooks);
        let each = positions * k;
        if n == 0 || n.checked_mul(each) != Some(codes.len()) {
            return Err(Error::invalid(format!(
                "{} codes of {n} pictures, expected {positions} x {k} of each and at least one picture",
                codes.len()
            )));
        }
        let of = |shape: [usize; 3], code: &dyn Fn(usize) -> u32| {
            cx.written::<u32>(shape, |all| {
                all.iter_mut().enumerate().for_each(|(at, to)| *to = code(at));
                Ok(())
            })
        };
        let all_but_last = each - k;
        let before = |at: usize| codes[at / all_but_last * each + at % all_but_last];
        let within = |at: usize| codes[at / (k - 1) * k + at % (k - 1)];
        let target = |i: usize| of([n * positions, 1, 1], &|at| codes[at * k + i])?.reshape([n * positions]);
        Ok(Known {
            classes: of([n, 1, 1], &|at| classes[at])?,
            before: of([n, positions - 1, k], &before)?,
            within: of([n * positions, 1, k - 1], &within)?,
            targets: (0..k).map(target).collect::<Result<_>>()?,
        })
    }

    /// The same as another executor sees it.
    pub fn map<V>(self, see: impl Fn(Tensor) -> V) -> Known<V> {
        Known {
            classes: see(self.classes),
            before: see(self.before),
            within: see(self.within),
            targets: self.targets.into_iter().map(see).collect(),
        }
    }
}

impl Model {
    /// The network of these extents, its weights taken from the top of a file.
    ///
    /// # Errors
    /// `Format` when a weight is missing or has a wrong shape.
    pub fn new(params: &Params<'_>, config: &Config) -> Result<Model> {
        Ok(Model {
            backbone: Backbone::new(params, config)?,
            head: Head::new(params, config)?,
            config: config.clone(),
        })
    }

    /// All matrices, about in the order of the computation.
    pub(super) fn matrices_mut(&mut self) -> impl Iterator<Item = &mut Matrix> {
        self.backbone.matrices_mut().chain(self.head.matrices_mut())
    }

    /// Teacher forcing: the logits (n * positions, N) of each sub-code, all positions at once, given the class and all
    /// codes before. A class index of `config.classes` is the null class.
    ///
    /// # Errors
    /// `InvalidArgument` for a class or a code that there is not; the operations'.
    pub fn forced<E: Exec>(&self, e: &E, known: &Known<E::Value>, noise: &Noise) -> Result<Vec<E::Value>> {
        let (positions, dim) = (self.config.positions(), self.config.dim);
        let n = e.desc(&known.classes).shape[0];
        let mut x = self.backbone.embed_classes(e, &known.classes)?;
        if positions > 1 {
            let codes = self.backbone.embed_codes(e, &known.before)?;
            let codes = e.reshape(&codes, &[n, 1, (positions - 1) * dim])?;
            let [all] = e.apply(Concat, &[&x, &codes])?;
            x = e.reshape(&all, &[n, positions, dim])?;
        }
        if let Some(drop) = noise.tokens() {
            [x] = e.apply(drop, &[&x])?;
        }
        let layers = self.backbone.layers.len();
        let h = self.blocks(e, &self.backbone.layers, 0..layers, x, noise)?;
        let h = e.reshape(&h, &[n * positions, 1, dim])?;
        let blocks = self.head.blocks();
        let numbers = layers..layers + blocks.len();
        self.head.forced(e, &self.backbone, &h, &known.within, |x| self.blocks(e, blocks, numbers, x, noise))
    }

    /// Sequences (rows, t, dim) through blocks, which are numbers `layers` of all.
    fn blocks<E: Exec>(
        &self,
        e: &E,
        blocks: &[Arc<Block>],
        layers: Range<usize>,
        mut x: E::Value,
        noise: &Noise,
    ) -> Result<E::Value> {
        let (shape, heads) = (e.desc(&x).shape, self.config.heads);
        for (i, block) in blocks.iter().enumerate() {
            let drops = noise.drops(&layers, i, shape[1] * shape[2]);
            let (block, table) = (Arc::clone(block), Arc::clone(&self.backbone.table));
            let part = move |e: &E, [x]: [&E::Value; 1]| {
                Ok([block.forward(e, x, drops, |e, qkv| table.attend(e, qkv, heads))?])
            };
            [x] = e.part([&x], part)?;
        }
        Ok(x)
    }
}
