use super::Purpose;
use crate::error::{Error, Result};
use crate::rng::Stream;
use std::sync::Arc;

/// Which of `len` things the samples of a run are: each once an epoch, in another order every epoch. Or, where classes
/// are balanced, each class as often an epoch as the next.
#[derive(Clone, Debug)]
pub struct Order {
    seed: u64,
    /// Samples of an epoch.
    len: u32,
    /// What each class has, where classes are balanced; none is empty.
    classes: Option<Arc<[Vec<u32>]>>,
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
    /// The epoch's order: a permutation of 0 .. len, unless classes are balanced.
    pub order: Arc<[u32]>,
}

impl Order {
    /// The orders of `len` things under a seed.
    ///
    /// # Errors
    /// `InvalidArgument` for none, or 2^32 and more.
    pub fn new(seed: u64, len: usize) -> Result<Order> {
        match u32::try_from(len) {
            Ok(len) if len > 0 => Ok(Order { seed, len, classes: None, part: [0, 1], each: 1, last: None }),
            _ => Err(Error::invalid(format!("an order of {len} things, expected 1 to 2^32 - 1"))),
        }
    }

    /// Orders in which each class is drawn as often as the next, whatever it has of the things, whose classes are
    /// `labels`. An epoch has as many samples as there are things, rounded up to the same number of each class: of a
    /// large class other things every epoch, those of a small one several times, none twice before each was there.
    ///
    /// # Errors
    /// As [`Order::new`].
    pub fn balanced(seed: u64, labels: &[u32]) -> Result<Order> {
        let order = Order::new(seed, labels.len())?;
        let most = labels.iter().max().map_or(0, |&label| label as usize + 1);
        let mut classes = vec![Vec::new(); most];
        for (thing, &label) in (0..).zip(labels) {
            classes[label as usize].push(thing);
        }
        classes.retain(|class| !class.is_empty());
        let len = labels.len().next_multiple_of(classes.len());
        let len = u32::try_from(len).map_err(|_| Error::invalid("an order of 2^32 things and more"))?;
        Ok(Order { len, classes: Some(classes.into()), ..order })
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
                let mut stream = Stream::new(self.seed, [0, epoch, Purpose::Order as u32]);
                let order = match &self.classes {
                    None => permutation(&mut stream, self.len),
                    Some(classes) => balanced(&mut stream, self.len, classes),
                };
                self.last = Some((epoch, order.clone()));
                order
            }
        };
        Ok(Place { epoch, at: (number % len) as usize, order })
    }
}

/// 0 .. len in an order that the stream gives.
fn permutation(stream: &mut Stream, len: u32) -> Arc<[u32]> {
    let mut order: Vec<u32> = (0..len).collect();
    shuffle(stream, &mut order);
    order.into()
}

/// `len` things, as many of each class.
fn balanced(stream: &mut Stream, len: u32, classes: &[Vec<u32>]) -> Arc<[u32]> {
    let each = len as usize / classes.len();
    let mut order = Vec::with_capacity(len as usize);
    for class in classes {
        let mut left = each;
        while left > 0 {
            let mut things = class.clone();
            shuffle(stream, &mut things);
            things.truncate(left);
            left -= things.len();
            order.extend(things);
        }
    }
    shuffle(stream, &mut order);
    order.into()
}

/// Fisher and Yates.
fn shuffle(stream: &mut Stream, order: &mut [u32]) {
    for i in (1..order.len()).rev() {
        order.swap(i, stream.below(i as u32 + 1) as usize);
    }
}
