//! A tokenizer's extents, inferred from a file.

use crate::error::{Context, Error, Result};
use crate::weights::infer::{count, divide, extents};
use crate::weights::{Listing, Manifest, Source};
use std::cmp::Ordering;

/// Groups of every GroupNorm: widths are multiples of it.
const GROUPS: usize = 32;
/// Attention heads of the adapters; shapes do not tell it.
const HEADS: usize = 8;
/// Side of the pictures that a model without position tables was made for.
const IMAGE_SIZE: usize = 256;
/// Most sub-codebooks: they are named by the bits of a 32-bit mask.
const MAX_CODEBOOKS: usize = 32;
/// Most levels of the CNN.
const MAX_LEVELS: usize = 8;

/// The extents of a tokenizer, all of which a checkpoint's names and shapes tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// One for each sub-codebook, in the order of codes and of the decoder's input channels: vis, then sem
    /// (Dual) or sem_mid, sem_high (Triple); of any other set vis, then the rest by name, with numbers at the
    /// end by value.
    pub branches: Vec<Branch>,
    /// Codes of a sub-codebook (N).
    pub codebook_size: usize,
    /// Elements of a code (d).
    pub code_dim: usize,
    /// Channels of the CNN's first level.
    pub ch: usize,
    /// Each level's channels as a multiple of `ch`, from the pixels down.
    pub ch_mult: Vec<usize>,
    /// Residual blocks of an encoder's level; a decoder's has one more.
    pub num_res_blocks: usize,
    /// Channels between CNN and quantizer.
    pub z_channels: usize,
    /// Side of the pictures that the position tables are made for.
    pub image_size: usize,
}

/// What belongs to one sub-codebook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Branch {
    /// `vis`, `sem`, ...: what follows the underscore in `quantize_vis`. Empty in a plain VQGAN (`quantize`).
    pub name: String,
    /// The transformer between CNN and quantizer; a plain VQGAN has none.
    pub adapter: Option<Adapter>,
}

/// A branch's transformer ("FactorizedAdapter"), as wide as the encoder's last level.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Adapter {
    /// Where its weights are: `encoder.visual_head.0`.
    pub prefix: String,
    /// Transformer blocks.
    pub layers: usize,
    /// Attention heads of a block.
    pub heads: usize,
    /// Width of a block's MLP.
    pub hidden: usize,
}

impl Branch {
    /// A branch of that name with an adapter of these extents; a plain VQGAN's only one, without a name, has none.
    pub fn new(name: &str, layers: usize, hidden: usize) -> Branch {
        let prefix = Branch::adapter_prefix(name);
        let adapter = Adapter { prefix, layers, heads: HEADS, hidden };
        Branch { name: name.into(), adapter: (!name.is_empty()).then_some(adapter) }
    }

    /// What the names of its layers end in: `_vis`, or nothing for a plain VQGAN.
    pub fn suffix(&self) -> String {
        if self.name.is_empty() { String::new() } else { format!("_{}", self.name) }
    }

    /// Where an adapter of this branch has its weights.
    fn adapter_prefix(name: &str) -> String {
        let (head, rest) = match name.split_once('_') {
            Some((head, rest)) => (head, format!("_{rest}")),
            None => (name, String::new()),
        };
        match head {
            "" | "vis" => format!("encoder.visual_head{rest}.0"),
            "sem" => format!("encoder.semantic_head{rest}.0"),
            other => format!("encoder.{other}_head{rest}.0"),
        }
    }
}

impl Config {
    /// A published model: `codebooks` 2 (Dual) or 3 (Triple), or 1 for the plain VQGAN they are compared with;
    /// `downsample` 8 or 16.
    ///
    /// # Errors
    /// `InvalidArgument` for other numbers.
    pub fn published(codebooks: usize, downsample: usize) -> Result<Config> {
        let names: &[&str] = match codebooks {
            1 => &[""],
            2 => &["vis", "sem"],
            3 => &["vis", "sem_mid", "sem_high"],
            k => return Err(Error::invalid(format!("{k} sub-codebooks: 1, 2 and 3 were published"))),
        };
        let ch_mult = match downsample {
            8 => vec![1, 2, 2, 4],
            16 => vec![1, 1, 2, 2, 4],
            f => return Err(Error::invalid(format!("down-sampling {f}: 8 and 16 were published"))),
        };
        Ok(Config {
            branches: names.iter().map(|name| Branch::new(name, 6, 2048)).collect(),
            codebook_size: 16384,
            code_dim: 8,
            ch: 128,
            ch_mult,
            num_res_blocks: 2,
            z_channels: 256,
            image_size: IMAGE_SIZE,
        })
    }

    /// Whether names are those of a tokenizer, complete or not.
    pub fn recognizes(file: &Listing) -> bool {
        file.contains("encoder.conv_in.weight") || file.under("quantize").next().is_some()
    }

    /// The configuration of a file's tokenizer, whose tensors are all there with the shapes it needs.
    ///
    /// # Errors
    /// `Format` that names a tensor and says what was expected; `Unsupported` past 32 sub-codebooks.
    pub fn infer(source: &Source) -> Result<Config> {
        Config::from_listing(source.listing()).context(|| source.name())
    }

    /// As [`Config::infer`], from names and shapes alone.
    ///
    /// # Errors
    /// As [`Config::infer`].
    pub fn from_listing(file: &Listing) -> Result<Config> {
        let config = Config::guess(file).context(|| "not a complete tokenizer")?;
        config.manifest().check(file).context(|| "not a complete tokenizer")?;
        Ok(config)
    }

    /// The configuration that the most telling tensors give; the rest may be missing.
    ///
    /// # Errors
    /// As [`Config::infer`].
    pub fn guess(file: &Listing) -> Result<Config> {
        let [ch, ..] = extents::<4>(file, "encoder.conv_in.weight")?;
        let levels = count(file, "encoder.conv_blocks.");
        if !(1..=MAX_LEVELS).contains(&levels) {
            return Err(Error::format(format!(
                "{levels} levels (encoder.conv_blocks), expected 1 to {MAX_LEVELS}"
            )));
        }
        let ch_mult = (0..levels).map(|i| {
            let name = format!("encoder.conv_blocks.{i}.res.0.conv1.weight");
            let [width, ..] = extents::<4>(file, &name)?;
            divide(width, ch, &format!("channels of {name} by those of encoder.conv_in"))
        });
        let ch_mult = ch_mult.collect::<Result<Vec<_>>>()?;
        divide(ch, GROUPS, "channels of encoder.conv_in by the norms' groups")?;

        let names = branch_names(file)?;
        let suffix = Branch { name: names[0].clone(), adapter: None }.suffix();
        let [codebook_size, code_dim] = extents(file, &format!("quantize{suffix}.embedding.weight"))?;
        let [z_channels, ..] = extents::<4>(file, &format!("encoder.conv_out{suffix}.weight"))?;
        let mut config = Config {
            branches: Vec::new(),
            codebook_size,
            code_dim,
            ch,
            ch_mult,
            num_res_blocks: count(file, "encoder.conv_blocks.0.res."),
            z_channels,
            image_size: IMAGE_SIZE,
        };
        for name in names {
            let prefix = Branch::adapter_prefix(&name);
            let adapter = file.under(&format!("{prefix}.")).next().is_some();
            let adapter = if adapter { Some(config.adapter(file, prefix)?) } else { None };
            config.branches.push(Branch { name, adapter });
        }
        Ok(config)
    }

    /// The adapter at `prefix`; its position table says which pictures the model is made for.
    fn adapter(&mut self, file: &Listing, prefix: String) -> Result<Adapter> {
        let table = format!("{prefix}.positional_embedding");
        let [positions, width] = extents(file, &table)?;
        let grid = positions.isqrt();
        if grid * grid != positions {
            return Err(Error::format(format!("tensor {table}: {positions} positions make no square grid")));
        }
        self.image_size = grid * self.downsample();
        divide(width, HEADS, &format!("width of {table} by the attention heads"))?;
        let [hidden, _] = extents(file, &format!("{prefix}.transformer.0.mlp.c_fc.weight"))?;
        let layers = count(file, &format!("{prefix}.transformer."));
        Ok(Adapter { prefix, layers, heads: HEADS, hidden })
    }

    /// Pixels of a side that one code stands for (f).
    pub fn downsample(&self) -> usize {
        1 << (self.ch_mult.len() - 1)
    }

    /// Channels of the CNN's last level.
    pub fn width(&self) -> usize {
        self.ch * self.ch_mult[self.ch_mult.len() - 1]
    }

    /// Names of the sub-codebooks, in order; `code` for the only one of a plain VQGAN.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.branches.iter().map(|b| if b.name.is_empty() { "code" } else { b.name.as_str() })
    }

    /// Whether a tensor is one that only training reads: the feature prediction heads, the usage buffers.
    pub fn only_for_training(name: &str) -> bool {
        let top = name.split('.').next().unwrap_or(name);
        top.contains("feat_pred") || name.ends_with("codebook_used")
    }

    /// Every tensor that encoding and decoding need.
    pub fn manifest(&self) -> Manifest {
        let mut m = Manifest::default();
        let (width, d) = (self.width(), self.code_dim);
        m.layer("encoder.conv_in", &[self.ch, 3, 3, 3]);
        let mut from = self.ch;
        for (i, mult) in self.ch_mult.iter().enumerate() {
            let at = format!("encoder.conv_blocks.{i}");
            let last = i + 1 == self.ch_mult.len();
            level(&mut m, &at, &mut from, self.ch * mult, self.num_res_blocks, last);
            if !last {
                m.layer(format!("{at}.downsample.conv"), &[from, from, 3, 3]);
            }
        }
        middle(&mut m, "encoder.mid", width);
        for branch in &self.branches {
            if let Some(adapter) = &branch.adapter {
                self.adapter_manifest(&mut m, adapter);
            }
            let suffix = branch.suffix();
            m.layer(format!("encoder.norm_out{suffix}"), &[width]);
            m.layer(format!("encoder.conv_out{suffix}"), &[self.z_channels, width, 3, 3]);
            m.layer(format!("quant_conv{suffix}"), &[d, self.z_channels, 1, 1]);
            m.tensor(format!("quantize{suffix}.embedding.weight"), &[self.codebook_size, d]);
        }
        m.layer("post_quant_conv", &[self.z_channels, self.branches.len() * d, 1, 1]);
        m.layer("decoder.conv_in", &[width, self.z_channels, 3, 3]);
        middle(&mut m, "decoder.mid", width);
        for (i, mult) in self.ch_mult.iter().rev().enumerate() {
            let at = format!("decoder.conv_blocks.{i}");
            level(&mut m, &at, &mut from, self.ch * mult, self.num_res_blocks + 1, i == 0);
            if i + 1 < self.ch_mult.len() {
                m.layer(format!("{at}.upsample.conv"), &[from, from, 3, 3]);
            }
        }
        m.layer("decoder.norm_out", &[from]);
        m.layer("decoder.conv_out", &[3, from, 3, 3]);
        m
    }

    fn adapter_manifest(&self, m: &mut Manifest, adapter: &Adapter) {
        let (at, width, hidden) = (&adapter.prefix, self.width(), adapter.hidden);
        let grid = self.image_size / self.downsample();
        m.tensor(format!("{at}.positional_embedding"), &[grid * grid, width]);
        m.layer(format!("{at}.ln_pre"), &[width]);
        for i in 0..adapter.layers {
            let at = format!("{at}.transformer.{i}");
            m.layer(format!("{at}.ln_1"), &[width]);
            m.tensor(format!("{at}.attn.in_proj_weight"), &[3 * width, width]);
            m.tensor(format!("{at}.attn.in_proj_bias"), &[3 * width]);
            m.layer(format!("{at}.attn.out_proj"), &[width, width]);
            m.layer(format!("{at}.ln_2"), &[width]);
            m.layer(format!("{at}.mlp.c_fc"), &[hidden, width]);
            m.layer(format!("{at}.mlp.c_proj"), &[width, hidden]);
        }
        m.layer(format!("{at}.ln_post"), &[width]);
    }
}

/// The residual blocks of a level, which lead from `from` channels to `to`, with attention after each or none.
fn level(m: &mut Manifest, at: &str, from: &mut usize, to: usize, blocks: usize, attention: bool) {
    for j in 0..blocks {
        residual(m, &format!("{at}.res.{j}"), *from, to);
        *from = to;
        if attention {
            attend(m, &format!("{at}.attn.{j}"), to);
        }
    }
}

fn middle(m: &mut Manifest, at: &str, width: usize) {
    residual(m, &format!("{at}.0"), width, width);
    attend(m, &format!("{at}.1"), width);
    residual(m, &format!("{at}.2"), width, width);
}

fn residual(m: &mut Manifest, at: &str, from: usize, to: usize) {
    m.layer(format!("{at}.norm1"), &[from]);
    m.layer(format!("{at}.conv1"), &[to, from, 3, 3]);
    m.layer(format!("{at}.norm2"), &[to]);
    m.layer(format!("{at}.conv2"), &[to, to, 3, 3]);
    if from != to {
        m.layer(format!("{at}.nin_shortcut"), &[to, from, 1, 1]);
    }
}

fn attend(m: &mut Manifest, at: &str, width: usize) {
    m.layer(format!("{at}.norm"), &[width]);
    for projection in ["q", "k", "v", "proj_out"] {
        m.layer(format!("{at}.{projection}"), &[width, width, 1, 1]);
    }
}

/// The names of the sub-codebooks, in order.
fn branch_names(file: &Listing) -> Result<Vec<String>> {
    let mut names: Vec<String> = file
        .under("quantize")
        .filter_map(|rest| rest.strip_suffix(".embedding.weight"))
        .filter_map(|rest| if rest.is_empty() { Some(rest) } else { rest.strip_prefix('_') })
        .filter(|name| !name.contains('.'))
        .map(String::from)
        .collect();
    if names.is_empty() {
        return Err(Error::format("no codebook: expected quantize_vis.embedding.weight or the like"));
    }
    if names.len() > MAX_CODEBOOKS {
        return Err(Error::unsupported(format!(
            "{} sub-codebooks, at most {MAX_CODEBOOKS} are supported",
            names.len()
        )));
    }
    if names.len() > 1 && names.iter().any(String::is_empty) {
        return Err(Error::format(format!(
            "quantize stands beside quantize_{}: expected one or the other",
            names[1]
        )));
    }
    names.sort_by(|a, b| (a != "vis").cmp(&(b != "vis")).then_with(|| natural(a, b)));
    if names == ["vis", "sem_high", "sem_mid"] {
        names.swap(1, 2); // The published Triple's order.
    }
    Ok(names)
}

/// By name, numbers at the end by value.
fn natural(a: &str, b: &str) -> Ordering {
    let stem = |s: &str| s.trim_end_matches(|c: char| c.is_ascii_digit()).len();
    let ((a_stem, a_number), (b_stem, b_number)) = (a.split_at(stem(a)), b.split_at(stem(b)));
    // Of two numbers without leading zeros the longer is the larger.
    a_stem.cmp(b_stem).then(a_number.len().cmp(&b_number.len())).then(a_number.cmp(b_number))
}
