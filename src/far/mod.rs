//! FAR: class-conditional generation of codes, position by position, and at each position sub-code by sub-code
//! ("Factorized Visual Tokenization and Generation", arXiv 2411.16681).

mod backbone;
pub mod config;
mod forced;
mod generate;
mod head;
mod kv_cache;
mod matrix;
mod model;
mod noise;
mod rotary;
mod sampler;

pub use config::Config;
pub use generate::Generation;
pub use model::{Known, Model};
pub use noise::Noise;
pub use sampler::Sampling;

use crate::backend::{Device, Workspaces};
use crate::codes::{self, Codes};
use crate::error::{Error, Result};
use crate::exec::Eager;
use crate::nn::{Numerics, Params, Precision};
use crate::ops::kv_attention::{Cache, KvAttention};
use crate::tensor::{DType, Tensor};
use crate::weights::Source;
use generate::Place;
use kv_cache::KvCache;
use std::ops::ControlFlow;

/// How a generator is opened.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// Type of the weights that are multiplied. [`Precision::F32`]: as the file has them, exact; the others round
    /// them at open, if the file has not done so, and keep the KV cache in bf16. [`Precision::Bf16`]: to bf16;
    /// [`Precision::Int8`]: to bytes with a scale for each row (see [`crate::weights::quantize`]).
    pub precision: Precision,
    /// Bytes of working memory, rounded weights included; past it calls fail with `OutOfMemory`.
    pub memory_limit: Option<usize>,
}

/// An open generator. It may be used from any thread, also by several at once.
pub struct Generator {
    device: Device,
    config: Config,
    model: Model,
    precision: Precision,
    /// What is left for workspaces.
    memory_limit: Option<usize>,
    workspaces: Workspaces,
}

/// Images that [`Generator::generate_into`] makes abreast. With guidance these are 16 rows: about where the
/// products, not the reading of the weights, become the limit, so that more would only take memory.
const ABREAST: usize = 8;

impl Generator {
    /// A generator of the weights in `source`; its configuration is read off their names and shapes.
    ///
    /// # Errors
    /// `Format` when a weight is missing or has a wrong shape, or cannot be rounded since it is not finite;
    /// `OutOfMemory`.
    pub fn open(device: &Device, source: &Source, options: &Options) -> Result<Generator> {
        let config = Config::infer(source)?;
        let params = Params::new(source, Numerics { precision: options.precision, ..Numerics::default() });
        let mut model = Model::new(&params, &config)?;
        let mut matrices: Vec<_> = model.matrices_mut().collect();
        let made = matrix::round(&mut matrices, options.precision, options.memory_limit)?;
        let memory_limit = options.memory_limit.map(|limit| limit - made);
        Ok(Generator {
            device: device.clone(),
            model,
            precision: options.precision,
            memory_limit,
            workspaces: Workspaces::new(device.clone(), memory_limit),
            config,
        })
    }

    /// What the weights' names, shapes and strings say.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Codes of new pictures, one for each class.
    ///
    /// # Errors
    /// As [`Generator::generate_into`].
    pub fn generate(&self, classes: &[u32], sampling: &Sampling) -> Result<Codes> {
        let (k, positions) = (self.config.codebooks, self.config.positions());
        let mut codes = vec![0; classes.len().saturating_mul(k * positions)];
        let sampling = Sampling { given: 0, ..*sampling };
        self.generate_into(classes, &sampling, &mut codes, &mut |_, _| ControlFlow::Continue(()))?;
        Codes::new(self.codes_info(classes.len()), codes)
    }

    /// Codes of new pictures, one for each class, laid out (count, k, height, width) from the start of `codes`;
    /// of what `codes` holds before, the first `sampling.given` positions of each picture are kept.
    ///
    /// Up to eight pictures are made abreast, fewer where the memory limit asks for it; neither changes a code.
    /// `progress(done, total)` counts positions of all of them, and may stop; a GPU may not have got so far yet.
    ///
    /// # Errors
    /// `InvalidArgument` for a class that there is not, numbers that cannot be drawn with, a `codes` that is too
    /// short, a kept code that is not below N; `Format` when logits are not finite; `OutOfMemory`; `Cancelled`
    /// when `progress` stopped. After the last, `codes` holds the positions so far and zeros; after others, what
    /// it holds is unspecified.
    pub fn generate_into(
        &self,
        classes: &[u32],
        sampling: &Sampling,
        codes: &mut [u32],
        progress: &mut dyn FnMut(usize, usize) -> ControlFlow<()>,
    ) -> Result<()> {
        sampling.check(&self.config)?;
        self.check_classes(classes, self.config.classes)?;
        let each = self.config.codebooks * self.config.positions();
        let need = classes.len().checked_mul(each);
        if need.is_none_or(|need| codes.len() < need) {
            let shape =
                [classes.len(), self.config.codebooks, self.config.grid_height, self.config.grid_width];
            return Err(Error::invalid(format!(
                "codes holds {} elements, too few for {shape:?}",
                codes.len()
            )));
        }
        let codes = &mut codes[..classes.len() * each];
        if sampling.given > 0 {
            self.check_codes(codes, classes.len(), sampling.given)?;
        }
        let abreast = self.abreast(classes.len(), sampling);
        let steps = sampling.end(&self.config);
        let total = steps * classes.len();
        let mut before = 0;
        let mut stopped = false;
        for (at, (classes, codes)) in
            classes.chunks(abreast).zip(codes.chunks_mut(abreast * each)).enumerate()
        {
            if stopped {
                clear(codes, self.config.positions(), sampling.given);
                continue;
            }
            let first_image = sampling.first_image.wrapping_add((at * abreast) as u32);
            let sampling = Sampling { first_image, ..*sampling };
            let mut generation = Generation::new(self, classes, &sampling, codes)?;
            while let Some(position) = generation.next() {
                position?;
                let done = before + generation.done() * classes.len();
                if progress(done, total).is_break() {
                    stopped = true;
                    break;
                }
            }
            codes.copy_from_slice(generation.codes()?);
            before += steps * classes.len();
        }
        if stopped { Err(Error::cancelled("stopped by the progress function")) } else { Ok(()) }
    }

    /// Begins pictures, one for each class, to be made position by position. Of `given`, laid out (count, k,
    /// height, width), the first `sampling.given` positions are kept; it may be empty when that is 0.
    ///
    /// # Errors
    /// As [`Generator::generate_into`].
    pub fn start(&self, classes: &[u32], sampling: &Sampling, given: &[u32]) -> Result<Generation<'_>> {
        Generation::new(self, classes, sampling, given)
    }

    /// Bytes of working memory, weights aside, that making `count` pictures takes.
    pub fn memory_needed(&self, count: usize, sampling: &Sampling) -> usize {
        self.memory_of(count.min(ABREAST), sampling)
    }

    fn memory_of(&self, count: usize, sampling: &Sampling) -> usize {
        let c = &self.config;
        let (rows, end) = (sampling.rows(count), sampling.end(c));
        let cache = KvCache::bytes(c, rows, end, 1, self.cache_type());
        // What a layer has at once, or the head: the stream, its norm, packed q, k and v, attention's output, with
        // room to spare for what stays of another size; SwiGLU's hidden layer; the embeddings; logits.
        let row = 10 * c.dim + c.hidden + c.codebooks * c.dim + c.codebook_size;
        let threads = self.device.parallelism();
        // What a thread has of its own, and the codes as they are drawn.
        let scratch =
            threads * (2 * c.codebook_size + end + 2 * c.head_dim()) + 2 * rows * c.codebooks * (end + 2);
        cache.saturating_add(
            rows.saturating_mul(row).saturating_add(scratch).saturating_mul(DType::F32.size()),
        )
    }

    /// How many pictures to make abreast.
    fn abreast(&self, count: usize, sampling: &Sampling) -> usize {
        let mut abreast = count.clamp(1, ABREAST);
        if let Some(limit) = self.memory_limit {
            while abreast > 1 && self.memory_of(abreast, sampling) > limit {
                abreast -= 1;
            }
        }
        abreast
    }

    /// Sizes of a set of this generator's codes.
    pub fn codes_info(&self, count: usize) -> codes::Info {
        codes::Info {
            count,
            k: self.config.codebooks,
            height: self.config.grid_height,
            width: self.config.grid_width,
            codebook_size: self.config.codebook_size,
        }
    }

    /// Type of cached keys and values: f32 where the weights are exact.
    fn cache_type(&self) -> DType {
        if self.precision == Precision::F32 { DType::F32 } else { DType::BF16 }
    }

    /// Inputs (b, t, dim), the first of which is at `place`, to the backbone's outputs.
    fn backbone_forward(
        &self,
        e: &Eager<'_>,
        x: Tensor,
        cache: &KvCache,
        place: Place<'_>,
    ) -> Result<Tensor> {
        let cache = &cache.backbone;
        self.model.backbone.forward(e, x, |layer, e, qkv| match place {
            Place::Known(position) => self.attend(e, qkv, KvAttention { layer, position, at: None, cache }),
            Place::Picks(picks) => {
                let at = picks.place();
                self.attend(e, qkv, KvAttention { layer, position: 0, at: Some(&at), cache })
            }
        })
    }

    /// The backbone's output h (b, 1, dim) through the head; see [`Head::forward`].
    fn head_forward(
        &self,
        e: &Eager<'_>,
        h: &Tensor,
        cache: &Cache,
        choose: impl FnMut(usize, Tensor) -> Result<Tensor>,
    ) -> Result<()> {
        let attend = |slot, layer, e: &Eager<'_>, qkv: &Tensor| {
            self.attend(e, qkv, KvAttention { layer, position: slot, at: None, cache })
        };
        self.model.head.forward(e, &self.model.backbone, h, attend, choose)
    }

    fn attend(&self, e: &Eager<'_>, qkv: &Tensor, op: KvAttention<'_>) -> Result<Tensor> {
        let table = self.model.backbone.table.values(e)?;
        let [y] = e.run(&op, &[qkv, &table])?;
        Ok(y)
    }

    fn check_classes(&self, classes: &[u32], limit: usize) -> Result<()> {
        match classes.iter().position(|&class| class as usize >= limit) {
            None => Ok(()),
            Some(at) => Err(Error::invalid(format!(
                "class {} of image {at}: the generator has classes 0 to {}",
                classes[at],
                limit - 1
            ))),
        }
    }

    /// That `codes` are `count` pictures whose first `positions` are below N.
    fn check_codes(&self, codes: &[u32], count: usize, positions: usize) -> Result<()> {
        let (k, all, n) = (self.config.codebooks, self.config.positions(), self.config.codebook_size);
        if count.checked_mul(k * all) != Some(codes.len()) {
            let shape = [count, k, self.config.grid_height, self.config.grid_width];
            return Err(Error::invalid(format!("{} codes, expected {shape:?}", codes.len())));
        }
        for (at, of_book) in codes.chunks_exact(all).enumerate() {
            if let Some(position) = of_book[..positions].iter().position(|&code| code as usize >= n) {
                return Err(Error::invalid(format!(
                    "code {} of image {}, sub-codebook {}, position {position} is not below {n}",
                    of_book[position],
                    at / k,
                    at % k
                )));
            }
        }
        Ok(())
    }
}

/// Zeros all but the given positions.
fn clear(codes: &mut [u32], positions: usize, given: usize) {
    for of_book in codes.chunks_exact_mut(positions) {
        of_book[given..].fill(0);
    }
}
