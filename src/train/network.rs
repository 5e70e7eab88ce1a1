use super::collective::{Group, OfAll};
use super::feature_head::FeatureHead;
use super::loss::{self, Term};
use super::optim::Tensors;
use super::recipe::{Judge, Recipe};
use crate::error::{Error, Result};
use crate::exec::{Exec, Tape, Var};
use crate::nn::{Numerics, Params};
use crate::ops::concat::Concat;
use crate::teachers::{Discriminator, Lpips, Teacher};
use crate::tensor::Tensor;
use crate::tokenizer::{Config, Model};
use crate::weights::Source;
use std::collections::BTreeMap;

/// The frozen networks of a run.
#[derive(Default)]
pub struct Teachers {
    /// The perceptual distance.
    pub lpips: Option<Lpips>,
    /// The towers, by the recipe's names.
    pub towers: BTreeMap<String, Teacher>,
}

/// A tokenizer with all that its loss needs.
pub struct TokenizerNetwork {
    recipe: Recipe,
    config: Config,
    model: Model,
    /// For each semantic term of the recipe its branch and the head.
    heads: Vec<(usize, FeatureHead)>,
    /// The discriminator.
    pub discriminator: Option<Discriminator>,
    teachers: Teachers,
    /// Who else trains it.
    pub(super) group: Group,
}

/// A recorded pass through the tokenizer.
pub struct Pass {
    /// The terms of the loss.
    pub terms: Vec<Term>,
    /// Pictures (n, H, W, 3) as they came back.
    pub reconstruction: Var,
    /// The codes (n, h, w) of every branch.
    pub codes: Vec<Tensor>,
    /// What the discriminator's norms saw.
    pub normed: Vec<Tensor>,
}

impl TokenizerNetwork {
    /// The network of a recipe with the names and shapes of `weights`; the discriminator's likewise.
    ///
    /// # Errors
    /// `Format` when a weight is missing or has a wrong shape; `InvalidArgument` when the weights are of another
    /// network than the recipe's, or a teacher that it names is not there or has another width than its head.
    pub fn open(
        recipe: &Recipe,
        weights: &Source,
        discriminator: Option<&Source>,
        teachers: Teachers,
    ) -> Result<TokenizerNetwork> {
        let mut config = Config::infer(weights)?;
        let wanted = recipe.model.config()?;
        if config.branches.iter().all(|branch| branch.adapter.is_none()) {
            config.image_size = wanted.image_size; // Only an adapter's position table tells it.
        }
        if config != wanted {
            return Err(Error::invalid(format!(
                "{}: not the recipe's network: {config:?}, expected {wanted:?}",
                weights.name()
            )));
        }
        let shapes = super::hollow(weights)?;
        let numerics = Numerics { precision: recipe.precision.into(), ..Numerics::default() };
        let mut heads = Vec::new();
        for semantic in &recipe.loss.semantic {
            let branch = config.branches.iter().position(|b| b.name == semantic.branch);
            let branch = branch.ok_or_else(|| Error::invalid(format!("no branch {:?}", semantic.branch)))?;
            let head = FeatureHead::open(&shapes, &semantic.head, numerics)?;
            let Some(tower) = teachers.towers.get(&semantic.teacher) else {
                return Err(Error::invalid(format!("no weights of the teacher {}", semantic.teacher)));
            };
            if tower.width() != head.width() {
                return Err(Error::invalid(format!(
                    "{} predicts {} elements, {} has {}",
                    semantic.head,
                    head.width(),
                    semantic.teacher,
                    tower.width()
                )));
            }
            heads.push((branch, head));
        }
        if recipe.loss.perceptual_weight != 0.0 && teachers.lpips.is_none() {
            return Err(Error::invalid(
                "no weights of LPIPS: name a file, or set loss.perceptual_weight to 0",
            ));
        }
        let discriminator = discriminator.map(Discriminator::open).transpose()?;
        if let Some(network) = &discriminator
            && Judge::of(network) != recipe.adversarial.network
        {
            return Err(Error::invalid(format!(
                "the discriminator is a {:?}, the recipe's adversarial.network a {:?}",
                Judge::of(network),
                recipe.adversarial.network
            )));
        }
        Ok(TokenizerNetwork {
            recipe: recipe.clone(),
            model: Model::new(&Params::new(&shapes, numerics), &config)?,
            config,
            heads,
            discriminator,
            teachers,
            group: Group::default(),
        })
    }

    /// The tokenizer itself. Its weights are a tape's; what it has of its own are zeros.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// Its extents.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The names of the weights that are trained, discriminator apart, as `weights` has them.
    pub fn trained<'a>(&'a self, weights: &'a Source) -> impl Iterator<Item = &'a str> {
        let heads = move |name: &str| {
            let heads = &self.recipe.loss.semantic;
            heads.iter().any(|s| name.strip_prefix(s.head.as_str()).is_some_and(|rest| rest.starts_with('.')))
        };
        let manifest = self.config.manifest();
        weights.names().filter(move |name| heads(name) || manifest.iter().any(|(needed, _)| needed == *name))
    }

    /// Records pictures (n, H, W, 3) in \[-1, 1\] through the tokenizer and all terms; `adversarial` is the weight
    /// of the discriminator's word, which without one is not asked.
    ///
    /// # Errors
    /// The operations'; `InvalidArgument` when pictures do not fit the network.
    pub fn record(&self, tape: &Tape<'_>, pictures: &Tensor, adversarial: Option<f64>) -> Result<Pass> {
        let loss = &self.recipe.loss;
        let x = tape.constant(pictures.clone());
        let features = self.model.features(tape, &x)?;
        let mut terms = Vec::new();
        let (mut embeddings, mut codes) = (Vec::new(), Vec::new());
        for (index, branch) in self.config.branches.iter().enumerate() {
            let latents = self.model.latents(tape, &features, index)?;
            let quantized = self.model.quantize(tape, &latents, index)?;
            terms.extend(loss::codebook(tape, loss, &self.group, &branch.name, &quantized)?);
            codes.push(quantized.codes.tensor().clone());
            embeddings.push(quantized.embeddings);
        }
        if loss.disentangle_ratio != 0.0 {
            terms.extend(loss::disentangle(tape, loss.disentangle_ratio, &embeddings)?);
        }
        for ((branch, head), semantic) in self.heads.iter().zip(&loss.semantic) {
            let predicted = head.forward(tape, &embeddings[*branch])?;
            let features = self.teachers.towers[&semantic.teacher].class_features(tape.eager(), pictures)?;
            let term = loss::semantic(tape, &semantic.teacher, &predicted, &features)?;
            terms.push(term.weighted(loss.semantic_weight));
        }
        let all: Vec<&Var> = embeddings.iter().collect();
        let [joined] = tape.apply(Concat, &all)?;
        let reconstruction = self.model.decode(tape, joined)?;
        let term = loss::reconstruction(tape, loss.reconstruction.into(), &reconstruction, &x)?;
        terms.push(term.weighted(loss.reconstruction_weight));
        if let Some(lpips) = self.teachers.lpips.as_ref().filter(|_| loss.perceptual_weight != 0.0) {
            let term = loss::perceptual(tape, lpips, &reconstruction, pictures)?;
            terms.push(term.weighted(loss.perceptual_weight));
        }
        let mut normed = Vec::new();
        if let (Some(discriminator), Some(weight)) = (&self.discriminator, adversarial) {
            let (fake, seen) = discriminator.train(tape, &reconstruction, &self.statistics())?;
            normed.extend(seen.iter().map(|v| v.tensor().clone()));
            let term = loss::generator(tape, self.recipe.adversarial.game, &fake)?;
            terms.push(term.weighted(weight));
        }
        Ok(Pass { terms, reconstruction, codes, normed })
    }

    /// Whose pictures the discriminator's norms go by.
    pub(super) fn statistics(&self) -> OfAll {
        OfAll(if self.recipe.adversarial.shared_norm { self.group.clone() } else { Group::default() })
    }

    /// The discriminator's weights as `source` has them, without its statistics.
    ///
    /// # Errors
    /// Those of reading.
    pub fn discriminator_weights(&self, source: &Source) -> Result<Tensors> {
        let Some(discriminator) = &self.discriminator else { return Ok(Tensors::new()) };
        source
            .names()
            .filter(|name| discriminator.owns(name))
            .map(|name| Ok((name.to_string(), source.tensor(name)?.to_f32()?)))
            .collect()
    }
}
