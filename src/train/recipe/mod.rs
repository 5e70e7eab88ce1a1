//! What a training run is, as a toml file says it. Every key has the paper's value as its default.

mod run;

pub use run::{Broken, Run, Schedule};

use super::data::Augment;
use crate::error::{Error, Result};
use crate::nn::Precision;
use crate::ops::mean_error::Power;
use crate::teachers::Discriminator;
use crate::tokenizer::Config;
use crate::tokenizer::config::Branch;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// A tokenizer's training.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Recipe {
    /// Whether blocks run a second time for their gradients, which saves the memory of their inner values.
    pub checkpoint_blocks: bool,
    /// Type of the factors of convolutions and matrix products of the tokenizer and its prediction heads: f32, or bf16 where
    /// the processor multiplies it. Weights, sums, norms, attention, codes, losses, the discriminator and the frozen networks
    /// are f32 in any case.
    pub precision: Factors,
    /// What the names of weights begin with that stay as they are: `encoder`, `quantize`.
    pub freeze: Vec<String>,
    /// The run's length and what it leaves behind.
    pub run: Run,
    /// What becomes of a picture before the network sees it. Its side is the model's `image_size`.
    pub data: Augment,
    /// The network.
    pub model: Network,
    /// The terms of the loss.
    pub loss: Loss,
    /// The discriminator and its game.
    pub adversarial: Adversarial,
    /// The generator's optimiser.
    pub optimizer: Optimizer,
    /// The discriminator's optimiser.
    pub discriminator_optimizer: Optimizer,
}

/// The factors of matrix products and convolutions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Factors {
    /// As they are.
    #[default]
    F32,
    /// Rounded to bf16.
    Bf16,
}

impl From<Factors> for Precision {
    fn from(factors: Factors) -> Precision {
        match factors {
            Factors::F32 => Precision::F32,
            Factors::Bf16 => Precision::Bf16,
        }
    }
}

/// The extents of a tokenizer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Network {
    /// Names of the sub-codebooks, in the order of codes and of the decoder's channels; `[""]` for a plain VQGAN,
    /// which has no adapter.
    pub branches: Vec<String>,
    /// Codes of a sub-codebook.
    pub codebook_size: usize,
    /// Elements of a code.
    pub code_dim: usize,
    /// Channels of the first level.
    pub ch: usize,
    /// Each level's channels as a multiple of `ch`, from the pixels down.
    pub ch_mult: Vec<usize>,
    /// Residual blocks of an encoder's level.
    pub num_res_blocks: usize,
    /// Channels between CNN and quantizer.
    pub z_channels: usize,
    /// Side of the pictures.
    pub image_size: usize,
    /// Transformer blocks of an adapter.
    pub adapter_layers: usize,
    /// Width of the mlp of an adapter's blocks.
    pub adapter_hidden: usize,
}

impl Default for Network {
    fn default() -> Network {
        Network {
            branches: vec!["vis".into(), "sem".into()],
            codebook_size: 16384,
            code_dim: 8,
            ch: 128,
            ch_mult: vec![1, 1, 2, 2, 4],
            num_res_blocks: 2,
            z_channels: 256,
            image_size: 256,
            adapter_layers: 6,
            adapter_hidden: 2048,
        }
    }
}

impl Network {
    /// The extents as models have them.
    ///
    /// # Errors
    /// `InvalidArgument` when there is no sub-codebook or no level.
    pub fn config(&self) -> Result<Config> {
        if self.branches.is_empty() || self.ch_mult.is_empty() {
            return Err(Error::invalid("model: branches and ch_mult have at least one element each"));
        }
        let branch = |name: &String| Branch::new(name, self.adapter_layers, self.adapter_hidden);
        Ok(Config {
            branches: self.branches.iter().map(branch).collect(),
            codebook_size: self.codebook_size,
            code_dim: self.code_dim,
            ch: self.ch,
            ch_mult: self.ch_mult.clone(),
            num_res_blocks: self.num_res_blocks,
            z_channels: self.z_channels,
            image_size: self.image_size,
        })
    }
}

/// The terms of the generator's loss. A weight of 0 leaves a term out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Loss {
    /// The pixels' error.
    pub reconstruction: Pixels,
    /// Its weight.
    pub reconstruction_weight: f64,
    /// Weight of LPIPS.
    pub perceptual_weight: f64,
    /// Weight of the codes' way to the latents.
    pub vq_weight: f64,
    /// Weight of the latents' way to the codes.
    pub commit_beta: f64,
    /// Weight of the entropy.
    pub entropy_ratio: f64,
    /// Whether it is the entropy of all processes' latents, as it is of one process's; or the mean of each one's (the
    /// paper's).
    pub gather: bool,
    /// What squared distances are divided by in it.
    pub entropy_temperature: f64,
    /// Weight of the disentanglement.
    pub disentangle_ratio: f64,
    /// Weight of each semantic term.
    pub semantic_weight: f64,
    /// The semantic terms.
    pub semantic: Vec<Semantic>,
}

impl Default for Loss {
    fn default() -> Loss {
        Loss {
            reconstruction: Pixels::L2,
            reconstruction_weight: 1.0,
            perceptual_weight: 1.0,
            vq_weight: 1.0,
            commit_beta: 0.25,
            entropy_ratio: 0.03,
            gather: false,
            entropy_temperature: 0.01,
            disentangle_ratio: 0.1,
            semantic_weight: 0.5,
            semantic: Vec::new(),
        }
    }
}

/// How pixels are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Pixels {
    /// Absolute differences.
    L1,
    /// Squared differences.
    L2,
}

impl From<Pixels> for Power {
    fn from(pixels: Pixels) -> Power {
        match pixels {
            Pixels::L1 => Power::Absolute,
            Pixels::L2 => Power::Squared,
        }
    }
}

/// A branch that predicts a teacher's class feature.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Semantic {
    /// The branch: `sem`.
    pub branch: String,
    /// What the prediction head's weights begin with: `feat_pred_head`.
    pub head: String,
    /// The teacher, by the name that a file is given for: `clip_l14`.
    pub teacher: String,
}

/// The discriminator's part.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Adversarial {
    /// The discriminator.
    pub network: Judge,
    /// The losses of the two.
    pub game: Game,
    /// Of the generator's term and of the discriminator's loss alike.
    pub weight: f64,
    /// The first step in which the weight counts.
    pub start: u64,
    /// Whether the discriminator is not run at all before that, which saves its time; else it sees all pictures, and its
    /// statistics and its optimiser's steps go on, as in the paper.
    pub wait: bool,
    /// Whether the generator's term is scaled to the gradient of reconstruction and perceptual together.
    pub adaptive: bool,
    /// Whether there is a discriminator at all.
    pub enabled: bool,
    /// Its channels after the first convolution, where its weights are fresh.
    pub width: usize,
    /// Whether its batch norm is by the statistics of all processes' pictures, as it is by those of one process's; or each
    /// process's by its own (the paper's).
    pub shared_norm: bool,
}

impl Default for Adversarial {
    fn default() -> Adversarial {
        Adversarial {
            network: Judge::PatchGan,
            game: Game::Hinge,
            weight: 0.5,
            start: 20_000,
            wait: false,
            adaptive: false,
            enabled: true,
            width: 64,
            shared_norm: false,
        }
    }
}

/// Kinds of discriminators.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Judge {
    /// Patch by patch (Isola et al., 2017).
    PatchGan,
    /// The picture as a whole, whose side is a power of two (StyleGAN2; Karras et al., 2020).
    StyleGan2,
}

impl Judge {
    /// What a network is.
    pub fn of(network: &Discriminator) -> Judge {
        match network {
            Discriminator::PatchGan(_) => Judge::PatchGan,
            Discriminator::StyleGan2(_) => Judge::StyleGan2,
        }
    }
}

/// Losses of a generator and a discriminator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Game {
    /// Hinge; the generator's is linear.
    Hinge,
    /// Cross entropy.
    Vanilla,
    /// The same; the name under which the generator's half is known.
    NonSaturating,
}

/// Adam.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Optimizer {
    /// Learning rate.
    pub rate: f64,
    /// Decay of the moments.
    pub betas: [f64; 2],
    /// Added to the root of the second moment.
    pub eps: f64,
    /// Decay of weights of two axes or more.
    pub decay: f64,
    /// The most that the gradient's length may be.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clip: Option<f64>,
    /// Decay of the weights' average, where one is kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub average: Option<f64>,
    /// Whether each of several processes keeps the moments of some of the weights and moves these, and not all of all.
    pub shard: bool,
}

impl Default for Optimizer {
    fn default() -> Optimizer {
        let (rate, betas, eps) = (2e-4, [0.9, 0.95], 1e-8);
        Optimizer { rate, betas, eps, decay: 0.0, clip: Some(1.0), average: None, shard: false }
    }
}

impl Recipe {
    /// The recipe that a toml text is, after `overrides` of the form `loss.entropy_ratio=0.1` have replaced values.
    ///
    /// # Errors
    /// `InvalidArgument` that names the line or the key.
    pub fn parse(text: &str, overrides: &[String]) -> Result<Recipe> {
        let mut recipe: Recipe = over(&Recipe::default(), text, overrides)?;
        recipe.data.fit(recipe.model.image_size)?;
        recipe.check()?;
        Ok(recipe)
    }

    /// The whole recipe as toml, defaults included.
    ///
    /// # Errors
    /// `Internal`, if ever.
    pub fn print(&self) -> Result<String> {
        print(self)
    }

    fn check(&self) -> Result<()> {
        self.run.check()?;
        for semantic in &self.loss.semantic {
            if !self.model.branches.contains(&semantic.branch) {
                return Err(Error::invalid(format!(
                    "recipe: loss.semantic: no branch {:?} among {:?}",
                    semantic.branch, self.model.branches
                )));
            }
        }
        if self.loss.entropy_temperature <= 0.0 {
            return Err(Error::invalid("recipe: loss.entropy_temperature: expected more than 0"));
        }
        Ok(())
    }
}

/// The recipe `base` with what a toml text says in its place, and then what `overrides` of the form `a.b=value` say.
pub(super) fn over<T: Serialize + DeserializeOwned>(base: &T, text: &str, overrides: &[String]) -> Result<T> {
    let mut table = toml::Table::try_from(base).map_err(|e| Error::internal(format!("recipe: {e}")))?;
    lay(&mut table, text.parse().map_err(|e| misread(&e))?);
    for text in overrides {
        let (path, value) =
            text.split_once('=').ok_or_else(|| Error::invalid(format!("{text:?}: expected KEY=VALUE")))?;
        // A bare word is a string.
        let value =
            format!("value = {value}").parse::<toml::Table>().ok().and_then(|mut t| t.remove("value"));
        let value = value.unwrap_or_else(|| text[path.len() + 1..].to_string().into());
        set(&mut table, path, value)?;
    }
    toml::Value::Table(table).try_into().map_err(|e| misread(&e))
}

/// Puts the values of one table over those of another, table by table.
fn lay(under: &mut toml::Table, over: toml::Table) {
    for (key, value) in over {
        match (under.get_mut(&key), value) {
            (Some(toml::Value::Table(under)), toml::Value::Table(over)) => lay(under, over),
            (_, value) => drop(under.insert(key, value)),
        }
    }
}

/// A whole recipe as toml.
pub(super) fn print(recipe: &impl Serialize) -> Result<String> {
    toml::to_string_pretty(recipe).map_err(|e| Error::internal(format!("recipe: {e}")))
}

fn misread(cause: &toml::de::Error) -> Error {
    Error::invalid(format!("recipe: {}", cause.to_string().trim_end()))
}

/// Puts a value at `a.b.c`.
fn set(table: &mut toml::Table, path: &str, value: toml::Value) -> Result<()> {
    let Some((head, rest)) = path.split_once('.') else {
        table.insert(path.to_string(), value);
        return Ok(());
    };
    match table.entry(head).or_insert_with(|| toml::Table::new().into()) {
        toml::Value::Table(inner) => set(inner, rest, value),
        _ => Err(Error::invalid(format!("recipe: {head} is no table, in {path}"))),
    }
}
