use super::Purpose;
use crate::error::{Error, Result};
use crate::rng::Stream;
use std::sync::Arc;

/// Which of `len` things the samples of a run are: each once an epoch, in another order every epoch.
#[derive(Clone, Debug)]
pub struct Order {
    seed: u64,
    len: u32,
    /// Of each batch this order has part number `part[0]` of `part[1]`, `each` samples long.
    part: [u64; 2],
    each: u64,
    /// The epoch that was asked for last, and its order.
    last: Option<(u32, Arc<[u32]>)>,
}

/// A sample's place.
#[derive(Clone, Debug)]
pub struct Place {
    /// The epoch, from 0.
    pub epoch: u32,
    /// Where it stands in the epoch's order.
    pub at: usize,
    /// The epoch's order, a permutation of 0 .. len.
    pub order: Arc<[u32]>,
}

impl Order {
    /// The orders of `len` things under a seed.
    ///
    /// # Errors
    /// `InvalidArgument` for none, or 2^32 and more.
    pub fn new(seed: u64, len: usize) -> Result<Order> {
        match u32::try_from(len) {
            Ok(len) if len > 0 => Ok(Order { seed, len, part: [0, 1], each: 1, last: None }),
            _ => Err(Error::invalid(format!("an order of {len} things, expected 1 to 2^32 - 1"))),
        }
    }

    /// The seed of the orders.
    pub(super) fn seed(&self) -> u64 {
        self.seed
    }

    /// Of each batch of `parts * each` samples only those of part number `part`: sample number 0 is its first.
    pub(in crate::train) fn part(self, part: usize, parts: usize, each: usize) -> Order {
        Order { part: [part as u64, parts as u64], each: each as u64, ..self }
    }

    /// The number of the first sample of a step of `batch` samples.
    ///
    /// # Errors
    /// `InvalidArgument` for a batch of 0 or of more than 2^20, or a step that no run reaches.
    pub(in crate::train) fn first_of(&mut self, step: u64, batch: usize) -> Result<u64> {
        if !(1..=1 << 20).contains(&batch) {
            return Err(Error::invalid(format!("a batch of {batch} pictures, expected 1 to 2^20")));
        }
        let number = step.checked_mul(batch as u64);
        let number =
            number.ok_or_else(|| Error::invalid(format!("step {step} is past the end of any run")))?;
        self.place(number)?;
        Ok(number)
    }

    /// The place of sample `number`, counted from the beginning of the run. Cheap within an epoch; another epoch's
    /// order is computed anew, 4 bytes a thing.
    ///
    /// # Errors
    /// `InvalidArgument` past epoch 2^32 - 1.
    pub fn place(&mut self, number: u64) -> Result<Place> {
        let len = u64::from(self.len);
        let [part, parts] = self.part;
        let (step, at) = (number / self.each, number % self.each);
        let number = step
            .checked_mul(parts)
            .and_then(|first| first.checked_add(part)?.checked_mul(self.each)?.checked_add(at))
            .ok_or_else(|| Error::invalid(format!("sample {number} is past the end of any run")))?;
        let epoch = u32::try_from(number / len)
            .map_err(|_| Error::invalid(format!("sample {number} is past the last epoch, 2^32 - 1")))?;
        let order = match &self.last {
            Some((last, order)) if *last == epoch => order.clone(),
            _ => {
                let order = permutation(self.seed, epoch, self.len);
                self.last = Some((epoch, order.clone()));
                order
            }
        };
        Ok(Place { epoch, at: (number % len) as usize, order })
    }
}

/// Fisher and Yates, from the stream of the epoch.
fn permutation(seed: u64, epoch: u32, len: u32) -> Arc<[u32]> {
    let mut stream = Stream::new(seed, [0, epoch, Purpose::Order as u32]);
    let mut order: Vec<u32> = (0..len).collect();
    for i in (1..len).rev() {
        order.swap(i as usize, stream.below(i + 1) as usize);
    }
    order.into()
}
