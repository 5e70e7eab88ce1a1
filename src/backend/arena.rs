use crate::error::{Error, Result};
use crate::tensor::{Buffer, Storage};
use std::cell::RefCell;
use std::sync::Arc;

/// Where an arena's buffers come from.
pub trait Source: Send {
    /// `bytes` bytes that nobody else holds.
    ///
    /// # Errors
    /// `OutOfMemory`.
    fn buffer(&self, bytes: usize) -> Result<Buffer>;
}

/// The processor's memory.
pub struct Heap;

impl Source for Heap {
    fn buffer(&self, bytes: usize) -> Result<Buffer> {
        Buffer::new(bytes)
    }
}

/// From this size on a buffer may be divided, and this is the least piece: what is smaller may be kept for long, a
/// statistic or a loss, and would keep the whole from serving again.
const WHOLE: usize = 4 << 20;
const LEAST: usize = 256 << 10;
/// Of a piece's place: what devices ask of memory.
const ALIGN: usize = 256;

/// Buffers that are handed out again when their last holder drops them: a buffer is free exactly when the
/// arena's own reference is the only one. So nothing has to be given back, and steady state allocates
/// nothing: not even the reference count.
pub struct Arena {
    held: RefCell<Held>,
    source: Box<dyn Source>,
    limit: Option<usize>,
    /// What of a buffer may be wasted: one part of so many; `None` for any part. Where it is little, large buffers that are
    /// free are divided for small ones, and are whole again when all their pieces are free: training's gradients come
    /// where its activations were.
    waste: Option<usize>,
}

#[derive(Default)]
struct Held {
    buffers: Sorted,
    divided: Vec<Divided>,
}

/// With their lengths, the shortest first: training holds thousands, and to look at each costs more than what is
/// done with it.
#[derive(Default)]
struct Sorted(Vec<(usize, Arc<Buffer>)>);

/// A buffer that is handed out in pieces.
struct Divided {
    whole: Arc<Buffer>,
    /// Bytes that pieces were cut from.
    used: usize,
    pieces: Sorted,
}

/// Whether nobody else holds a buffer.
fn is_free(buffer: &mut Arc<Buffer>) -> bool {
    Arc::get_mut(buffer).is_some()
}

impl Sorted {
    fn insert(&mut self, buffer: Arc<Buffer>) {
        let place = self.0.partition_point(|(len, _)| *len <= buffer.len());
        self.0.insert(place, (buffer.len(), buffer));
    }

    /// Where the shortest free buffer of at least `bytes` is whose length `fits`, as all shorter ones' do.
    fn free(&mut self, bytes: usize, fits: impl Fn(usize) -> bool) -> Option<usize> {
        let first = self.0.partition_point(|(len, _)| *len < bytes);
        let mut fit = self.0[first..].iter_mut().take_while(|(len, _)| fits(*len));
        fit.position(|(_, buffer)| is_free(buffer)).map(|at| first + at)
    }

    fn storage(&self, at: usize) -> Storage {
        Storage::Owned(Arc::clone(&self.0[at].1))
    }
}

impl Divided {
    /// A piece of what is left.
    fn cut(&mut self, bytes: usize) -> Option<Storage> {
        // SAFETY: nobody reads or writes the whole while it is divided, and pieces are cut one after the other.
        let piece = Arc::new(unsafe { Buffer::piece(&self.whole, self.used, bytes) }?);
        self.used += bytes.next_multiple_of(ALIGN);
        piece.set_pooled(true);
        self.pieces.insert(Arc::clone(&piece));
        Some(Storage::Owned(piece))
    }

    fn is_free(&mut self) -> bool {
        self.pieces.0.iter_mut().all(|(_, piece)| is_free(piece))
    }

    /// The whole again. Only of one that is free.
    fn joined(self) -> Arc<Buffer> {
        self.pieces.0.iter().for_each(|(_, piece)| piece.set_pooled(false));
        self.whole
    }
}

impl Held {
    fn bytes(&self) -> usize {
        let divided: usize = self.divided.iter().map(|divided| divided.whole.len()).sum();
        self.buffers.0.iter().map(|(len, _)| len).sum::<usize>() + divided
    }

    /// A piece for so many bytes, of a buffer that is divided or can be.
    fn piece(&mut self, bytes: usize) -> Option<Storage> {
        if let Some(piece) = self.divided.iter_mut().find_map(|divided| divided.cut(bytes)) {
            return Some(piece);
        }
        let at = self.buffers.free(WHOLE.max(2 * bytes), |_| true)?;
        let (_, whole) = self.buffers.0.remove(at);
        self.divided.push(Divided { whole, used: 0, pieces: Sorted::default() });
        self.divided.last_mut()?.cut(bytes)
    }

    /// Makes a divided buffer whole whose pieces are all free, and whose length `fits`; whether there was one.
    fn join(&mut self, fits: impl Fn(usize) -> bool) -> bool {
        let Some(at) = self.divided.iter_mut().position(|d| fits(d.whole.len()) && d.is_free()) else {
            return false;
        };
        let whole = self.divided.swap_remove(at).joined();
        self.buffers.insert(whole);
        true
    }
}

impl Arena {
    /// An empty arena of the source's memory that will hold no more than `limit` bytes.
    pub fn new(source: Box<dyn Source>, limit: Option<usize>) -> Arena {
        Arena { held: RefCell::default(), source, limit, waste: None }
    }

    /// The same, which wastes no more than a sixteenth of a buffer: for work whose sizes come again and again, and
    /// many of them at a time.
    pub fn tight(mut self) -> Arena {
        self.waste = Some(16);
        self
    }

    /// Makes whole again what was divided, as far as it is free.
    pub fn join(&self) {
        let mut held = self.held.borrow_mut();
        while held.join(|_| true) {}
    }

    /// Bytes held, in use or not.
    pub fn bytes(&self) -> usize {
        self.held.borrow().bytes()
    }

    /// The smallest free buffer of at least `bytes` bytes that is not wastefully large, or a new one: a new one's first
    /// touches cost more than the waste.
    ///
    /// # Errors
    /// `OutOfMemory` past the limit, or when the system has none.
    pub fn allocate(&self, bytes: usize) -> Result<Storage> {
        let mut held = self.held.borrow_mut();
        let little = |len: usize| match self.waste {
            Some(part) => len - len / part <= bytes || len <= 4096,
            None => true,
        };
        if let Some(at) = held.buffers.free(bytes, little) {
            return Ok(held.buffers.storage(at));
        }
        if self.waste.is_some() && bytes >= LEAST {
            for divided in &mut held.divided {
                if let Some(at) = divided.pieces.free(bytes, little) {
                    return Ok(divided.pieces.storage(at));
                }
            }
            if held.join(|len| len >= bytes && little(len))
                && let Some(at) = held.buffers.free(bytes, little)
            {
                return Ok(held.buffers.storage(at));
            }
            if let Some(piece) = held.piece(bytes) {
                return Ok(piece);
            }
        }
        // A new shape: before growing, give back what no longer serves.
        if let Some(limit) = self.limit {
            if held.bytes().saturating_add(bytes) > limit {
                while held.join(|_| true) {}
                held.buffers.0.retain_mut(|(_, buffer)| !is_free(buffer));
            }
            let held = held.bytes();
            if held.saturating_add(bytes) > limit {
                return Err(Error::out_of_memory(format!(
                    "a workspace of {held} bytes needs {bytes} more, the memory limit is {limit}"
                )));
            }
        }
        let buffer = Arc::new(self.source.buffer(bytes)?);
        buffer.set_pooled(true);
        held.buffers.insert(Arc::clone(&buffer));
        Ok(Storage::Owned(buffer))
    }
}

impl Drop for Arena {
    fn drop(&mut self) {
        let Held { buffers, divided } = self.held.get_mut();
        let pieces = divided.iter().flat_map(|divided| &divided.pieces.0);
        for (_, buffer) in buffers.0.iter().chain(pieces) {
            buffer.set_pooled(false);
        }
    }
}
