use super::Stored;
use crate::error::Result;
use crate::rng::Stream;
use crate::train::data::{Order, Purpose};
use std::sync::Arc;

/// What a step of a generator's training sees.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// (n, positions, k)
    pub codes: Vec<u32>,
    /// The class of each picture.
    pub labels: Vec<u32>,
}

/// The batches of a run over stored codes. As with pictures, sample number s = step * batch + i is the s mod len-th
/// of its epoch's [`Order`]; one view is drawn for each picture and epoch, the same for all sub-codes.
#[derive(Debug)]
pub struct Batches {
    stored: Arc<Stored>,
    order: Order,
    batch: usize,
    seed: u64,
    /// The next sample.
    next: u64,
}

impl Batches {
    /// The batches of steps `first_step`, `first_step + 1`, ..., each class as often as the next if they are
    /// `balanced`.
    ///
    /// # Errors
    /// `InvalidArgument` for a batch of 0 or of more than 2^20, or a step that no run reaches.
    pub fn new(
        stored: Arc<Stored>,
        batch: usize,
        seed: u64,
        balanced: bool,
        first_step: u64,
    ) -> Result<Batches> {
        let mut order = match balanced {
            false => Order::new(seed, stored.len())?,
            true => Order::balanced(seed, stored.labels())?,
        };
        let next = order.first_of(first_step, batch)?;
        Ok(Batches { stored, order, batch, seed, next })
    }

    /// Of each batch of `parts` times as many samples part number `part`, from 0.
    pub fn part(self, part: usize, parts: usize) -> Batches {
        Batches { order: self.order.part(part, parts, self.batch), ..self }
    }

    /// The next step's batch.
    ///
    /// # Errors
    /// `Format` when a stored code is not in its codebook.
    // An iterator's `next` would end; this does not, and each call can fail.
    #[allow(clippy::should_implement_trait)]
    pub fn next(&mut self) -> Result<Batch> {
        let len = self.stored.about().view_len();
        let mut batch = Batch { codes: vec![0; self.batch * len], labels: Vec::with_capacity(self.batch) };
        for codes in batch.codes.chunks_exact_mut(len) {
            let place = self.order.place(self.next)?;
            let picture = place.order[place.at];
            let mut stream = Stream::new(self.seed, [picture, place.epoch, Purpose::View as u32]);
            let view = stream.below(self.stored.augmentations() as u32);
            self.stored.codes(picture as usize, view as usize, codes)?;
            batch.labels.push(self.stored.label(picture as usize));
            self.next += 1;
        }
        Ok(batch)
    }
}
