use crate::error::{Error, Result};
use crate::far::{Config, Noise, config};
use crate::tokenizer;
use crate::train::codes::Stored;
use crate::train::recipe::{self, Factors, Optimizer, Run};
use serde::{Deserialize, Serialize};

/// A generator's training. The defaults are FAR-B's.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FarRecipe {
    /// What tells it from a tokenizer's.
    pub kind: Kind,
    /// Whether blocks run a second time for their gradients, which saves the memory of their inner values.
    pub checkpoint_blocks: bool,
    /// Type of the factors of matrix products: f32, or bf16 where the processor multiplies it. Weights, sums, norms,
    /// attention and losses are f32 in any case.
    pub precision: Factors,
    /// Whether each class is seen as often as the next, however many pictures it has.
    pub balance: bool,
    /// The run's length and what it leaves behind.
    pub run: Run,
    /// The network.
    pub model: FarNetwork,
    /// What is dropped in a training step.
    pub dropout: Rates,
    /// The optimiser: AdamW.
    pub optimizer: Optimizer,
}

/// A recipe's first key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A generator's.
    Far,
}

/// The extents of a generator.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FarNetwork {
    /// Sub-codes of a position.
    pub codebooks: usize,
    /// Codes of a sub-codebook.
    pub codebook_size: usize,
    /// Classes, the null class not counted.
    pub classes: usize,
    /// Positions from left to right and from top to bottom.
    pub grid: [usize; 2],
    /// Blocks of the backbone.
    pub layers: usize,
    /// Width of the backbone and of the head.
    pub dim: usize,
    /// Attention heads of a block.
    pub heads: usize,
    /// What makes sub-codes of the backbone's output.
    pub head: FarHead,
    /// Blocks of an autoregressive head.
    pub head_layers: usize,
}

/// The kinds of heads of the paper's table 4.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FarHead {
    /// Blocks over the sub-codes of a position, one after the other.
    Ar,
    /// A linear classifier a sub-code.
    Linear,
    /// A classifier of two layers a sub-code, as wide inside as the backbone.
    Mlp,
}

/// Shares that are dropped, each from 0 to below 1.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rates {
    /// Of the elements of the backbone's inputs.
    pub tokens: f64,
    /// Of the elements of an attention's output.
    pub residual: f64,
    /// Of the elements of a feed-forward part's output.
    pub feed_forward: f64,
    /// Of whole branches in the last block of backbone and head (stochastic depth); then `residual` and
    /// `feed_forward` are 0.
    pub depth: f64,
    /// Of the classes, for the null class of guidance.
    pub classes: f64,
}

impl Default for FarRecipe {
    fn default() -> FarRecipe {
        FarRecipe {
            kind: Kind::Far,
            checkpoint_blocks: false,
            precision: Factors::F32,
            balance: false,
            // 300 epochs of ImageNet.
            run: Run { steps: 300 * (1_281_167 / 256), ..Run::default() },
            model: FarNetwork {
                codebooks: 2,
                codebook_size: 16384,
                classes: 1000,
                grid: [16, 16],
                layers: 24,
                dim: 1024,
                heads: 16,
                head: FarHead::Ar,
                head_layers: 3,
            },
            dropout: Rates { tokens: 0.1, residual: 0.1, feed_forward: 0.1, depth: 0.0, classes: 0.1 },
            optimizer: Optimizer { decay: 0.05, ..Optimizer::default() },
        }
    }
}

impl FarNetwork {
    /// The extents as models have them; the feed-forward parts are 8/3 as wide, rounded up to 256.
    ///
    /// # Errors
    /// `InvalidArgument` that names a key whose value no network can have.
    pub fn config(&self) -> Result<Config> {
        let [grid_width, grid_height] = self.grid;
        let positive = [
            ("codebooks", self.codebooks),
            ("codebook_size", self.codebook_size),
            ("classes", self.classes),
            ("grid", grid_width.min(grid_height)),
            ("layers", self.layers),
            ("dim", self.dim),
            ("heads", self.heads),
            ("head_layers", self.head_layers),
        ];
        for (key, value) in positive {
            // Far above any machine's memory, and products of three are still numbers.
            if value == 0 || value > 1 << 20 {
                let most = 1 << 20;
                return Err(Error::invalid(format!("recipe: model.{key} is {value}, expected 1 to {most}")));
            }
        }
        if self.codebooks > config::MAX_CODEBOOKS {
            let most = config::MAX_CODEBOOKS;
            return Err(Error::invalid(format!("recipe: model.codebooks: at most {most} are supported")));
        }
        if !self.dim.is_multiple_of(4 * self.heads) {
            return Err(Error::invalid(format!(
                "recipe: model.dim {} is no multiple of 4 x {} heads: rotary positions want pairs on two axes",
                self.dim, self.heads
            )));
        }
        Ok(Config {
            codebooks: self.codebooks,
            codebook_size: self.codebook_size,
            classes: self.classes,
            grid_width,
            grid_height,
            layers: self.layers,
            dim: self.dim,
            heads: self.heads,
            hidden: (8 * self.dim / 3).next_multiple_of(256),
            head: match self.head {
                FarHead::Ar => config::Head::AutoRegressive { layers: self.head_layers },
                FarHead::Linear => config::Head::Linear,
                FarHead::Mlp => config::Head::Mlp { hidden: self.dim },
            },
        })
    }
}

impl FarRecipe {
    /// The recipe that a toml text is, after `overrides` of the form `model.layers=12` have replaced values. What
    /// neither says is FAR-B's.
    ///
    /// # Errors
    /// `InvalidArgument` that names the line or the key.
    pub fn parse(text: &str, overrides: &[String]) -> Result<FarRecipe> {
        let recipe: FarRecipe = recipe::over(&FarRecipe::default(), text, overrides)?;
        let rates = &recipe.dropout;
        let all = [
            ("tokens", rates.tokens),
            ("residual", rates.residual),
            ("feed_forward", rates.feed_forward),
            ("depth", rates.depth),
            ("classes", rates.classes),
        ];
        for (key, rate) in all {
            if !(0.0..1.0).contains(&rate) {
                return Err(Error::invalid(format!(
                    "recipe: dropout.{key} is {rate}, expected 0 to below 1"
                )));
            }
        }
        if rates.depth != 0.0 && rates.residual + rates.feed_forward != 0.0 {
            return Err(Error::invalid(
                "recipe: dropout.depth drops whole branches: residual and feed_forward are 0 then",
            ));
        }
        recipe.run.check()?;
        recipe.model.config()?;
        Ok(recipe)
    }

    /// The whole recipe as toml, defaults included.
    ///
    /// # Errors
    /// `Internal`, if ever.
    pub fn print(&self) -> Result<String> {
        recipe::print(self)
    }

    /// Whether stored codes are of the network's extents.
    ///
    /// # Errors
    /// `InvalidArgument` that names both.
    pub fn takes(&self, stored: &Stored) -> Result<()> {
        let model = &self.model;
        let (height, width) = stored.positions();
        let labels = (0..stored.len()).map(|picture| stored.label(picture)).max();
        let classes = labels.map_or(0, |label| label as usize + 1);
        let got = (stored.k(), stored.codebook_size(), [width, height]);
        if got != (model.codebooks, model.codebook_size, model.grid) || classes > model.classes {
            return Err(Error::invalid(format!(
                "the codes are {} of {} on a grid of {width} x {height} in {classes} classes; the recipe has \
                 model.codebooks = {}, codebook_size = {}, grid = {:?}, classes = {}",
                stored.k(),
                stored.codebook_size(),
                model.codebooks,
                model.codebook_size,
                model.grid,
                model.classes
            )));
        }
        Ok(())
    }

    /// Whether a tokenizer's codes are the network's.
    ///
    /// # Errors
    /// `InvalidArgument` that names both.
    pub fn takes_tokenizer(&self, config: &tokenizer::Config) -> Result<()> {
        let (k, n, model) = (config.branches.len(), config.codebook_size, &self.model);
        if (k, n) != (model.codebooks, model.codebook_size) {
            return Err(Error::invalid(format!(
                "the tokenizer has {k} sub-codebooks of {n}, the recipe {} of {}",
                model.codebooks, model.codebook_size
            )));
        }
        Ok(())
    }

    /// What a step drops in one of its equal parts, from 0.
    pub fn noise(&self, step: u64, part: usize) -> Noise {
        let Rates { tokens, residual, feed_forward, depth, .. } = self.dropout;
        Noise {
            tokens,
            residual,
            feed_forward,
            depth,
            seed: self.run.seed,
            step: step as u32,
            part: part as u32,
        }
    }
}
