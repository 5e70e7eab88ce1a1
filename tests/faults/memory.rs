//! Working memory that is not there: the n-th piece fails, for each n until none is left to fail.

use crate::models::{generator_file, tokenizer_file};
use fqgan::capi::*;
use std::alloc::{GlobalAlloc, Layout, System};
use std::ffi::CString;
use std::ptr::{null, null_mut};
use std::sync::atomic::{AtomicI64, Ordering};

struct Failing;

/// Pieces of working memory until one fails; negative: none does.
static LEFT: AtomicI64 = AtomicI64::new(-1);

/// Tensors begin at such addresses, and nothing else does.
const ALIGNMENT: usize = 64;

fn fails(layout: Layout) -> bool {
    layout.align() == ALIGNMENT
        && LEFT.load(Ordering::Relaxed) >= 0
        && LEFT.fetch_sub(1, Ordering::Relaxed) == 0
}

// SAFETY: the system's allocator does the work, and may say no.
unsafe impl GlobalAlloc for Failing {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's.
        if fails(layout) { null_mut() } else { unsafe { System.alloc(layout) } }
    }
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's.
        if fails(layout) { null_mut() } else { unsafe { System.alloc_zeroed(layout) } }
    }
    unsafe fn dealloc(&self, p: *mut u8, layout: Layout) {
        // SAFETY: the caller's.
        unsafe { System.dealloc(p, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Failing = Failing;

struct Models {
    tokenizer: *mut fqgan_tokenizer,
    generator: *mut fqgan_generator,
}

impl Drop for Models {
    fn drop(&mut self) {
        // SAFETY: opened once.
        unsafe {
            fqgan_tokenizer_close(self.tokenizer);
            fqgan_generator_close(self.generator);
        }
    }
}

/// The results of all that a model computes.
#[derive(Clone, PartialEq, Debug)]
struct Results {
    codes: Vec<u32>,
    latents: Vec<f32>,
    pixels: Vec<u8>,
    made: Vec<u32>,
    logits: Vec<f32>,
}

/// A part of the work.
type Call = fn(&Models, &mut Results) -> fqgan_status;

fn image(pixels: *mut u8) -> fqgan_image {
    fqgan_image { pixels: pixels.cast(), width: 16, height: 16, row_stride: 0, format: FQGAN_PIXEL_RGB8 }
}

const CALLS: [(&str, Call); 5] = [
    ("encode", |m, r| {
        let mut pixels = crate::models::pixels(3, 16, 16);
        // SAFETY: whole arguments.
        unsafe {
            fqgan_encode(m.tokenizer, &image(pixels.as_mut_ptr()), 1, r.codes.as_mut_ptr(), 32, null_mut())
        }
    }),
    ("latents", |m, r| {
        let mut pixels = crate::models::pixels(3, 16, 16);
        let to = r.latents.as_mut_ptr();
        // SAFETY: whole arguments.
        unsafe { fqgan_latents(m.tokenizer, &image(pixels.as_mut_ptr()), 1, to, 128, null_mut()) }
    }),
    ("decode", |m, r| {
        let codes: Vec<u32> = (0..32).map(|i| i * 2).collect();
        let to = image(r.pixels.as_mut_ptr());
        // SAFETY: whole arguments.
        unsafe { fqgan_decode(m.tokenizer, codes.as_ptr(), 1, 4, 4, 0, &to, null_mut()) }
    }),
    ("generate", |m, r| {
        // SAFETY: whole arguments.
        unsafe {
            fqgan_generate(m.generator, [1, 3].as_ptr(), 2, null(), r.made.as_mut_ptr(), 48, null_mut())
        }
    }),
    ("logits", |m, r| {
        let codes: Vec<u32> = (0..24).collect();
        let to = r.logits.as_mut_ptr();
        // SAFETY: whole arguments.
        unsafe {
            fqgan_generator_logits(m.generator, [5].as_ptr(), codes.as_ptr(), 1, to, 24 * 64, null_mut())
        }
    }),
];

fn empty() -> Results {
    Results {
        codes: vec![0; 32],
        latents: vec![0.0; 128],
        pixels: vec![0; 768],
        made: vec![0; 48],
        logits: vec![0.0; 1536],
    }
}

/// Models whose weights are not rearranged yet, with working memory of their own.
fn open() -> Result<Models, fqgan_status> {
    let mut runtime = null_mut();
    let mut models = Models { tokenizer: null_mut(), generator: null_mut() };
    let path = |path: &std::path::Path| CString::new(path.to_str().unwrap()).unwrap();
    let (tokenizer, generator) = (path(tokenizer_file()), path(generator_file()));
    // SAFETY: whole arguments.
    unsafe {
        assert_eq!(fqgan_runtime_create(null(), &mut runtime, null_mut()), FQGAN_OK);
        let a = fqgan_tokenizer_open(runtime, tokenizer.as_ptr(), null(), &mut models.tokenizer, null_mut());
        let b = fqgan_generator_open(runtime, generator.as_ptr(), null(), &mut models.generator, null_mut());
        fqgan_runtime_destroy(runtime);
        if a != FQGAN_OK || b != FQGAN_OK { Err(a.max(b)) } else { Ok(models) }
    }
}

#[test]
fn the_nth_piece_of_working_memory_fails() {
    let _alone = crate::alone();
    let mut wanted = empty();
    let models = open().unwrap();
    CALLS.iter().for_each(|(name, call)| assert_eq!(call(&models, &mut wanted), FQGAN_OK, "{name}"));
    drop(models);
    for (name, call) in CALLS {
        let mut failed = 0;
        for n in 0.. {
            let models = open().unwrap();
            let mut results = empty();
            LEFT.store(n, Ordering::Relaxed);
            let status = call(&models, &mut results);
            let struck = LEFT.swap(-1, Ordering::Relaxed) < 0;
            if !struck {
                assert_eq!(status, FQGAN_OK, "{name}: with all memory");
                break;
            }
            assert_eq!(status, FQGAN_ERROR_OUT_OF_MEMORY, "{name}: without piece {n}");
            failed += 1;
            if name != "decode" && name != "logits" {
                assert_eq!(results, empty(), "{name}: without piece {n}");
            }
            // The same model, with memory again.
            let mut results = empty();
            CALLS.iter().for_each(|(other, call)| {
                assert_eq!(call(&models, &mut results), FQGAN_OK, "{other} after {name} without piece {n}");
            });
            assert_eq!(results, wanted, "after {name} without piece {n}");
        }
        assert!(failed > 10, "{name}: {failed} pieces");
    }
}
