//! The pictures of a run: where they are, how each is cut, and threads that make batches ahead of the step.
//!
//! What a step sees is a function of (seed, step) alone, not of threads or of where the run was resumed:
//! - Sample number s = step * batch + i is picture `permutation(seed, epoch)[s % len]` of epoch s / len
//!   ([`Order`]).
//! - Its crop and its flip are drawn from the stream of (seed, epoch, picture) ([`Augment::apply`]).
//! - A picture that cannot be read is replaced by the next of the epoch's order that can.

mod augment;
mod feed;
mod folder;
mod loader;
mod order;
mod pictures;
mod shard;

pub use augment::{Augment, Crop};
pub use feed::Feed;
pub use loader::{Batch, Loader, Unreadable};
pub use order::{Order, Place};
pub use pictures::Pictures;

/// What a stream of (seed, epoch, index) is drawn for: the third word of its place.
#[derive(Clone, Copy)]
#[repr(u32)]
pub(super) enum Purpose {
    Order = 1,
    Augment = 2,
    View = 3,
}
