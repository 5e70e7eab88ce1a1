use super::error::{fqgan_error, fqgan_status};
use super::image::{self, fqgan_image};
use super::model::{self, fqgan_model_options};
use super::runtime::fqgan_runtime;
use super::scratch::Scratch;
use super::versioned::{self, versioned};
use super::{guard, log, pointers};
use crate::codes::Info;
use crate::error::{Error, Result};
use crate::tokenizer::{Grid, Options, Tokenizer};
use crate::weights::Source;
use std::ffi::{c_char, c_void};

/// A model that turns images into codes and back.
pub struct fqgan_tokenizer {
    tokenizer: Tokenizer,
    parameters: u64,
    codes: Scratch<u32>,
    latents: Scratch<f32>,
}

/// What a tokenizer is.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct fqgan_tokenizer_info {
    /// sizeof(fqgan_tokenizer_info).
    pub struct_size: u32,
    /// Sub-codebooks: as many codes stand for a patch. Their order is (vis, sem) or (vis, sem_mid, sem_high).
    pub codebooks: u32,
    /// Codes of a sub-codebook; each code is less.
    pub codebook_size: u32,
    /// Elements of a code's vector.
    pub code_dim: u32,
    /// Side of a patch in pixels: sides of images are multiples of it.
    pub downsample: u32,
    /// Side of the images that the model was made for. Others are an extension of this library's.
    pub image_size: u32,
    /// Weights that encoding and decoding use.
    pub parameters: u64,
}
versioned!(fqgan_tokenizer_info {
    struct_size,
    codebooks,
    codebook_size,
    code_dim,
    downsample,
    image_size,
    parameters,
});

/// Opens a tokenizer's weights: a safetensors file, or a .pt of the authors'. options may be NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fqgan_tokenizer_open(
    runtime: *mut fqgan_runtime,
    path: *const c_char,
    options: *const fqgan_model_options,
    tokenizer: *mut *mut fqgan_tokenizer,
    error: *mut fqgan_error,
) -> fqgan_status {
    // SAFETY: the contract of the interface.
    unsafe {
        guard::create(tokenizer, "tokenizer", error, || {
            open(runtime, options, |options| model::open(path, options.map))
        })
    }
}

/// fqgan_tokenizer_open for a file that the caller holds in memory. The bytes are used until the tokenizer is
/// closed; they must stay and must not change.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fqgan_tokenizer_open_memory(
    runtime: *mut fqgan_runtime,
    bytes: *const c_void,
    length: usize,
    options: *const fqgan_model_options,
    tokenizer: *mut *mut fqgan_tokenizer,
    error: *mut fqgan_error,
) -> fqgan_status {
    // SAFETY: the contract of the interface.
    unsafe {
        guard::create(tokenizer, "tokenizer", error, || {
            open(runtime, options, |_| model::open_memory(bytes, length))
        })
    }
}

/// Closes a tokenizer; NULL is accepted.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fqgan_tokenizer_close(tokenizer: *mut fqgan_tokenizer) {
    // SAFETY: the contract of the interface.
    unsafe { guard::destroy(tokenizer) }
}

/// Fills info.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fqgan_tokenizer_get_info(
    tokenizer: *const fqgan_tokenizer,
    info: *mut fqgan_tokenizer_info,
    error: *mut fqgan_error,
) -> fqgan_status {
    // SAFETY: the contract of the interface.
    unsafe {
        guard::call(error, || {
            let value = describe(pointers::handle(tokenizer, "tokenizer")?)?;
            versioned::write(info, &value)
        })
    }
}

/// Codes of images, which are all of one size, laid out (count, codebooks, height / downsample,
/// width / downsample). capacity counts codes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fqgan_encode(
    tokenizer: *mut fqgan_tokenizer,
    images: *const fqgan_image,
    count: usize,
    codes: *mut u32,
    capacity: usize,
    error: *mut fqgan_error,
) -> fqgan_status {
    // SAFETY: the contract of the interface.
    unsafe {
        guard::call(error, || {
            let this = pointers::handle(tokenizer, "tokenizer")?;
            let images = image::images(images, count)?;
            let out = pointers::output(codes, this.elements(images, 1)?, capacity, "codes")?;
            image::with_views(images, |views| {
                image::check(views)?;
                this.codes.fill(out, |codes| this.tokenizer.encode_into(views, codes))
            })
        })
    }
}

/// Images of codes laid out (count, codebooks, grid_height, grid_width). Each image is
/// grid_width * downsample x grid_height * downsample pixels, and is written to. Bit i of codebook_mask says
/// that sub-codebook i is used, the vectors of the others are zero; 0: all are. When memory runs out in a
/// batch, the first images may have been written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fqgan_decode(
    tokenizer: *mut fqgan_tokenizer,
    codes: *const u32,
    count: usize,
    grid_width: u32,
    grid_height: u32,
    codebook_mask: u32,
    images: *const fqgan_image,
    error: *mut fqgan_error,
) -> fqgan_status {
    // SAFETY: the contract of the interface.
    unsafe {
        guard::call(error, || {
            let this = pointers::handle(tokenizer, "tokenizer")?;
            let images = image::images(images, count)?;
            let config = this.tokenizer.config();
            let grid = Grid { height: grid_height as usize, width: grid_width as usize };
            let info = Info {
                count,
                k: config.branches.len(),
                height: grid.height,
                width: grid.width,
                codebook_size: config.codebook_size,
            };
            let (len, f) = (info.len()?, config.downsample());
            image::with_views_mut(images, |views| {
                // A grid that is not the images' is a mistake: so many codes may not be there to be read.
                image::check_sizes(views, grid.width.saturating_mul(f), grid.height.saturating_mul(f))?;
                let codes = pointers::slice(codes, len, "codes")?;
                // All of them, before the first image is written.
                info.check(codes)?;
                this.tokenizer.decode_into(codes, grid, codebook_mask, views)
            })
        })
    }
}

/// Latents of images before they are normalised and become codes, laid out (count, codebooks, code_dim,
/// height / downsample, width / downsample). capacity counts floats.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fqgan_latents(
    tokenizer: *mut fqgan_tokenizer,
    images: *const fqgan_image,
    count: usize,
    latents: *mut f32,
    capacity: usize,
    error: *mut fqgan_error,
) -> fqgan_status {
    // SAFETY: the contract of the interface.
    unsafe {
        guard::call(error, || {
            let this = pointers::handle(tokenizer, "tokenizer")?;
            let images = image::images(images, count)?;
            let need = this.elements(images, this.tokenizer.config().code_dim)?;
            let out = pointers::output(latents, need, capacity, "latents")?;
            image::with_views(images, |views| {
                image::check(views)?;
                this.latents.fill(out, |latents| this.tokenizer.latents_into(views, latents))
            })
        })
    }
}

impl fqgan_tokenizer {
    /// Elements of an output that has `each` for every code.
    fn elements(&self, images: &[fqgan_image], each: usize) -> Result<usize> {
        let grid = self.tokenizer.grid(images[0].width as usize, images[0].height as usize)?;
        [images.len(), self.tokenizer.config().branches.len(), each, grid.height, grid.width]
            .into_iter()
            .try_fold(1usize, usize::checked_mul)
            .ok_or_else(|| Error::invalid(format!("{} images are too many to address", images.len())))
    }
}

/// # Safety
/// The contract of the interface.
unsafe fn open(
    runtime: *mut fqgan_runtime,
    options: *const fqgan_model_options,
    source: impl FnOnce(&model::Options) -> Result<Source>,
) -> Result<fqgan_tokenizer> {
    // SAFETY: as the caller promises.
    let (runtime, options) =
        unsafe { (pointers::handle(runtime, "runtime")?, model::Options::read(options)?) };
    let source = source(&options)?;
    let model = Options { precision: options.precision, memory_limit: options.memory_limit };
    let tokenizer = Tokenizer::open(&runtime.device, &source, &model)?;
    let config = tokenizer.config();
    let parameters = config.manifest().parameters();
    log::write(
        log::FQGAN_LOG_INFO,
        format_args!(
            "tokenizer: {}, {} x {} codes, patches of {}, {parameters} parameters",
            source.name(),
            config.branches.len(),
            config.codebook_size,
            config.downsample()
        ),
    );
    Ok(fqgan_tokenizer { tokenizer, parameters, codes: Scratch::new(), latents: Scratch::new() })
}

fn describe(this: &fqgan_tokenizer) -> Result<fqgan_tokenizer_info> {
    let config = this.tokenizer.config();
    Ok(fqgan_tokenizer_info {
        struct_size: 0,
        codebooks: pointers::narrow(config.branches.len())?,
        codebook_size: pointers::narrow(config.codebook_size)?,
        code_dim: pointers::narrow(config.code_dim)?,
        downsample: pointers::narrow(config.downsample())?,
        image_size: pointers::narrow(config.image_size)?,
        parameters: this.parameters,
    })
}
