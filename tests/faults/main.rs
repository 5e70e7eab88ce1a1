//! What must not bring a host down: memory that runs out, host functions that panic, any sequence of calls.

#[path = "../common/calls.rs"]
mod calls;
#[path = "../capi/models.rs"]
mod models;

mod memory;
mod panics;
mod sequences;
#[cfg(all(feature = "cli", feature = "train"))]
mod training;

use std::sync::{Mutex, MutexGuard, PoisonError};

/// The allocator of the process fails for one test at a time.
fn alone() -> MutexGuard<'static, ()> {
    static LOCK: Mutex<()> = Mutex::new(());
    LOCK.lock().unwrap_or_else(PoisonError::into_inner)
}
