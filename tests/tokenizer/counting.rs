//! An allocator that counts, a thread at a time, and the promise that it shows.

use crate::models::{open, pixels};
use fqgan::image::{View, ViewMut};
use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

struct Counting;

/// Allocations of all threads: the pool's workers are watched too.
static COUNT: AtomicUsize = AtomicUsize::new(0);

// SAFETY: the system's allocator does the work.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        COUNT.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller's.
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, p: *mut u8, layout: Layout) {
        // SAFETY: the caller's.
        unsafe { System.dealloc(p, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Other tests of this binary allocate at the same time, so this looks for one call among many that saw no
/// allocation: if a call allocated of itself, there would be none.
fn some_call_allocates_nothing(mut call: impl FnMut()) -> bool {
    call();
    call();
    (0..400).any(|_| {
        let before = COUNT.load(Ordering::Relaxed);
        call();
        COUNT.load(Ordering::Relaxed) == before
    })
}

#[test]
fn steady_state_allocates_nothing() {
    let tokenizer = open(2, 2);
    let picture = pixels(1, 32, 32);
    let images = [View::rgb8(&picture, 32, 32).unwrap(); 2];
    let mut codes = vec![0; 2 * 2 * 64];
    assert!(some_call_allocates_nothing(|| tokenizer.encode_into(&images, &mut codes).unwrap()), "encode");

    let grid = tokenizer.grid(32, 32).unwrap();
    let mut out = vec![0u8; 32 * 32 * 3];
    let mut views = [ViewMut::rgb8(&mut out, 32, 32).unwrap()];
    let mut decode = || tokenizer.decode_into(&codes[..128], grid, 0, &mut views).unwrap();
    assert!(some_call_allocates_nothing(&mut decode), "decode");

    let mut latents = vec![0.0; 2 * 2 * 4 * 64];
    assert!(
        some_call_allocates_nothing(|| tokenizer.latents_into(&images, &mut latents).unwrap()),
        "latents"
    );
}
