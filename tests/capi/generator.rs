//! The generator's functions: the same results as from Rust.

use crate::models::{generator_config, generator_file, tokenizer_file};
use crate::support::{Runtime, call};
use fqgan::capi::*;
use fqgan::far::{Generator, Options, Sampling};
use fqgan::nn::Precision;
use fqgan::weights::{Map, Source};
use std::ffi::{CString, c_void};
use std::path::Path;
use std::ptr::{null, null_mut};

/// Codes of an image: two sub-codes at 4 x 3 positions.
const EACH: usize = 24;

struct Model(*mut fqgan_generator);

impl Drop for Model {
    fn drop(&mut self) {
        // SAFETY: opened once, closed once.
        unsafe { fqgan_generator_close(self.0) };
    }
}

fn attempt(path: &Path, options: *const fqgan_model_options) -> (i32, String, Model) {
    let path = CString::new(path.to_str().unwrap()).unwrap();
    let mut model = std::ptr::dangling_mut();
    let runtime = Runtime::new();
    // SAFETY: whole arguments.
    let (status, text) =
        call(|error| unsafe { fqgan_generator_open(runtime.0, path.as_ptr(), options, &mut model, error) });
    assert_eq!(status == FQGAN_OK, !model.is_null());
    (status, text, Model(model))
}

fn open() -> Model {
    let (status, text, model) = attempt(generator_file(), null());
    assert_eq!(status, FQGAN_OK, "{text}");
    model
}

/// One generator for many calls.
pub fn shared() -> *mut fqgan_generator {
    struct Shared(Model);
    // SAFETY: calls from any thread are safe.
    unsafe impl Send for Shared {}
    // SAFETY: as above.
    unsafe impl Sync for Shared {}
    static MODEL: std::sync::OnceLock<Shared> = std::sync::OnceLock::new();
    MODEL.get_or_init(|| Shared(open())).0.0
}

fn sampling() -> fqgan_sampling {
    let mut sampling = std::mem::MaybeUninit::uninit();
    // SAFETY: room for one, which the call fills.
    unsafe {
        fqgan_sampling_init(sampling.as_mut_ptr());
        sampling.assume_init()
    }
}

fn generate(model: &Model, classes: &[u32], sampling: *const fqgan_sampling) -> (i32, String, Vec<u32>) {
    let mut codes = vec![7777; classes.len() * EACH];
    // SAFETY: whole arguments.
    let (status, text) = call(|error| unsafe {
        let (out, capacity) = (codes.as_mut_ptr(), codes.len());
        fqgan_generate(model.0, classes.as_ptr(), classes.len(), sampling, out, capacity, error)
    });
    (status, text, codes)
}

fn reference() -> Generator {
    let source = Source::open(generator_file(), Map::On).unwrap();
    let cpu = fqgan::backend::cpu::Cpu::new(0).unwrap();
    let device = fqgan::backend::Device::Cpu(std::sync::Arc::new(cpu));
    Generator::open(&device, &source, &Options::default()).unwrap()
}

#[test]
fn results_are_those_of_rust() {
    let (model, rust) = (open(), reference());
    let classes = [4, 0, 2];
    for (c, wanted) in [
        (sampling(), Sampling::default()),
        (fqgan_sampling { seed: 9, ..sampling() }, Sampling { seed: 9, ..Sampling::default() }),
        (fqgan_sampling { top_k: 1, ..sampling() }, Sampling { top_k: 1, ..Sampling::default() }),
        (
            fqgan_sampling { guidance: 1.0, temperature: 0.7, top_p: 0.9, top_k: 20, steps: 5, ..sampling() },
            Sampling {
                guidance: 1.0,
                temperature: 0.7,
                top_p: 0.9,
                top_k: 20,
                steps: 5,
                ..Sampling::default()
            },
        ),
    ] {
        let (status, text, codes) = generate(&model, &classes, &c);
        assert_eq!(status, FQGAN_OK, "{text}");
        assert_eq!(codes, rust.generate(&classes, &wanted).unwrap().into_data());
    }
    let (_, _, codes) = generate(&model, &classes, null());
    assert_eq!(codes, rust.generate(&classes, &Sampling::default()).unwrap().into_data());

    let size = classes.len() * EACH * generator_config().codebook_size;
    let (mut logits, mut wanted) = (vec![0.0; size], vec![0.0; size]);
    // SAFETY: whole arguments.
    let (status, text) = call(|error| unsafe {
        let (out, capacity) = (logits.as_mut_ptr(), logits.len());
        fqgan_generator_logits(model.0, classes.as_ptr(), codes.as_ptr(), classes.len(), out, capacity, error)
    });
    assert_eq!(status, FQGAN_OK, "{text}");
    rust.logits_into(&classes, &codes, &mut wanted).unwrap();
    assert_eq!(logits, wanted);
}

#[test]
fn rounded_weights() {
    let source = Source::open(generator_file(), Map::On).unwrap();
    let device = fqgan::backend::Device::Cpu(std::sync::Arc::new(fqgan::backend::cpu::Cpu::new(0).unwrap()));
    for (precision, wanted) in
        [(FQGAN_PRECISION_BF16, Precision::Bf16), (FQGAN_PRECISION_INT8, Precision::Int8)]
    {
        let options = fqgan_model_options {
            struct_size: size_of::<fqgan_model_options>() as u32,
            precision,
            map: FQGAN_MAP_ON,
            memory_limit: 0,
        };
        let (status, text, model) = attempt(generator_file(), &options);
        assert_eq!(status, FQGAN_OK, "{text}");
        let rust =
            Generator::open(&device, &source, &Options { precision: wanted, ..Options::default() }).unwrap();
        let (status, text, codes) = generate(&model, &[4, 0], null());
        assert_eq!(status, FQGAN_OK, "{text}");
        assert_eq!(codes, rust.generate(&[4, 0], &Sampling::default()).unwrap().into_data());
    }
}

#[test]
fn a_wrong_file_says_what_it_is_not() {
    let (status, text, _model) = attempt(tokenizer_file(), null());
    assert_eq!(status, FQGAN_ERROR_FORMAT);
    assert!(text.contains("generator"), "{text}");
}

#[test]
fn info_is_that_of_the_file() {
    let (model, config) = (open(), generator_config());
    let mut info = fqgan_generator_info {
        struct_size: 48,
        codebooks: 0,
        codebook_size: 0,
        classes: 0,
        grid_width: 0,
        grid_height: 0,
        layers: 0,
        dim: 0,
        heads: 0,
        head_layers: 0,
        parameters: 0,
    };
    // SAFETY: a whole struct.
    assert_eq!(call(|e| unsafe { fqgan_generator_get_info(model.0, &mut info, e) }).0, FQGAN_OK);
    assert_eq!((info.codebooks, info.codebook_size, info.classes), (2, 64, 5));
    assert_eq!((info.grid_width, info.grid_height), (4, 3));
    assert_eq!((info.layers, info.dim, info.heads, info.head_layers), (2, 32, 4, 1));
    assert_eq!(info.parameters, config.manifest().parameters());
    // SAFETY: NULL is checked.
    let (status, text) = call(|e| unsafe { fqgan_generator_get_info(model.0, null_mut(), e) });
    assert_eq!((status, text.as_str()), (FQGAN_ERROR_INVALID_ARGUMENT, "fqgan_generator_info is NULL"));
}

unsafe extern "C-unwind" fn falls(_: *mut c_void, done: u32, _: u32) -> i32 {
    assert!(done < 4, "the host's progress fell over");
    0
}

#[test]
fn a_panic_of_progress_becomes_an_error() {
    let model = open();
    let (_, _, wanted) = generate(&model, &[1], null());
    let (status, text, codes) =
        generate(&model, &[1], &fqgan_sampling { progress: Some(falls), ..sampling() });
    // Four positions of each sub-codebook were there.
    let four = |i: usize| if i % (EACH / 2) < 4 { wanted[i] } else { 0 };
    assert_eq!((status, codes), (FQGAN_ERROR_INTERNAL, (0..EACH).map(four).collect()));
    assert!(text.contains("the host's progress fell over"), "{text}");
    assert_eq!(generate(&model, &[1], null()).2, wanted);
}

struct Seen {
    codes: *const u32,
    len: usize,
    calls: Vec<(u32, u32, Vec<u32>)>,
}

unsafe extern "C-unwind" fn looks(user: *mut c_void, done: u32, total: u32) -> i32 {
    // SAFETY: the pointer that went with it; the buffer is not written meanwhile.
    let (seen, codes) = unsafe {
        let seen = &mut *user.cast::<Seen>();
        (&mut *user.cast::<Seen>(), std::slice::from_raw_parts(seen.codes, seen.len))
    };
    seen.calls.push((done, total, codes.to_vec()));
    0
}

#[test]
fn progress_sees_the_codes_so_far() {
    let model = open();
    // More than are made at a time.
    let classes: Vec<u32> = (0..11).map(|i| i % 5).collect();
    let (_, _, wanted) = generate(&model, &classes, null());
    let mut codes = vec![7777; 11 * EACH];
    let mut seen = Seen { codes: codes.as_ptr(), len: codes.len(), calls: Vec::new() };
    let user = std::ptr::from_mut(&mut seen).cast();
    let with = fqgan_sampling { progress: Some(looks), progress_user: user, ..sampling() };
    let (out, room) = (codes.as_mut_ptr(), codes.len());
    // SAFETY: whole arguments.
    let (status, text) =
        call(|e| unsafe { fqgan_generate(model.0, classes.as_ptr(), 11, &with, out, room, e) });
    assert_eq!((status, &codes), (FQGAN_OK, &wanted), "{text}");
    assert_eq!(seen.calls.len(), 24);
    for (call, (done, total, codes)) in seen.calls.iter().enumerate() {
        // Eight images to their end, then the other three.
        let made = |image: usize| if image < 8 { (call + 1).min(12) } else { (call + 1).saturating_sub(12) };
        assert_eq!((*done, *total), ((0..11).map(made).sum::<usize>() as u32, 132));
        for (i, code) in codes.iter().enumerate() {
            let there = i % (EACH / 2) < made(i / EACH);
            assert_eq!(*code, if there { wanted[i] } else { 0 }, "call {call}, code {i}");
        }
    }
}
