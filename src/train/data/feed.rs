use super::{Augment, Batch, Loader, Order, Pictures};
use crate::error::Result;
use std::collections::BTreeSet;
use std::sync::Arc;

/// The batches of a run: a loader that begins with the first step that is asked for.
pub struct Feed {
    pictures: Arc<Pictures>,
    augment: Augment,
    batch: usize,
    seed: u64,
    workers: usize,
    /// Which part of each batch, of how many equal ones.
    part: [usize; 2],
    loader: Option<Loader>,
    /// The pictures that were warned of.
    unreadable: BTreeSet<usize>,
}

impl Feed {
    /// Batches of `batch` pictures under a seed, which `workers` threads read (0: one a core).
    pub fn new(pictures: Arc<Pictures>, augment: &Augment, [batch, workers]: [usize; 2], seed: u64) -> Feed {
        let (augment, unreadable) = (augment.clone(), BTreeSet::new());
        Feed { pictures, augment, batch, seed, workers, part: [0, 1], loader: None, unreadable }
    }

    /// The same batches, of each of which only part number `part`, of `parts` equal ones, is given.
    pub fn part(self, part: usize, parts: usize) -> Feed {
        Feed { part: [part, parts], ..self }
    }

    /// The batch of a step, each one more than the one before it, and warnings of pictures that were left out.
    ///
    /// # Errors
    /// Those of [`Loader::new`] and [`Loader::next`].
    pub fn next(&mut self, step: u64) -> Result<(Batch, Vec<String>)> {
        let loader = match &mut self.loader {
            Some(loader) => loader,
            empty => {
                let [part, parts] = self.part;
                let each = self.batch / parts;
                let order = Order::new(self.seed, self.pictures.len())?.part(part, parts, each.max(1));
                let pictures = self.pictures.clone();
                empty.insert(Loader::over(order, pictures, &self.augment, each, step, self.workers)?)
            }
        };
        let batch = loader.next()?;
        let fresh = loader.unreadable().into_iter().filter(|one| self.unreadable.insert(one.picture));
        Ok((batch, fresh.map(|one| format!("left out: {}: {}", one.name, one.why)).collect()))
    }

    /// The next step will be another than the one after the last.
    pub fn restart(&mut self) {
        self.loader = None;
    }
}
