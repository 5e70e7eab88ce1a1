use super::error::{fqgan_error, fqgan_status};
use super::model::{self, fqgan_model_options};
use super::runtime::fqgan_runtime;
use super::scratch::Scratch;
use super::versioned::{self, versioned};
use super::{guard, log, pointers};
use crate::error::{Error, Result};
use crate::far::{Generator, Options, Sampling};
use crate::weights::Source;
use std::ffi::{c_char, c_void};
use std::ops::ControlFlow;

/// A model that makes codes of new images, given their classes.
pub struct fqgan_generator {
    generator: Generator,
    parameters: u64,
    memory_limit: Option<usize>,
    codes: Scratch<u32>,
}

/// Images that are made at a time: past these, memory grows and speed does not.
const MOST_ABREAST: usize = 8;

/// What a generator is. Its codes fit a tokenizer of the same codebooks and codebook_size, whose downsample
/// times the grid is the size of the images.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct fqgan_generator_info {
    /// sizeof(fqgan_generator_info).
    pub struct_size: u32,
    /// Sub-codes of a position.
    pub codebooks: u32,
    /// Codes of a sub-codebook; each code is less.
    pub codebook_size: u32,
    /// Classes, without the null class.
    pub classes: u32,
    /// Columns of an image's codes.
    pub grid_width: u32,
    /// Rows of an image's codes.
    pub grid_height: u32,
    /// Blocks of the backbone.
    pub layers: u32,
    /// Its width.
    pub dim: u32,
    /// Attention heads of a block.
    pub heads: u32,
    /// Blocks of the head that makes a position's sub-codes; 0 in models without.
    pub head_layers: u32,
    /// Weights that generation uses.
    pub parameters: u64,
}
versioned!(fqgan_generator_info {
    struct_size,
    codebooks,
    codebook_size,
    classes,
    grid_width,
    grid_height,
    layers,
    dim,
    heads,
    head_layers,
    parameters,
});

/// Says how far a generation is: done of total positions, of all images together. Not 0: stop. It is called
/// on the thread that called fqgan_generate, and must not throw.
pub type fqgan_progress_fn =
    Option<unsafe extern "C-unwind" fn(user: *mut c_void, done: u32, total: u32) -> i32>;

/// How codes are drawn. A field that is zero is at its default.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct fqgan_sampling {
    /// sizeof(fqgan_sampling).
    pub struct_size: u32,
    /// Draw from so many of the likeliest codes; 0: all, 1: always the likeliest.
    pub top_k: u32,
    /// What the random choices follow from. An image depends on it, on its place in the call and on its
    /// class, not on the threads or on the other images.
    pub seed: u64,
    /// How much the class counts; 0: 2.0. 1 is no guidance, and half the work.
    pub guidance: f32,
    /// Divides the logits, after guidance; 0: 1.0.
    pub temperature: f32,
    /// Draw from the likeliest codes that together have this probability, of what top_k leaves; 0: 1.0, all.
    pub top_p: f32,
    /// Positions to make, row by row; 0: the whole grid. The codes of the rest are 0.
    pub steps: u32,
    /// NULL: none.
    pub progress: fqgan_progress_fn,
    /// Passed to progress.
    pub progress_user: *mut c_void,
}
versioned!(fqgan_sampling {
    struct_size,
    top_k,
    seed,
    guidance,
    temperature,
    top_p,
    steps,
    progress,
    progress_user,
});

/// Opens a generator's weights: a safetensors file, or a .pt of the authors'. options may be NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fqgan_generator_open(
    runtime: *mut fqgan_runtime,
    path: *const c_char,
    options: *const fqgan_model_options,
    generator: *mut *mut fqgan_generator,
    error: *mut fqgan_error,
) -> fqgan_status {
    // SAFETY: the contract of the interface.
    unsafe {
        guard::create(generator, "generator", error, || {
            open(runtime, options, |options| model::open(path, options.map))
        })
    }
}

/// fqgan_generator_open for a file that the caller holds in memory. The bytes are used until the generator is
/// closed; they must stay and must not change.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fqgan_generator_open_memory(
    runtime: *mut fqgan_runtime,
    bytes: *const c_void,
    length: usize,
    options: *const fqgan_model_options,
    generator: *mut *mut fqgan_generator,
    error: *mut fqgan_error,
) -> fqgan_status {
    // SAFETY: the contract of the interface.
    unsafe {
        guard::create(generator, "generator", error, || {
            open(runtime, options, |_| model::open_memory(bytes, length))
        })
    }
}

/// Closes a generator; NULL is accepted.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fqgan_generator_close(generator: *mut fqgan_generator) {
    // SAFETY: the contract of the interface.
    unsafe { guard::destroy(generator) }
}

/// Fills info.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fqgan_generator_get_info(
    generator: *const fqgan_generator,
    info: *mut fqgan_generator_info,
    error: *mut fqgan_error,
) -> fqgan_status {
    // SAFETY: the contract of the interface.
    unsafe {
        guard::call(error, || {
            let value = describe(pointers::handle(generator, "generator")?)?;
            versioned::write(info, &value)
        })
    }
}

/// Sets all fields to their defaults, struct_size included.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fqgan_sampling_init(sampling: *mut fqgan_sampling) {
    // SAFETY: the contract of the interface.
    unsafe { versioned::init(sampling, 48) }
}

/// Codes of new images, one for each class, laid out (count, codebooks, grid_height, grid_width); capacity
/// counts codes. sampling may be NULL. Whenever its progress function is called, codes holds those made so far,
/// and 0 for the rest, to be looked at; when it stops, the result is FQGAN_ERROR_CANCELLED and they stay.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fqgan_generate(
    generator: *mut fqgan_generator,
    classes: *const u32,
    count: usize,
    sampling: *const fqgan_sampling,
    codes: *mut u32,
    capacity: usize,
    error: *mut fqgan_error,
) -> fqgan_status {
    // SAFETY: the contract of the interface.
    unsafe {
        guard::call(error, || {
            let this = pointers::handle(generator, "generator")?;
            let options = versioned::read_or_default(sampling)?;
            let classes = some(classes, count)?;
            let out = pointers::output(codes, this.codes_of(count)?, capacity, "codes")?;
            let Some(tell) = options.progress else {
                let mut on = |_, _| ControlFlow::Continue(());
                return this.codes.fill(out, |codes| {
                    this.generator.generate_into(classes, &options.chosen(), codes, &mut on)
                });
            };
            this.follow(classes, &options.chosen(), codes, |done, total| {
                let narrow = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
                tell(options.progress_user, narrow(done), narrow(total)) != 0
            })
        })
    }
}

/// What the model expects at each position of known codes, given the class and all codes before, without
/// guidance. codes is laid out as fqgan_generate makes them; logits is laid out (count, codebooks, grid_height *
/// grid_width, codebook_size), and capacity counts floats. The class of index info.classes is the null class.
/// When memory runs out in a batch, a part of logits may have been written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fqgan_generator_logits(
    generator: *mut fqgan_generator,
    classes: *const u32,
    codes: *const u32,
    count: usize,
    logits: *mut f32,
    capacity: usize,
    error: *mut fqgan_error,
) -> fqgan_status {
    // SAFETY: the contract of the interface.
    unsafe {
        guard::call(error, || {
            let this = pointers::handle(generator, "generator")?;
            let classes = some(classes, count)?;
            let len = this.codes_of(count)?;
            let codes = pointers::slice(codes, len, "codes")?;
            let n = this.generator.config().codebook_size;
            let need = len.checked_mul(n).ok_or_else(|| too_many(count))?;
            let logits = pointers::output(logits, need, capacity, "logits")?;
            this.generator.logits_into(classes, codes, logits)
        })
    }
}

impl fqgan_generator {
    /// Codes of so many images.
    fn codes_of(&self, count: usize) -> Result<usize> {
        self.generator.codes_info(count).len()
    }

    /// Generates for a host that follows: before each call of `stop(done, total)` its buffer has the codes so far.
    /// The host reads it meanwhile, so it is written through a pointer.
    ///
    /// # Safety
    /// `codes` has room for those of all classes, and nobody writes it.
    unsafe fn follow(
        &self,
        classes: &[u32],
        sampling: &Sampling,
        codes: *mut u32,
        mut stop: impl FnMut(usize, usize) -> bool,
    ) -> Result<()> {
        let (each, limit) = (self.codes_of(1)?, self.generator.config().classes);
        // All of them, before anything is written.
        if let Some(at) = classes.iter().position(|class| *class as usize >= limit) {
            let (class, last) = (classes[at], limit - 1);
            return Err(Error::invalid(format!(
                "class {class} of image {at}: the generator has classes 0 to {last}"
            )));
        }
        // How many at a time changes no code.
        let fits = |n: &usize| {
            self.memory_limit.is_none_or(|limit| self.generator.memory_needed(*n, sampling) <= limit)
        };
        let abreast = (2..=classes.len().min(MOST_ABREAST)).rev().find(fits).unwrap_or(1);
        let mut before = 0;
        for (at, some) in classes.chunks(abreast).enumerate() {
            let first = at * abreast;
            let sampling = Sampling { first_image: first as u32, ..*sampling };
            let mut generation = self.generator.start(some, &sampling, &[])?;
            if at == 0 {
                // SAFETY: as the caller promises.
                unsafe { codes.write_bytes(0, classes.len() * each) };
            }
            let total = generation.total() * classes.len();
            while let Some(position) = generation.next() {
                position?;
                let made = generation.codes()?;
                // SAFETY: as the caller promises; `made` is the generation's own memory.
                unsafe { codes.add(first * each).copy_from_nonoverlapping(made.as_ptr(), made.len()) };
                if stop(before + generation.done() * some.len(), total) {
                    return Err(Error::cancelled("stopped by the progress function"));
                }
            }
            before += generation.total() * some.len();
        }
        Ok(())
    }
}

impl fqgan_sampling {
    /// With defaults where a field is zero.
    fn chosen(&self) -> Sampling {
        let or = |value: f32, default: f32| if value == 0.0 { default } else { value };
        let default = Sampling::default();
        Sampling {
            guidance: or(self.guidance, default.guidance),
            temperature: or(self.temperature, default.temperature),
            top_k: self.top_k as usize,
            top_p: or(self.top_p, default.top_p),
            seed: self.seed,
            steps: self.steps as usize,
            ..default
        }
    }
}

/// # Safety
/// The contract of the interface.
unsafe fn some<'a>(classes: *const u32, count: usize) -> Result<&'a [u32]> {
    if count == 0 {
        return Err(Error::invalid("count is 0, expected at least one class"));
    }
    // SAFETY: as the caller promises.
    unsafe { pointers::slice(classes, count, "classes") }
}

fn too_many(count: usize) -> Error {
    Error::invalid(format!("{count} images are too many to address"))
}

/// # Safety
/// The contract of the interface.
unsafe fn open(
    runtime: *mut fqgan_runtime,
    options: *const fqgan_model_options,
    source: impl FnOnce(&model::Options) -> Result<Source>,
) -> Result<fqgan_generator> {
    // SAFETY: as the caller promises.
    let (runtime, options) =
        unsafe { (pointers::handle(runtime, "runtime")?, model::Options::read(options)?) };
    let source = source(&options)?;
    let model = Options { precision: options.precision, memory_limit: options.memory_limit };
    let generator = Generator::open(&runtime.device, &source, &model)?;
    let config = generator.config();
    let parameters = config.manifest().parameters();
    log::write(
        log::FQGAN_LOG_INFO,
        format_args!(
            "generator: {}, {} classes, {} x {} positions of {} codes, {parameters} parameters",
            source.name(),
            config.classes,
            config.grid_width,
            config.grid_height,
            config.codebooks
        ),
    );
    let memory_limit = options.memory_limit;
    Ok(fqgan_generator { generator, parameters, memory_limit, codes: Scratch::new() })
}

fn describe(this: &fqgan_generator) -> Result<fqgan_generator_info> {
    let config = this.generator.config();
    Ok(fqgan_generator_info {
        struct_size: 0,
        codebooks: pointers::narrow(config.codebooks)?,
        codebook_size: pointers::narrow(config.codebook_size)?,
        classes: pointers::narrow(config.classes)?,
        grid_width: pointers::narrow(config.grid_width)?,
        grid_height: pointers::narrow(config.grid_height)?,
        layers: pointers::narrow(config.layers)?,
        dim: pointers::narrow(config.dim)?,
        heads: pointers::narrow(config.heads)?,
        head_layers: pointers::narrow(config.head_layers())?,
        parameters: this.parameters,
    })
}
