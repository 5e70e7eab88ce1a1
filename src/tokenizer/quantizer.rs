use super::config::Config;
use crate::error::Result;
use crate::exec::{Exec, Param};
use crate::nn::Params;
use crate::ops::code_embedding::{self, CodeEmbedding};
use crate::ops::nearest_code::{Codebook, NearestCode};
use crate::tensor::Tensor;

/// The factorized codebooks: latents to codes, and codes to the normalised rows.
pub(super) struct Quantizer {
    codebooks: Vec<Param>,
    /// The normalised rows of all codebooks, (k, N, d), for the way back.
    table: Param,
}

impl Quantizer {
    pub(super) fn new(top: &Params<'_>, config: &Config) -> Result<Quantizer> {
        let (n, d) = (config.codebook_size, config.code_dim);
        let codebooks: Vec<Param> = config
            .branches
            .iter()
            .map(|b| top.scope(format!("quantize{}.embedding", b.suffix())).get("weight", &[n, d]))
            .collect::<Result<_>>()?;
        let files: Vec<&Tensor> = codebooks.iter().map(Param::file).collect();
        let table = Param::new("quantize", code_embedding::table(&files)?);
        Ok(Quantizer { codebooks, table })
    }

    /// Latents (n, h, w, d) of one branch to codes (n, h, w): the row of the smallest angle.
    pub(super) fn codes<E: Exec>(&self, e: &E, latents: &E::Value, branch: usize) -> Result<E::Value> {
        let codebook = e.prepared(&self.codebooks[branch], &Codebook)?;
        let [codes] = e.apply(NearestCode, &[latents, &codebook])?;
        Ok(codes)
    }

    /// Codes (n, k, h, w) to normalised rows (n, h, w, k * d), zeros for sub-codebooks outside the mask.
    pub(super) fn embed<E: Exec>(&self, e: &E, codes: &E::Value, mask: u32) -> Result<E::Value> {
        let table = e.param(&self.table)?;
        let [embeddings] = e.apply(CodeEmbedding { mask }, &[codes, &table])?;
        Ok(embeddings)
    }
}
