use super::patch_gan::{self, PatchGan};
use super::style_gan2::{self, StyleGan2};
use crate::error::{Error, Result};
use crate::exec::{Eager, Exec};
use crate::nn::Statistics;
use crate::tensor::Tensor;
use crate::weights::Source;
use std::collections::BTreeMap;

/// A network that says how true pictures look.
pub enum Discriminator {
    /// Patch by patch.
    PatchGan(Box<PatchGan>),
    /// The picture as a whole.
    StyleGan2(Box<StyleGan2>),
}

/// What passes through a discriminator's norms: their inputs, in order.
pub type Normed<V> = Vec<V>;

impl Discriminator {
    /// The network in a file, known by its names.
    ///
    /// # Errors
    /// `Format` when it is neither, or a weight is missing or has a wrong shape.
    pub fn open(source: &Source) -> Result<Discriminator> {
        if source.listing().contains(patch_gan::FIRST) {
            return Ok(Discriminator::PatchGan(Box::new(PatchGan::open(source)?)));
        }
        if source.listing().contains(style_gan2::FIRST) {
            return Ok(Discriminator::StyleGan2(Box::new(StyleGan2::open(source)?)));
        }
        Err(Error::format(format!(
            "{}: no discriminator: expected {} (PatchGAN) or {} (StyleGAN2)",
            source.name(),
            patch_gan::FIRST,
            style_gan2::FIRST
        )))
    }

    /// Whether a name of a file is that of a weight that is trained.
    pub fn owns(&self, name: &str) -> bool {
        match self {
            Discriminator::PatchGan(network) => network.owns(name),
            Discriminator::StyleGan2(network) => network.owns(name),
        }
    }

    /// Logits (n, h, w, 1) of pictures, by kept statistics where there are some: high where they look true.
    ///
    /// # Errors
    /// The operations'.
    pub fn forward<E: Exec>(&self, e: &E, pictures: &E::Value) -> Result<E::Value> {
        match self {
            Discriminator::PatchGan(network) => network.forward(e, pictures),
            Discriminator::StyleGan2(network) => network.forward(e, pictures),
        }
    }

    /// Logits of pictures by the batch's statistics, and what [`Discriminator::keep`] wants to know of it.
    ///
    /// # Errors
    /// The operations'.
    pub fn train<E: Exec>(
        &self,
        e: &E,
        pictures: &E::Value,
        statistics: &impl Statistics,
    ) -> Result<(E::Value, Normed<E::Value>)> {
        match self {
            Discriminator::PatchGan(network) => network.train(e, pictures, statistics),
            Discriminator::StyleGan2(network) => Ok((network.forward(e, pictures)?, Vec::new())),
        }
    }

    /// Moves the kept statistics, by name, towards those of a batch.
    ///
    /// # Errors
    /// The operations'.
    pub fn keep(
        &self,
        e: &Eager<'_>,
        normed: &Normed<Tensor>,
        kept: &mut BTreeMap<String, Tensor>,
        statistics: &impl Statistics,
    ) -> Result<()> {
        match self {
            Discriminator::PatchGan(network) => network.keep(e, normed, kept, statistics),
            Discriminator::StyleGan2(_) => Ok(()),
        }
    }
}
