use super::{Augment, Order, Pictures, Place};
use crate::error::{Error, Result, Status};
use crate::image::Picture;
use crate::tensor::{Allocate, DType, Desc, HeapAllocator, Tensor};
use std::any::Any;
use std::collections::{BTreeMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

/// What a step sees.
#[derive(Debug)]
pub struct Batch {
    /// (n, side, side, 3), red, green, blue, in [-1, 1].
    pub pictures: Tensor,
    /// The class of each.
    pub labels: Vec<u32>,
}

/// A picture that could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreadable {
    /// Its number.
    pub picture: usize,
    /// As [`Pictures::name`].
    pub name: String,
    /// Why; the file's path is in it where there is one.
    pub why: String,
}

/// Threads that read, cut and convert pictures ahead of the steps. Dropping it ends them.
pub struct Loader {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
}

struct Shared {
    pictures: Arc<Pictures>,
    augment: Augment,
    batch: usize,
    seed: u64,
    /// Batches that are begun before the first of them is taken.
    ahead: usize,
    state: Mutex<State>,
    /// A batch was taken, or all is over.
    room: Condvar,
    /// The first batch is ready, or all is over.
    ready: Condvar,
}

struct State {
    order: Order,
    /// The step of the first batch of `slots`.
    step: u64,
    slots: VecDeque<Slot>,
    /// The sample that a worker takes next.
    next: u64,
    /// What cannot be read, and why; such a picture is not tried again.
    unreadable: BTreeMap<u32, String>,
    over: bool,
    failed: Option<Error>,
}

/// A batch in the making.
struct Slot {
    samples: Vec<Option<(Picture, u32)>>,
    missing: usize,
    batch: Option<Batch>,
}

impl Loader {
    /// Begins to make the batches of steps `first_step`, `first_step + 1`, ... of a run: `batch` pictures each, on
    /// `workers` threads (0: one a core, 16 at most). Memory: the squares' bytes for 2 batches and one a worker, and
    /// what decoding takes.
    ///
    /// # Errors
    /// `InvalidArgument` for a batch of 0 or of more than 2^20, a step that no run reaches, and as [`Augment::check`];
    /// `OutOfMemory` when the system gives no thread.
    pub fn new(
        pictures: Arc<Pictures>,
        augment: &Augment,
        batch: usize,
        seed: u64,
        first_step: u64,
        workers: usize,
    ) -> Result<Loader> {
        let order = Order::new(seed, pictures.len())?;
        Loader::over(order, pictures, augment, batch, first_step, workers)
    }

    /// The same in a given order.
    pub(super) fn over(
        mut order: Order,
        pictures: Arc<Pictures>,
        augment: &Augment,
        batch: usize,
        first_step: u64,
        workers: usize,
    ) -> Result<Loader> {
        augment.check()?;
        let seed = order.seed();
        let next = order.first_of(first_step, batch)?;
        let workers = if workers == 0 { num_cpus::get().min(16) } else { workers };
        let state = State {
            order,
            step: first_step,
            slots: VecDeque::new(),
            next,
            unreadable: BTreeMap::new(),
            over: false,
            failed: None,
        };
        let shared = Arc::new(Shared {
            pictures,
            augment: augment.clone(),
            batch,
            seed,
            ahead: 2 + workers.div_ceil(batch),
            state: Mutex::new(state),
            room: Condvar::new(),
            ready: Condvar::new(),
        });
        let mut loader = Loader { shared, workers: Vec::with_capacity(workers) };
        for number in 0..workers {
            let shared = loader.shared.clone();
            let worker = thread::Builder::new().name(format!("fqgan-data-{number}"));
            // Those that were started end with `loader`.
            let worker = worker
                .spawn(move || shared.work())
                .map_err(|e| Error::out_of_memory(format!("no thread to load pictures: {e}")))?;
            loader.workers.push(worker);
        }
        Ok(loader)
    }

    /// The next step's batch; waits until it is there. After an error every call gives the same one.
    ///
    /// # Errors
    /// `InvalidArgument` when not one picture can be read; `OutOfMemory`; `Internal` when a worker panicked.
    // An iterator's `next` would end; this does not, and each call can fail.
    #[allow(clippy::should_implement_trait)]
    pub fn next(&mut self) -> Result<Batch> {
        let mut state = self.shared.lock();
        loop {
            if let Some(error) = &state.failed {
                return Err(error.clone());
            }
            if let Some(batch) = state.slots.front_mut().and_then(|slot| slot.batch.take()) {
                state.slots.pop_front();
                state.step += 1;
                self.shared.room.notify_all();
                return Ok(batch);
            }
            state = self.shared.ready.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// The pictures that could not be read till now, by number. Each was replaced by the next of the epoch's order.
    pub fn unreadable(&self) -> Vec<Unreadable> {
        let state = self.shared.lock();
        let named = |(&picture, why): (&u32, &String)| Unreadable {
            picture: picture as usize,
            name: self.shared.pictures.name(picture as usize).into_owned(),
            why: why.clone(),
        };
        state.unreadable.iter().map(named).collect()
    }
}

impl Drop for Loader {
    fn drop(&mut self) {
        self.shared.lock().over = true;
        self.shared.room.notify_all();
        for worker in self.workers.drain(..) {
            // Its panic was caught, and told to `next`.
            let _ = worker.join();
        }
    }
}

impl Shared {
    /// No lock is held while anything runs that can panic, so that a poisoned one is as good.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A worker's life.
    fn work(&self) {
        let lived = catch_unwind(AssertUnwindSafe(|| {
            while let Some((number, place)) = self.take()? {
                let sample = self.sample(&place)?;
                self.put(number, sample)?;
            }
            Ok(())
        }));
        let failed = match lived {
            Ok(Ok(())) => return,
            Ok(Err(error)) => error,
            Err(panic) => {
                Error::internal(format!("a thread that loads pictures panicked: {}", said(&*panic)))
            }
        };
        let mut state = self.lock();
        state.failed.get_or_insert(failed);
        state.over = true;
        self.room.notify_all();
        self.ready.notify_all();
    }

    /// The next sample to make, once there is room for it; `None` when all is over.
    fn take(&self) -> Result<Option<(u64, Place)>> {
        let mut state = self.lock();
        loop {
            if state.over {
                return Ok(None);
            }
            let number = state.next;
            let slot = (number / self.batch as u64 - state.step) as usize;
            if slot < self.ahead {
                if slot == state.slots.len() {
                    let mut samples = Vec::new();
                    samples.resize_with(self.batch, || None);
                    state.slots.push_back(Slot { samples, missing: self.batch, batch: None });
                }
                let place = state.order.place(number)?;
                state.next += 1;
                return Ok(Some((number, place)));
            }
            state = self.room.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// The picture of a place, or the next of the epoch's order that can be read, and its class.
    fn sample(&self, place: &Place) -> Result<(Picture, u32)> {
        let order = &place.order;
        for at in (place.at..order.len()).chain(0..place.at) {
            let index = order[at];
            if self.lock().unreadable.contains_key(&index) {
                continue;
            }
            let square = self
                .pictures
                .read(index as usize)
                .and_then(|picture| self.augment.apply(&picture, self.seed, place.epoch, index));
            match square {
                Ok(square) => return Ok((square, self.pictures.label(index as usize))),
                // Memory may be there again for the next one, but then what a step sees would depend on it.
                Err(error) if matches!(error.status(), Status::OutOfMemory | Status::Internal) => {
                    return Err(error.context(self.pictures.name(index as usize)));
                }
                Err(error) => {
                    self.lock().unreadable.insert(index, error.message().to_string());
                }
            }
        }
        let state = self.lock();
        let one = state.unreadable.values().next().map_or("", String::as_str);
        Err(Error::invalid(format!("not one of {} pictures can be read; {one}", order.len())))
    }

    /// Puts a sample into its batch. Who brings the last one makes the tensor.
    fn put(&self, number: u64, sample: (Picture, u32)) -> Result<()> {
        let step = number / self.batch as u64;
        let samples = {
            let mut state = self.lock();
            let slot = (step - state.step) as usize;
            let slot = &mut state.slots[slot];
            slot.samples[(number % self.batch as u64) as usize] = Some(sample);
            slot.missing -= 1;
            if slot.missing > 0 {
                return Ok(());
            }
            std::mem::take(&mut slot.samples)
        };
        let batch = tensor(self.augment.side, samples.into_iter().flatten().collect())?;
        let mut state = self.lock();
        let slot = (step - state.step) as usize;
        state.slots[slot].batch = Some(batch);
        self.ready.notify_all();
        Ok(())
    }
}

/// The floats of squares.
fn tensor(side: usize, samples: Vec<(Picture, u32)>) -> Result<Batch> {
    let desc = Desc::plain([samples.len(), side, side, 3], DType::F32);
    let bytes = desc.bytes().ok_or_else(|| Error::invalid(format!("a batch of {desc} is too large")))?;
    let mut pictures = Tensor::new(desc, HeapAllocator.allocate(bytes)?)?;
    let mut labels = Vec::with_capacity(samples.len());
    let squares = pictures.data_mut::<f32>()?.chunks_exact_mut(side * side * 3);
    for ((picture, label), values) in samples.into_iter().zip(squares) {
        picture.view().read_into(values, 0..side)?;
        labels.push(label);
    }
    Ok(Batch { pictures, labels })
}

/// What a panic said.
fn said(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("without a word")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A worker that panics is an error of the step, and of every later one, not a hang.
    #[test]
    fn a_panic_is_told() {
        let at = tempfile::tempdir().unwrap();
        Picture::new(8, 8).unwrap().save_png(at.path().join("one.png")).unwrap();
        let pictures = Arc::new(Pictures::open(at.path()).unwrap());
        // An order of pictures that are not there.
        let order = Order::new(1, 1000).unwrap();
        let augment = Augment { side: 8, ..Augment::default() };
        let mut loader = Loader::over(order, pictures, &augment, 4, 0, 3).unwrap();
        for _ in 0..2 {
            let error = loader.next().unwrap_err();
            assert_eq!(error.status(), Status::Internal);
            assert!(
                error.message().contains("a thread that loads pictures panicked: index out of bounds"),
                "{error}"
            );
        }
    }
}
