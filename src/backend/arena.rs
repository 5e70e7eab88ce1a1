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

/// Buffers that are handed out again when their last holder drops them: a buffer is free exactly when the
/// arena's own reference is the only one. So nothing has to be given back, and steady state allocates
/// nothing: not even the reference count.
pub struct Arena {
    /// With their lengths, the shortest first: training holds thousands, and to look at each costs more than what is
    /// done with it.
    buffers: RefCell<Vec<(usize, Arc<Buffer>)>>,
    source: Box<dyn Source>,
    limit: Option<usize>,
    /// What of a buffer may be wasted: one part of so many; `None` for any part.
    waste: Option<usize>,
}

impl Arena {
    /// An empty arena of the source's memory that will hold no more than `limit` bytes.
    pub fn new(source: Box<dyn Source>, limit: Option<usize>) -> Arena {
        Arena { buffers: RefCell::new(Vec::new()), source, limit, waste: None }
    }

    /// The same, which wastes no more than a sixteenth of a buffer: for work whose sizes come again and again, and
    /// many of them at a time.
    pub fn tight(mut self) -> Arena {
        self.waste = Some(16);
        self
    }

    /// Bytes held, in use or not.
    pub fn bytes(&self) -> usize {
        self.buffers.borrow().iter().map(|(len, _)| len).sum()
    }

    /// The smallest free buffer of at least `bytes` bytes that is not wastefully large, or a new one: a new one's first
    /// touches cost more than the waste.
    ///
    /// # Errors
    /// `OutOfMemory` past the limit, or when the system has none.
    pub fn allocate(&self, bytes: usize) -> Result<Storage> {
        let mut buffers = self.buffers.borrow_mut();
        let little = |len: usize| match self.waste {
            Some(part) => len - len / part <= bytes || len <= 4096,
            None => true,
        };
        let first = buffers.partition_point(|(len, _)| *len < bytes);
        let fit = buffers[first..].iter_mut().take_while(|(len, _)| little(*len)).map(|(_, buffer)| buffer);
        for buffer in fit {
            if Arc::get_mut(buffer).is_some() {
                return Ok(Storage::Owned(Arc::clone(buffer)));
            }
        }
        // A new shape: before growing, give back what no longer serves, the largest misfits first.
        if let Some(limit) = self.limit {
            let mut held: usize = buffers.iter().map(|(len, _)| len).sum();
            if held.saturating_add(bytes) > limit {
                buffers.retain_mut(|(len, b)| {
                    let free = Arc::get_mut(b).is_some();
                    held -= if free { *len } else { 0 };
                    !free
                });
            }
            if held.saturating_add(bytes) > limit {
                return Err(Error::out_of_memory(format!(
                    "a workspace of {held} bytes needs {bytes} more, the memory limit is {limit}"
                )));
            }
        }
        let buffer = Arc::new(self.source.buffer(bytes)?);
        buffer.set_pooled(true);
        let place = buffers.partition_point(|(len, _)| *len <= buffer.len());
        buffers.insert(place, (buffer.len(), Arc::clone(&buffer)));
        Ok(Storage::Owned(buffer))
    }
}

impl Drop for Arena {
    fn drop(&mut self) {
        for (_, buffer) in self.buffers.get_mut() {
            buffer.set_pooled(false);
        }
    }
}
