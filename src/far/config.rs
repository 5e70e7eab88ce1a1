//! A generator's extents, inferred from a file.

use crate::error::{Context, Error, Result};
use crate::weights::infer::{count, divide, extents};
use crate::weights::{Listing, Manifest, Metadata, Source};

const CLASSES: &str = "cls_embedding.embedding_table.weight";
/// Most sub-codes of a position: as many tables as an embedding reads at once.
pub const MAX_CODEBOOKS: usize = crate::ops::embedding::MAX_TABLES;
/// Largest side of a grid that a file may ask for.
const MAX_GRID: usize = 1 << 12;

/// The extents of a generator: from the checkpoint's names and shapes, and what those do not tell from the
/// file's strings (`fqgan.head_dim`, `fqgan.grid_width`, `fqgan.grid_height`) or from the published models.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Sub-codes of a position (k).
    pub codebooks: usize,
    /// Codes of a sub-codebook (N).
    pub codebook_size: usize,
    /// Classes, without the null class that guidance uses; that one is the table's last row.
    pub classes: usize,
    /// Positions from left to right.
    pub grid_width: usize,
    /// Positions from top to bottom.
    pub grid_height: usize,
    /// Blocks of the backbone.
    pub layers: usize,
    /// Width of the backbone and of the head.
    pub dim: usize,
    /// Attention heads of a block.
    pub heads: usize,
    /// Width of a block's feed-forward part.
    pub hidden: usize,
    /// What turns the backbone's output into the sub-codes of a position.
    pub head: Head,
}

/// The head of a generator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Head {
    /// Blocks over the sub-codes of a position, one after the other (`ar_head`).
    AutoRegressive {
        /// Their number.
        layers: usize,
    },
    /// One linear classifier a sub-code, all at once (`output_1.weight`; the paper's ablation).
    Linear,
    /// One classifier of two linear layers a sub-code (`output_1.0.weight`, `output_1.2.weight`; the paper's
    /// ablation).
    Mlp {
        /// Width between the two.
        hidden: usize,
    },
}

impl Config {
    /// A published model, `b` or `l`, for `codebooks` sub-codes of 16384 codes, 1000 classes and a 16 x 16 grid.
    ///
    /// # Errors
    /// `InvalidArgument` for another size, or for no sub-code.
    pub fn published(size: &str, codebooks: usize) -> Result<Config> {
        let (layers, dim, head_layers) = match size {
            "b" => (24, 1024, 3),
            "l" => (36, 1280, 4),
            _ => return Err(Error::invalid(format!("size {size:?}: expected \"b\" or \"l\""))),
        };
        if !(1..=MAX_CODEBOOKS).contains(&codebooks) {
            return Err(Error::invalid(format!("{codebooks} sub-codes, expected 1 to {MAX_CODEBOOKS}")));
        }
        Ok(Config {
            codebooks,
            codebook_size: 16384,
            classes: 1000,
            grid_width: 16,
            grid_height: 16,
            layers,
            dim,
            heads: dim / 64,
            hidden: (8 * dim / 3).next_multiple_of(256),
            head: Head::AutoRegressive { layers: head_layers },
        })
    }

    /// Whether names are those of a generator, complete or not.
    pub fn recognizes(file: &Listing) -> bool {
        file.contains(CLASSES) || file.under("tok_embeddings_").next().is_some()
    }

    /// The configuration of a file's generator, whose tensors are all there with the shapes it needs.
    ///
    /// # Errors
    /// `Format` that names a tensor or a string and says what was expected; `Unsupported` past 31 sub-codes.
    pub fn infer(source: &Source) -> Result<Config> {
        Config::from_listing(source.listing(), source.all_metadata()).context(|| source.name())
    }

    /// As [`Config::infer`], from names, shapes and the header's strings alone.
    ///
    /// # Errors
    /// As [`Config::infer`].
    pub fn from_listing(file: &Listing, strings: &Metadata) -> Result<Config> {
        let config = Config::guess(file, strings).context(|| "not a complete generator")?;
        config.manifest().check(file).context(|| "not a complete generator")?;
        Ok(config)
    }

    /// The configuration that the most telling tensors give; the rest may be missing.
    ///
    /// # Errors
    /// As [`Config::infer`].
    pub fn guess(file: &Listing, strings: &Metadata) -> Result<Config> {
        let [rows, dim] = extents(file, CLASSES)?;
        let codebooks = file.under("tok_embeddings_").filter(|rest| rest.ends_with(".weight")).count();
        let [codebook_size, _] = extents(file, "tok_embeddings_1.weight")?;
        if codebooks > MAX_CODEBOOKS {
            return Err(Error::unsupported(format!(
                "{codebooks} sub-codes, at most {MAX_CODEBOOKS} are supported"
            )));
        }
        let head = match (count(file, "ar_head."), file.contains("output_1.0.weight")) {
            (0, true) => Head::Mlp { hidden: extents::<2>(file, "output_1.0.weight")?[0] },
            (0, false) => Head::Linear,
            (layers, _) => Head::AutoRegressive { layers },
        };
        let classes = number(strings, "fqgan.classes", rows - 1, rows)?;
        if classes + 1 != rows {
            return Err(Error::format(format!(
                "fqgan.classes is {classes}, but {CLASSES} has {rows} rows: expected one more than there are classes"
            )));
        }
        let head_dim = number(strings, "fqgan.head_dim", 64, dim)?;
        divide(head_dim, 4, "fqgan.head_dim by the rotary table's two axes and pairs")?;
        let [hidden, _] = extents(file, "layers.0.feed_forward.w1.weight")?;
        Ok(Config {
            codebooks,
            codebook_size,
            classes,
            grid_width: number(strings, "fqgan.grid_width", 16, MAX_GRID)?,
            grid_height: number(strings, "fqgan.grid_height", 16, MAX_GRID)?,
            layers: count(file, "layers."),
            dim,
            heads: divide(dim, head_dim, &format!("width of {CLASSES} by fqgan.head_dim"))?,
            hidden,
            head,
        })
    }

    /// What a file's header has to say so that [`Config::infer`] gives this configuration back.
    pub fn metadata(&self) -> Metadata {
        let strings = [
            ("fqgan.head_dim", self.head_dim()),
            ("fqgan.grid_width", self.grid_width),
            ("fqgan.grid_height", self.grid_height),
            ("fqgan.classes", self.classes),
        ];
        strings.map(|(key, value)| (key.to_string(), value.to_string())).into()
    }

    /// Width of an attention head.
    pub fn head_dim(&self) -> usize {
        self.dim / self.heads
    }

    /// Positions of a picture.
    pub fn positions(&self) -> usize {
        self.grid_width * self.grid_height
    }

    /// Blocks of the head; none in the ablations.
    pub fn head_layers(&self) -> usize {
        match self.head {
            Head::AutoRegressive { layers } => layers,
            Head::Linear | Head::Mlp { .. } => 0,
        }
    }

    /// Every tensor that generation needs.
    pub fn manifest(&self) -> Manifest {
        let mut m = Manifest::default();
        let (k, n, dim) = (self.codebooks, self.codebook_size, self.dim);
        m.tensor(CLASSES, &[self.classes + 1, dim]);
        for i in 1..=k {
            m.tensor(format!("tok_embeddings_{i}.weight"), &[n, dim]);
        }
        m.matrix("aggregation_layer.weight", [dim, k * dim]);
        m.tensor("aggregation_layer.bias", &[dim]);
        for i in 0..self.layers {
            self.block(&mut m, &format!("layers.{i}"));
        }
        for i in 0..self.head_layers() {
            self.block(&mut m, &format!("ar_head.{i}"));
        }
        m.tensor("norm.weight", &[dim]);
        for i in 1..=k {
            if let Head::Mlp { hidden } = self.head {
                m.matrix(format!("output_{i}.0.weight"), [hidden, dim]);
                m.matrix(format!("output_{i}.2.weight"), [n, hidden]);
            } else {
                m.matrix(format!("output_{i}.weight"), [n, dim]);
            }
        }
        m
    }

    fn block(&self, m: &mut Manifest, at: &str) {
        let (dim, hidden) = (self.dim, self.hidden);
        m.tensor(format!("{at}.attention_norm.weight"), &[dim]);
        m.matrix(format!("{at}.attention.wqkv.weight"), [3 * dim, dim]);
        m.matrix(format!("{at}.attention.wo.weight"), [dim, dim]);
        m.tensor(format!("{at}.ffn_norm.weight"), &[dim]);
        m.matrix(format!("{at}.feed_forward.w1.weight"), [hidden, dim]);
        m.matrix(format!("{at}.feed_forward.w3.weight"), [hidden, dim]);
        m.matrix(format!("{at}.feed_forward.w2.weight"), [dim, hidden]);
    }
}

/// A number from 1 to `most` that a file's strings give, or the default.
fn number(strings: &Metadata, key: &str, default: usize, most: usize) -> Result<usize> {
    let Some(text) = strings.get(key) else { return Ok(default) };
    let value = text.parse().ok().filter(|v| (1..=most).contains(v));
    value.ok_or_else(|| Error::format(format!("{key} is {text:?}, expected a number from 1 to {most}")))
}
