use super::config::Config;
use super::decoder::Decoder;
use super::encoder::Encoder;
use super::quantizer::{Quantized, Quantizer};
use crate::error::Result;
use crate::exec::Exec;
use crate::nn::Params;

/// The network: what [`super::Tokenizer`] runs, and what training records.
pub struct Model {
    pub(super) encoder: Encoder,
    pub(super) quantizer: Quantizer,
    pub(super) decoder: Decoder,
}

impl Model {
    /// The network of these extents, its weights taken from the top of a file.
    ///
    /// # Errors
    /// `Format` when a weight is missing or has a wrong shape.
    pub fn new(params: &Params<'_>, config: &Config) -> Result<Model> {
        Ok(Model {
            encoder: Encoder::new(params, config)?,
            quantizer: Quantizer::new(params, config)?,
            decoder: Decoder::new(params, config)?,
        })
    }

    /// Pixels x (n, H, W, 3) in \[-1, 1\] to the features (n, h, w, c) that the branches share.
    ///
    /// # Errors
    /// The operations'.
    pub fn features<E: Exec>(&self, e: &E, x: &E::Value) -> Result<E::Value> {
        self.encoder.features(e, x)
    }

    /// Features to the latents (n, h, w, d), before normalisation, of one branch.
    ///
    /// # Errors
    /// The operations'.
    pub fn latents<E: Exec>(&self, e: &E, features: &E::Value, branch: usize) -> Result<E::Value> {
        self.encoder.latents(e, features, branch)
    }

    /// Latents (n, h, w, d) of one branch to codes, and to what losses are made of.
    ///
    /// # Errors
    /// The operations'.
    pub fn quantize<E: Exec>(&self, e: &E, latents: &E::Value, branch: usize) -> Result<Quantized<E::Value>> {
        self.quantizer.quantize(e, latents, branch)
    }

    /// Embeddings (n, h, w, k * d) to pixels (n, H, W, 3), about \[-1, 1\].
    ///
    /// # Errors
    /// The operations'.
    pub fn decode<E: Exec>(&self, e: &E, embeddings: E::Value) -> Result<E::Value> {
        self.decoder.forward(e, embeddings)
    }
}
