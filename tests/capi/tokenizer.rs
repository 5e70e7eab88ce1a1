//! The tokenizer's functions: the same results as from Rust, and hostile calls.

use crate::models::{pixels, tokenizer_config, tokenizer_file};
use crate::support::{Runtime, call, message};
use fqgan::capi::*;
use fqgan::image::View;
use fqgan::tokenizer::{Grid, Options, Tokenizer};
use fqgan::weights::{Map, Source};
use std::ffi::{CString, c_char, c_void};
use std::ptr::{null, null_mut};
use std::sync::atomic::{AtomicBool, Ordering};

/// Codes of a 32 x 32 image: two sub-codebooks of 8 x 8.
const CODES: usize = 128;

pub struct Model(pub *mut fqgan_tokenizer);

// SAFETY: calls on one model at the same time are safe; that is what the tests check.
unsafe impl Sync for Model {}

impl Drop for Model {
    fn drop(&mut self) {
        // SAFETY: opened once, closed once.
        unsafe { fqgan_tokenizer_close(self.0) };
    }
}

fn c_path(path: &std::path::Path) -> CString {
    CString::new(path.to_str().unwrap()).unwrap()
}

fn options() -> fqgan_model_options {
    fqgan_model_options { struct_size: 24, precision: 0, map: 0, memory_limit: 0 }
}

fn open_with(runtime: *mut fqgan_runtime, options: *const fqgan_model_options) -> Model {
    let (path, mut model) = (c_path(tokenizer_file()), null_mut());
    // SAFETY: whole arguments.
    let outcome =
        call(|error| unsafe { fqgan_tokenizer_open(runtime, path.as_ptr(), options, &mut model, error) });
    assert_eq!(outcome, (FQGAN_OK, String::new()));
    Model(model)
}

fn open() -> Model {
    // The runtime may go first.
    open_with(Runtime::new().0, null())
}

fn image(pixels: &[u8], width: u32, height: u32) -> fqgan_image {
    let pixels = pixels.as_ptr().cast_mut().cast();
    fqgan_image { pixels, width, height, row_stride: 0, format: FQGAN_PIXEL_RGB8 }
}

fn encode(model: &Model, images: &[fqgan_image], codes: &mut [u32]) -> (i32, String) {
    // SAFETY: whole arguments.
    call(|error| unsafe {
        fqgan_encode(model.0, images.as_ptr(), images.len(), codes.as_mut_ptr(), codes.len(), error)
    })
}

fn decode(
    model: &Model,
    codes: &[u32],
    grid: (u32, u32),
    mask: u32,
    images: &[fqgan_image],
) -> (i32, String) {
    // SAFETY: whole arguments.
    call(|error| unsafe {
        fqgan_decode(model.0, codes.as_ptr(), images.len(), grid.0, grid.1, mask, images.as_ptr(), error)
    })
}

fn reference() -> Tokenizer {
    let source = Source::open(tokenizer_file(), Map::On).unwrap();
    let cpu = fqgan::backend::cpu::Cpu::new(0).unwrap();
    let device = fqgan::backend::Device::Cpu(std::sync::Arc::new(cpu));
    Tokenizer::open(&device, &source, &Options::default()).unwrap()
}

#[test]
fn results_are_those_of_rust() {
    let (model, rust) = (open(), reference());
    let pictures: Vec<Vec<u8>> = (0..3).map(|seed| pixels(seed, 32, 32)).collect();
    let images: Vec<_> = pictures.iter().map(|p| image(p, 32, 32)).collect();
    let views: Vec<_> = pictures.iter().map(|p| View::rgb8(p, 32, 32).unwrap()).collect();

    let (mut codes, mut wanted) = (vec![0; 3 * CODES], vec![0; 3 * CODES]);
    assert_eq!(encode(&model, &images, &mut codes).0, FQGAN_OK);
    rust.encode_into(&views, &mut wanted).unwrap();
    assert_eq!(codes, wanted);
    assert!(codes.iter().collect::<std::collections::BTreeSet<_>>().len() > 8, "codes vary");

    let (mut latents, mut wanted) = (vec![0.0; 3 * CODES * 4], vec![0.0; 3 * CODES * 4]);
    // SAFETY: whole arguments.
    let (status, text) = call(|error| unsafe {
        fqgan_latents(model.0, images.as_ptr(), 3, latents.as_mut_ptr(), latents.len(), error)
    });
    assert_eq!(status, FQGAN_OK, "{text}");
    rust.latents_into(&views, &mut wanted).unwrap();
    assert_eq!(latents, wanted);

    for mask in 0..4 {
        let outputs = vec![vec![7u8; 32 * 32 * 3]; 3];
        let images: Vec<_> = outputs.iter().map(|p| image(p, 32, 32)).collect();
        assert_eq!(decode(&model, &codes, (8, 8), mask, &images).0, FQGAN_OK);
        let mut wanted = vec![vec![0u8; 32 * 32 * 3]; 3];
        let mut views: Vec<_> =
            wanted.iter_mut().map(|p| fqgan::image::ViewMut::rgb8(p, 32, 32).unwrap()).collect();
        rust.decode_into(&codes, Grid { height: 8, width: 8 }, mask, &mut views).unwrap();
        assert_eq!(outputs, wanted, "mask {mask}");
    }
}

#[test]
fn every_format_and_stride_gives_the_same_codes() {
    let model = open();
    let (width, height) = (16usize, 24usize);
    let rgb = pixels(5, width, height);
    let count = 2 * 4 * 6;
    let mut wanted = vec![0; count];
    assert_eq!(encode(&model, &[image(&rgb, 16, 24)], &mut wanted).0, FQGAN_OK);
    let value = |x: usize, y: usize, c: usize| rgb[(y * width + x) * 3 + c];
    let float = |b: u8| (f32::from(b) / 255.0 - 0.5) / 0.5;
    let stride = 16 * 12 + 8;
    for format in 0..5 {
        let mut memory = vec![0x7Fu8; stride * height * 3 + 1];
        // Floats at an odd address: no alignment is asked for.
        let odd = usize::from(format >= 3);
        for (y, x) in (0..height).flat_map(|y| (0..width).map(move |x| (y, x))) {
            let [r, g, b] = [0, 1, 2].map(|c| value(x, y, c));
            let mut put = |at: usize, bytes: &[u8]| memory[odd + at..][..bytes.len()].copy_from_slice(bytes);
            match format {
                FQGAN_PIXEL_RGB8 => put(y * stride + 3 * x, &[r, g, b]),
                FQGAN_PIXEL_RGBA8 => put(y * stride + 4 * x, &[r, g, b, 9]),
                FQGAN_PIXEL_BGRA8 => put(y * stride + 4 * x, &[b, g, r, 9]),
                FQGAN_PIXEL_RGB_F32 => {
                    for (c, b) in [r, g, b].into_iter().enumerate() {
                        put(y * stride + 12 * x + 4 * c, &float(b).to_ne_bytes());
                    }
                }
                _ => {
                    for (c, b) in [r, g, b].into_iter().enumerate() {
                        put((c * height + y) * stride + 4 * x, &float(b).to_ne_bytes());
                    }
                }
            }
        }
        let pixels = memory[odd..].as_ptr().cast_mut().cast();
        let image = fqgan_image { pixels, width: 16, height: 24, row_stride: stride, format };
        let mut codes = vec![0; count];
        assert_eq!(encode(&model, &[image], &mut codes), (FQGAN_OK, String::new()));
        assert_eq!(codes, wanted, "format {format}");
    }
}

#[test]
fn info_is_filled_as_far_as_the_struct_goes() {
    let model = open();
    let empty = fqgan_tokenizer_info {
        struct_size: 32,
        codebooks: 9,
        codebook_size: 9,
        code_dim: 9,
        downsample: 9,
        image_size: 9,
        parameters: 9,
    };
    let get = |struct_size| {
        let mut info = fqgan_tokenizer_info { struct_size, ..empty };
        // SAFETY: a whole struct.
        let (status, text) = call(|error| unsafe { fqgan_tokenizer_get_info(model.0, &mut info, error) });
        assert_eq!(info.struct_size, struct_size);
        (status, text, info)
    };
    let (status, _, info) = get(32);
    assert_eq!(status, FQGAN_OK);
    assert_eq!((info.codebooks, info.codebook_size, info.code_dim), (2, 64, 4));
    assert_eq!((info.downsample, info.image_size), (4, 32));
    assert_eq!(info.parameters, tokenizer_config().manifest().parameters());
    let (status, _, info) = get(16);
    assert_eq!((status, info.code_dim, info.downsample, info.parameters), (FQGAN_OK, 4, 9, 9));
    let (status, text, info) = get(4);
    assert_eq!((status, info.codebooks), (FQGAN_ERROR_INVALID_ARGUMENT, 9), "{text}");
}

#[test]
fn weights_may_come_from_memory_or_be_read() {
    let mut bytes = std::fs::read(tokenizer_file()).unwrap();
    let runtime = Runtime::new();
    let open_memory = |bytes: &[u8], pointer: *const c_void| {
        let mut model = std::ptr::dangling_mut();
        // SAFETY: whole arguments; the bytes outlive the model.
        let (status, text) = call(|error| unsafe {
            fqgan_tokenizer_open_memory(runtime.0, pointer, bytes.len(), null(), &mut model, error)
        });
        assert_eq!(status == FQGAN_OK, !model.is_null());
        (status, text, Model(model))
    };
    let picture = pixels(1, 32, 32);
    let images = [image(&picture, 32, 32)];
    let mut wanted = vec![0; CODES];
    assert_eq!(encode(&open(), &images, &mut wanted).0, FQGAN_OK);
    // At any alignment.
    bytes.insert(0, 0);
    let part = &bytes[1..];
    let (status, _, model) = open_memory(part, part.as_ptr().cast());
    assert_eq!(status, FQGAN_OK);
    let read = open_with(runtime.0, &fqgan_model_options { map: FQGAN_MAP_OFF, ..options() });
    for model in [&model, &read] {
        let mut codes = vec![0; CODES];
        assert_eq!(encode(model, &images, &mut codes).0, FQGAN_OK);
        assert_eq!(codes, wanted);
    }
    for len in [0, 7, 8, 100, part.len() - 1] {
        assert_eq!(open_memory(&part[..len], part.as_ptr().cast()).0, FQGAN_ERROR_FORMAT, "{len} bytes");
    }
    assert_eq!(open_memory(part, null()).1, "bytes is NULL");
}

#[test]
fn what_cannot_be_opened_says_why() {
    let runtime = Runtime::new();
    let attempt = |runtime: *mut fqgan_runtime, path: *const c_char, options: *const fqgan_model_options| {
        let mut model = std::ptr::dangling_mut();
        // SAFETY: whole arguments or NULL.
        let outcome =
            call(|error| unsafe { fqgan_tokenizer_open(runtime, path, options, &mut model, error) });
        assert!(outcome.0 != FQGAN_OK && model.is_null(), "NULL on failure");
        outcome
    };
    let good = c_path(tokenizer_file());
    for (options, status, want) in [
        (fqgan_model_options { precision: 3, ..options() }, 1, "precision is 3, expected one of"),
        (fqgan_model_options { map: -1, ..options() }, 1, "map is -1"),
        (fqgan_model_options { struct_size: 4, ..options() }, 1, "struct_size is 4"),
        (fqgan_model_options { precision: FQGAN_PRECISION_INT8, ..options() }, 4, "int8"),
    ] {
        let (found, text) = attempt(runtime.0, good.as_ptr(), &options);
        assert!(found == status && text.contains(want), "{found}: {text}");
    }
    let (status, text) = attempt(runtime.0, c"/nowhere/model.safetensors".as_ptr(), null());
    assert!(status == FQGAN_ERROR_IO && text.contains("/nowhere/model.safetensors"), "{text}");
    let (status, text) = attempt(runtime.0, c"Cargo.toml".as_ptr(), null());
    assert!(status == FQGAN_ERROR_FORMAT && text.contains("Cargo.toml"), "{text}");
    assert_eq!(attempt(runtime.0, c"src".as_ptr(), null()).0, FQGAN_ERROR_IO);
    let (status, text) = attempt(runtime.0, c"caf\xE9".as_ptr(), null());
    assert!(status == FQGAN_ERROR_INVALID_ARGUMENT && text.contains("not UTF-8"), "{text}");
    assert!(attempt(runtime.0, c"".as_ptr(), null()).1.contains("path is empty"));
    assert_eq!(attempt(runtime.0, null(), null()).1, "path is NULL");
    assert_eq!(attempt(null_mut(), good.as_ptr(), null()).1, "runtime is NULL");
    // SAFETY: NULL is checked, and accepted.
    unsafe {
        let (status, text) =
            call(|error| fqgan_tokenizer_open(runtime.0, good.as_ptr(), null(), null_mut(), error));
        assert_eq!((status, text.as_str()), (FQGAN_ERROR_INVALID_ARGUMENT, "tokenizer is NULL"));
        fqgan_tokenizer_close(null_mut());
    }
}

#[test]
fn wrong_calls_write_nothing() {
    let model = open();
    let picture = pixels(1, 32, 32);
    let good = image(&picture, 32, 32);
    let mut codes = vec![7; 6 * CODES];
    for (images, want) in [
        (
            vec![fqgan_image { format: 5, ..good }],
            "images[0]: format is 5, expected one of FQGAN_PIXEL_RGB8 (0)",
        ),
        (vec![good, fqgan_image { format: -1, ..good }], "images[1]: format is -1"),
        (vec![good, fqgan_image { pixels: null_mut(), ..good }], "images[1]: pixels is NULL"),
        (vec![fqgan_image { width: 30, ..good }], "multiples of 4"),
        (vec![fqgan_image { height: 0, ..good }], "positive multiples"),
        (vec![fqgan_image { row_stride: 95, ..good }], "images[0]"),
        (vec![fqgan_image { row_stride: usize::MAX, ..good }], "images[0]"),
        (vec![fqgan_image { width: 0xFFFF_FFFC, height: 0xFFFF_FFFC, ..good }], ""),
        (
            vec![good, good, fqgan_image { width: 16, ..good }],
            "images[2] is 16 x 32 pixels, the first is 32 x 32",
        ),
        (vec![], "count is 0"),
    ] {
        let (status, text) = encode(&model, &images, &mut codes);
        assert_eq!(status, FQGAN_ERROR_INVALID_ARGUMENT);
        assert!(text.contains(want), "{text:?} has not {want:?}");
    }
    let (status, text) = encode(&model, &[good], &mut codes[..CODES - 1]);
    assert_eq!(status, FQGAN_ERROR_INVALID_ARGUMENT);
    assert!(text.contains("capacity is 127 elements, 128 are needed"), "{text}");
    // A bad value in the last image, past those that go through the network at once.
    let mut floats = vec![0.5f32; 32 * 32 * 3];
    floats[5] = f32::NAN;
    let bad = fqgan_image { pixels: floats.as_mut_ptr().cast(), format: FQGAN_PIXEL_RGB_F32, ..good };
    let (status, text) = encode(&model, &[good, good, good, good, good, bad], &mut codes);
    assert_eq!(status, FQGAN_ERROR_INVALID_ARGUMENT);
    assert!(text.contains("images[5]: pixel (1, 0), blue: the value is NaN"), "{text}");
    // SAFETY: NULL is checked, and so is a count that cannot be.
    unsafe {
        let codes = codes.as_mut_ptr();
        let text = |outcome: (i32, String)| {
            assert_eq!(outcome.0, FQGAN_ERROR_INVALID_ARGUMENT);
            outcome.1
        };
        assert_eq!(text(call(|e| fqgan_encode(null_mut(), &good, 1, codes, CODES, e))), "tokenizer is NULL");
        assert_eq!(text(call(|e| fqgan_encode(model.0, null(), 1, codes, CODES, e))), "images is NULL");
        assert_eq!(text(call(|e| fqgan_encode(model.0, &good, 1, null_mut(), CODES, e))), "codes is NULL");
        text(call(|e| fqgan_encode(model.0, &good, usize::MAX, codes, CODES, e)));
        text(call(|e| fqgan_encode(model.0, &good, usize::MAX / 64, codes, CODES, e)));
        let odd = codes.cast::<u8>().add(2).cast();
        assert!(text(call(|e| fqgan_encode(model.0, &good, 1, odd, CODES, e))).contains("not aligned"));
        let short = [0.0f32; 4].as_mut_ptr();
        assert!(text(call(|e| fqgan_latents(model.0, &good, 1, short, 4, e))).contains("512 are needed"));
    }
    assert!(codes.iter().all(|code| *code == 7));
}

#[test]
fn wrong_codes_write_no_image() {
    let model = open();
    let outputs = vec![vec![7u8; 32 * 32 * 3]; 6];
    let images: Vec<_> = outputs.iter().map(|p| image(p, 32, 32)).collect();
    let mut codes = vec![1u32; 6 * CODES];
    codes[5 * CODES + 64 + 8 + 2] = 64;
    let (status, text) = decode(&model, &codes, (8, 8), 0, &images);
    assert_eq!(status, FQGAN_ERROR_INVALID_ARGUMENT);
    assert!(text.contains("code 64 at image 5, sub-codebook 1, row 1, column 2"), "{text}");
    codes.fill(1);
    for (grid, mask, count, want) in [
        ((8, 8), 4, 1, "mask"),
        ((8, 7), 0, 1, "expected 32 x 28"),
        ((0, 8), 0, 1, "0 columns"),
        ((u32::MAX, u32::MAX), 0, 1, ""),
        ((8, 8), 0, 0, "count is 0"),
    ] {
        let (status, text) = decode(&model, &codes, grid, mask, &images[..count]);
        assert_eq!(status, FQGAN_ERROR_INVALID_ARGUMENT);
        assert!(text.contains(want), "{text:?} has not {want:?}");
    }
    // SAFETY: NULL is checked.
    let (_, text) = call(|e| unsafe { fqgan_decode(model.0, null(), 1, 8, 8, 0, images.as_ptr(), e) });
    assert_eq!(text, "codes is NULL");
    assert!(outputs.iter().flatten().all(|byte| *byte == 7));
}

#[test]
fn a_memory_limit_is_an_error_and_no_more() {
    let runtime = Runtime::new();
    let model = open_with(runtime.0, &fqgan_model_options { memory_limit: 1000, ..options() });
    let picture = pixels(1, 32, 32);
    let mut codes = vec![7; CODES];
    for _ in 0..2 {
        let (status, text) = encode(&model, &[image(&picture, 32, 32)], &mut codes);
        assert_eq!(status, FQGAN_ERROR_OUT_OF_MEMORY, "{text}");
        assert!(text.contains("limit"), "{text}");
    }
    assert_eq!(codes, vec![7; CODES]);
}

#[test]
fn calls_at_the_same_time_give_what_they_give_alone() {
    let model = open();
    let pictures: Vec<Vec<u8>> = (0..6).map(|seed| pixels(seed, 32, 32)).collect();
    let run = |seed: usize| {
        let mut codes = vec![0; CODES];
        assert_eq!(encode(&model, &[image(&pictures[seed], 32, 32)], &mut codes).0, FQGAN_OK);
        let out = vec![0u8; 32 * 32 * 3];
        assert_eq!(decode(&model, &codes, (8, 8), 0, &[image(&out, 32, 32)]).0, FQGAN_OK);
        (codes, out)
    };
    let alone: Vec<_> = (0..6).map(run).collect();
    let run = &run;
    let together: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..6).map(|seed| scope.spawn(move || [run(seed), run(seed)])).collect();
        threads.into_iter().map(|t| t.join().unwrap()).collect()
    });
    for (alone, together) in alone.iter().zip(&together) {
        assert!(together.iter().all(|t| t == alone));
    }
}

type Job = Option<unsafe extern "C" fn(*mut c_void, usize)>;

/// Runs the jobs, and panics after them when `user` says so.
unsafe extern "C-unwind" fn host(user: *mut c_void, jobs: usize, job: Job, context: *mut c_void) {
    for index in (0..jobs).rev() {
        // SAFETY: as the contract says.
        unsafe { job.unwrap()(context, index) };
    }
    // SAFETY: the flag that the test passed.
    if unsafe { &*user.cast::<AtomicBool>() }.load(Ordering::Relaxed) {
        panic!("the host's job system fell over");
    }
}

#[test]
fn a_panic_becomes_an_error_and_the_model_stays_usable() {
    let fall = AtomicBool::new(false);
    let options = fqgan_runtime_options {
        struct_size: 32,
        device: FQGAN_DEVICE_CPU,
        device_index: 0,
        threads: 3,
        parallel: Some(host),
        parallel_user: std::ptr::from_ref(&fall).cast_mut().cast(),
        cuda_context: std::ptr::null_mut(),
        cuda_stream: std::ptr::null_mut(),
    };
    let mut runtime = null_mut();
    // SAFETY: whole arguments.
    assert_eq!(call(|e| unsafe { fqgan_runtime_create(&options, &mut runtime, e) }).0, FQGAN_OK);
    let model = open_with(runtime, null());
    // SAFETY: made above; the model keeps what it needs.
    unsafe { fqgan_runtime_destroy(runtime) };

    let picture = pixels(2, 32, 32);
    let images = [image(&picture, 32, 32)];
    let mut wanted = vec![0; CODES];
    assert_eq!(encode(&open(), &images, &mut wanted).0, FQGAN_OK);
    for falls in [false, true, false, true, false] {
        fall.store(falls, Ordering::Relaxed);
        let mut codes = vec![7; CODES];
        let (status, text) = encode(&model, &images, &mut codes);
        if falls {
            assert_eq!((status, codes), (FQGAN_ERROR_INTERNAL, vec![7; CODES]));
            assert!(text.contains("the host's job system fell over"), "{text}");
        } else {
            assert_eq!((status, codes), (FQGAN_OK, wanted.clone()), "{text}");
        }
    }
}

/// The same test in a process of its own, whose output is seen.
#[test]
fn a_panic_prints_nothing() {
    let test = "tokenizer::a_panic_becomes_an_error_and_the_model_stays_usable";
    let output = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture", "--test-threads=1"])
        .output()
        .unwrap();
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
    assert!(!said.contains("fell over") && !said.contains("panicked"), "{said}");
}

#[test]
fn a_null_error_is_fine_and_a_used_one_is_cleared() {
    let model = open();
    let picture = pixels(1, 32, 32);
    let (good, mut codes) = (image(&picture, 32, 32), vec![0; CODES]);
    let mut error = crate::support::error();
    // SAFETY: whole arguments or NULL.
    unsafe {
        let codes = codes.as_mut_ptr();
        assert_eq!(fqgan_encode(model.0, &good, 1, codes, 5, null_mut()), FQGAN_ERROR_INVALID_ARGUMENT);
        assert_eq!(fqgan_encode(model.0, &good, 1, codes, 5, &mut error), FQGAN_ERROR_INVALID_ARGUMENT);
        assert!(!message(&error).is_empty());
        assert_eq!(fqgan_encode(model.0, &good, 1, codes, CODES, &mut error), FQGAN_OK);
    }
    assert_eq!((error.status, message(&error)), (FQGAN_OK, String::new()));
}
