//! An allocator that counts, and the promise that it shows.

use crate::models::open;
use fqgan::far::Sampling;
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

/// Other tests of this binary allocate at the same time, so this looks for one step of each position among many
/// that saw no allocation: if a step allocated of itself, there would be none.
#[test]
fn a_step_allocates_nothing() {
    let generator = open(2);
    let sampling = Sampling { top_k: 30, top_p: 0.9, ..Sampling::default() };
    let mut quiet = [false; 12];
    for _ in 0..400 {
        let mut generation = generator.start(&[0, 3], &sampling, &[]).unwrap();
        loop {
            let before = COUNT.load(Ordering::Relaxed);
            let Some(position) = generation.next() else { break };
            let silent = COUNT.load(Ordering::Relaxed) == before;
            quiet[position.unwrap()] |= silent;
        }
        if quiet == [true; 12] {
            return;
        }
    }
    panic!("positions that allocate: {quiet:?}");
}
