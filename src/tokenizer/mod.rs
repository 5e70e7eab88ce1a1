//! FQGAN's tokenizer: an image to k small grids of codes, and back.

mod adapter;
mod blocks;
pub mod config;
mod decoder;
mod encoder;
mod model;
mod quantizer;
mod tiling;

pub use config::Config;

use crate::backend::{Device, Workspaces};
use crate::error::{Context, Error, Result};
use crate::exec::Eager;
use crate::image::{View, ViewMut};
use crate::nn::{Numerics, Params, Precision};
use crate::ops::conv2d;
use crate::tensor::{DType, Tensor};
use crate::weights::Source;
pub use model::Model;
pub use quantizer::Quantized;
pub use tiling::Tiling;

/// How a tokenizer is opened.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// Type of the operands: [`Precision::F32`], or [`Precision::Bf16`] where the processor has instructions for it
    /// and for the layers that take the time, so that some codes in a hundred come out as another of nearly
    /// the same distance.
    pub precision: Precision,
    /// Bytes of working memory, packed weights included; past it calls fail with `OutOfMemory`.
    pub memory_limit: Option<usize>,
}

/// An open tokenizer. It may be used from any thread, also by several at once.
pub struct Tokenizer {
    device: Device,
    config: Config,
    model: Model,
    workspaces: Workspaces,
}

/// Pixels that go through the network at once: a batch is cut so that its memory does not grow without bound.
const PIXELS_AT_ONCE: usize = 4 * 256 * 256;

/// A grid of codes that a call is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grid {
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
}

impl Tokenizer {
    /// A tokenizer of the weights in `source`; its configuration is read off their names and shapes. Weights
    /// are packed when they are first used, so that a program that only decodes never pays for the encoder.
    ///
    /// # Errors
    /// `Format` when a weight is missing or has a wrong shape, `Unsupported` for int8.
    pub fn open(device: &Device, source: &Source, options: &Options) -> Result<Tokenizer> {
        if options.precision == Precision::Int8 {
            return Err(Error::unsupported("a tokenizer in int8: expected f32 or bf16"));
        }
        let config = Config::infer(source)?;
        let budget = Budget::new(source, &config, options);
        let params = Params::new(
            source,
            Numerics { precision: options.precision, compact: budget.compact, ..Numerics::default() },
        );
        Ok(Tokenizer {
            device: device.clone(),
            model: Model::new(&params, &config)?,
            workspaces: Workspaces::new(device.clone(), budget.workspace),
            config,
        })
    }

    /// What the weights' names and shapes say.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The normalised vectors that a sub-codebook's codes stand for, (N, d); none of a sub-codebook that is not there.
    ///
    /// # Errors
    /// `Internal` if ever.
    pub fn code_vectors(&self, branch: usize) -> Result<&[f32]> {
        let all = self.model.quantizer.rows().data::<f32>()?;
        let each = self.config.codebook_size * self.config.code_dim;
        Ok(all.chunks_exact(each).nth(branch).unwrap_or_default())
    }

    /// The grid that pictures of this size become.
    ///
    /// # Errors
    /// `InvalidArgument` when a side is zero or no multiple of the down-sampling factor.
    pub fn grid(&self, width: usize, height: usize) -> Result<Grid> {
        let f = self.config.downsample();
        if width == 0 || height == 0 || !width.is_multiple_of(f) || !height.is_multiple_of(f) {
            return Err(Error::invalid(format!(
                "a picture of {width} x {height} pixels: expected sides that are positive multiples of {f}"
            )));
        }
        Ok(Grid { height: height / f, width: width / f })
    }

    /// Codes of pictures of one size, laid out (count, k, h, w) from the start of `codes`.
    ///
    /// Pictures of other sizes than the trained one (256 x 256) are this library's extension: the authors'
    /// models have no reference for such codes.
    ///
    /// # Errors
    /// `InvalidArgument` when sizes differ or do not fit the model, when a pixel is not finite, or when `codes`
    /// is too short; `OutOfMemory`.
    pub fn encode_into(&self, images: &[View<'_>], codes: &mut [u32]) -> Result<()> {
        let Some(grid) = self.common_grid(images)? else { return Ok(()) };
        let (k, cells) = (self.config.branches.len(), grid.height * grid.width);
        expect_room("codes", codes.len(), &[images.len(), k, grid.height, grid.width])?;
        self.in_chunks(images, grid, |e, features, first| {
            for branch in 0..k {
                let latents = self.model.encoder.latents(e, features, branch)?;
                let found = self.model.quantizer.codes(e, &latents, branch)?;
                for (image, found) in e.cx().download(&found)?.data::<u32>()?.chunks_exact(cells).enumerate()
                {
                    codes[((first + image) * k + branch) * cells..][..cells].copy_from_slice(found);
                }
            }
            Ok(())
        })
    }

    /// Latents before normalisation, laid out (count, k, d, h, w) from the start of `latents`.
    ///
    /// # Errors
    /// As [`Tokenizer::encode_into`].
    pub fn latents_into(&self, images: &[View<'_>], latents: &mut [f32]) -> Result<()> {
        let Some(grid) = self.common_grid(images)? else { return Ok(()) };
        let (k, d) = (self.config.branches.len(), self.config.code_dim);
        let cells = grid.height * grid.width;
        expect_room("latents", latents.len(), &[images.len(), k, d, grid.height, grid.width])?;
        self.in_chunks(images, grid, |e, features, first| {
            for branch in 0..k {
                let z = self.model.encoder.latents(e, features, branch)?;
                for (image, z) in e.cx().download(&z)?.data::<f32>()?.chunks_exact(cells * d).enumerate() {
                    let out = &mut latents[((first + image) * k + branch) * d * cells..][..d * cells];
                    for (cell, z) in z.chunks_exact(d).enumerate() {
                        z.iter().enumerate().for_each(|(i, &z)| out[i * cells + cell] = z);
                    }
                }
            }
            Ok(())
        })
    }

    /// Pictures of codes laid out (count, k, h, w), `images.len()` of them on one grid. Bit i of `mask` says
    /// that sub-codebook i is used; the embeddings of the others are zero. 0: all.
    ///
    /// # Errors
    /// `InvalidArgument` when there are fewer codes than that, a code is not below N, a picture has not the
    /// size of the grid times the down-sampling factor, or the mask names a sub-codebook that there is not;
    /// `OutOfMemory`.
    pub fn decode_into(
        &self,
        codes: &[u32],
        grid: Grid,
        mask: u32,
        images: &mut [ViewMut<'_>],
    ) -> Result<()> {
        let k = self.config.branches.len();
        let f = self.config.downsample();
        if grid.height == 0 || grid.width == 0 {
            return Err(Error::invalid(format!(
                "a grid of {} x {} codes: expected at least 1 x 1",
                grid.width, grid.height
            )));
        }
        if k < 32 && mask >> k != 0 {
            return Err(Error::invalid(format!("mask {mask:#b} names more than the {k} sub-codebooks")));
        }
        expect_room("codes", codes.len(), &[images.len(), k, grid.height, grid.width])?;
        let side = |cells: usize| cells.checked_mul(f).ok_or_else(|| Error::invalid("the grid is too large"));
        let (height, width) = (side(grid.height)?, side(grid.width)?);
        for (i, image) in images.iter().enumerate() {
            if (image.width(), image.height()) != (width, height) {
                let found = format!("{} x {}", image.width(), image.height());
                return Err(Error::invalid(format!(
                    "picture {i} is {found} pixels, expected {width} x {height}"
                )));
            }
        }
        let per_image = k * grid.height * grid.width;
        let pixels = height * width * 3;
        let chunk = at_once(height * width);
        for (images, codes) in images.chunks_mut(chunk).zip(codes.chunks(chunk * per_image)) {
            let workspace = self.workspaces.take();
            let e = Eager::new(&self.device, &workspace);
            let shape = [images.len(), k, grid.height, grid.width];
            let input = e.cx().written::<u32>(shape, |to| {
                to.copy_from_slice(&codes[..images.len() * per_image]);
                Ok(())
            })?;
            let embeddings = self.model.quantizer.embed(&e, &input, mask)?;
            let out = e.cx().download(&self.model.decoder.forward(&e, embeddings)?)?;
            for (image, out) in images.iter_mut().zip(out.data::<f32>()?.chunks_exact(pixels)) {
                image.write_from(out)?;
            }
        }
        Ok(())
    }

    fn common_grid(&self, images: &[View<'_>]) -> Result<Option<Grid>> {
        let Some(first) = images.first() else { return Ok(None) };
        let (width, height) = (first.width(), first.height());
        for (i, image) in images.iter().enumerate() {
            if (image.width(), image.height()) != (width, height) {
                return Err(Error::invalid(format!(
                    "picture {i} is {} x {} pixels, the first is {width} x {height}: expected one size a call",
                    image.width(),
                    image.height()
                )));
            }
        }
        self.grid(width, height).map(Some)
    }

    /// Runs the shared part of the encoder on a few pictures at a time and hands the features on, with the
    /// index of the first picture.
    fn in_chunks(
        &self,
        images: &[View<'_>],
        grid: Grid,
        mut use_features: impl FnMut(&Eager<'_>, &Tensor, usize) -> Result<()>,
    ) -> Result<()> {
        let f = self.config.downsample();
        let (height, width) = (grid.height * f, grid.width * f);
        let chunk = at_once(height * width);
        for (index, images) in images.chunks(chunk).enumerate() {
            let workspace = self.workspaces.take();
            let e = Eager::new(&self.device, &workspace);
            let features = {
                let x = e.cx().written::<f32>([images.len(), height, width, 3], |all| {
                    let pixels = all.chunks_exact_mut(height * width * 3);
                    for (i, (image, pixels)) in images.iter().zip(pixels).enumerate() {
                        image
                            .read_into(pixels, 0..height)
                            .context(|| format!("picture {}", index * chunk + i))?;
                    }
                    Ok(())
                })?;
                self.model.encoder.features(&e, &x)?
            };
            use_features(&e, &features, index * chunk)?;
        }
        Ok(())
    }
}

fn at_once(pixels: usize) -> usize {
    (PIXELS_AT_ONCE / pixels.max(1)).max(1)
}

fn expect_room(what: &str, have: usize, shape: &[usize]) -> Result<()> {
    let need = shape.iter().try_fold(1usize, |n, &e| n.checked_mul(e));
    if need.is_none_or(|need| have < need) {
        return Err(Error::invalid(format!(
            "{what} holds {have} elements, expected {} for {shape:?}",
            need.map_or("more than can be addressed".to_owned(), |n| n.to_string())
        )));
    }
    Ok(())
}

/// How a memory limit is spent.
struct Budget {
    compact: bool,
    workspace: Option<usize>,
}

impl Budget {
    fn new(source: &Source, config: &Config, options: &Options) -> Budget {
        let Some(limit) = options.memory_limit else { return Budget { compact: false, workspace: None } };
        // Direct convolutions copy their weights as they are; otherwise all weights are copied, and 3x3 ones transformed.
        let (mut direct, mut all) = (0, 0);
        for (_, info) in source.listing().iter() {
            let count = info.shape.iter().product::<usize>();
            match info.shape[..] {
                [k, c, 3, 3] => (direct, all) = (direct + count, all + conv2d::most_elements([k, c])),
                [_, _] | [_, _, 1, 1] => all += count,
                _ => {}
            }
        }
        let (direct, all) = (direct * DType::F32.size(), all.saturating_mul(DType::F32.size()));
        // Three activations of the widest level at the trained size are alive at once.
        let activations = 3 * config.image_size * config.image_size * config.ch * 2 * DType::F32.size();
        let compact = limit < all.saturating_add(activations);
        let packed = if compact { direct } else { all };
        Budget { compact, workspace: Some(limit.saturating_sub(packed)) }
    }
}
