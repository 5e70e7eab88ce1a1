use super::config::Config;
use crate::error::Result;
use crate::exec::{Exec, Param};
use crate::nn::Params;
use crate::ops::code_embedding::{self, CodeEmbedding};
use crate::ops::embedding::Embedding;
use crate::ops::nearest_code::{Codebook, NearestCode};
use crate::ops::normalize::Normalize;
use crate::ops::straight_through::StraightThrough;
use crate::tensor::Tensor;

/// The factorized codebooks: latents to codes, and codes to the normalised rows.
pub(super) struct Quantizer {
    codebooks: Vec<Param>,
    /// The normalised rows of all codebooks, (k, N, d), for the way back.
    table: Param,
}

/// What quantisation of a branch's latents (n, h, w, d) gives.
pub struct Quantized<V> {
    /// The codes (n, h, w).
    pub codes: V,
    /// The normalised latents (n, h, w, d).
    pub latents: V,
    /// The normalised codebook (N, d).
    pub codebook: V,
    /// The codebook's rows that the codes name (n, h, w, d).
    pub rows: V,
    /// The rows again, but with the gradient of the latents: straight through.
    pub embeddings: V,
}

/// Shorter vectors are divided by this.
const EPS: f32 = 1e-12;

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

    /// The normalised rows of all codebooks, (k, N, d).
    pub(super) fn rows(&self) -> &Tensor {
        self.table.file()
    }

    /// Latents (n, h, w, d) of one branch to codes (n, h, w): the row of the smallest angle.
    pub(super) fn codes<E: Exec>(&self, e: &E, latents: &E::Value, branch: usize) -> Result<E::Value> {
        let codebook = e.prepared(&self.codebooks[branch], &Codebook)?;
        let [codes] = e.apply(NearestCode, &[latents, &codebook])?;
        Ok(codes)
    }

    /// Latents (n, h, w, d) of one branch to codes, and to what losses are made of.
    pub(super) fn quantize<E: Exec>(
        &self,
        e: &E,
        latents: &E::Value,
        branch: usize,
    ) -> Result<Quantized<E::Value>> {
        let codes = self.codes(e, &e.detach(latents), branch)?;
        let shape = e.desc(latents).shape;
        let [unit] = e.apply(Normalize { eps: EPS }, &[latents])?;
        let [codebook] = e.apply(Normalize { eps: EPS }, &[&e.param(&self.codebooks[branch])?])?;
        let index = e.reshape(&codes, &[shape[0], shape[1], shape[2], 1])?;
        let [rows] = e.apply(Embedding::default(), &[&index, &codebook])?;
        let [embeddings] = e.apply(StraightThrough, &[&unit, &rows])?;
        Ok(Quantized { codes, latents: unit, codebook, rows, embeddings })
    }

    /// Codes (n, k, h, w) to normalised rows (n, h, w, k * d), zeros for sub-codebooks outside the mask.
    pub(super) fn embed<E: Exec>(&self, e: &E, codes: &E::Value, mask: u32) -> Result<E::Value> {
        let table = e.param(&self.table)?;
        let [embeddings] = e.apply(CodeEmbedding { mask, narrow: false }, &[codes, &table])?;
        Ok(embeddings)
    }
}
