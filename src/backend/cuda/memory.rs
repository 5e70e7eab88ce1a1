//! Memory of a GPU. Buffers come from the driver's stream-ordered pool and go back to it in the stream's order, so that
//! one may be dropped while work on it is still under way. Copies to and from pass through pinned memory.

use super::driver::{Driver, Event};
use crate::backend::arena::Source;
use crate::error::{Error, Result};
use crate::tensor::{Allocate, Buffer, Keeper, Storage};
use std::sync::{Arc, Mutex, PoisonError};

/// The memory of one device.
pub struct Memory {
    driver: Arc<Driver>,
    staging: Mutex<Staging>,
}

/// Pinned memory that copies pass through, in pieces that take turns: the processor fills one while the other is
/// being copied.
struct Staging {
    pieces: [Option<Piece>; 2],
    next: usize,
}

struct Piece {
    at: *mut u8,
    /// Marks the last copy from it.
    copied: Event,
}

// SAFETY: a piece owns its memory alone, and is used under the lock.
unsafe impl Send for Piece {}

/// Bytes of a piece.
const PIECE: usize = 4 << 20;

impl Memory {
    pub(super) fn new(driver: Arc<Driver>) -> Arc<Memory> {
        Arc::new(Memory { driver, staging: Mutex::new(Staging { pieces: [None, None], next: 0 }) })
    }

    /// Copies bytes to the device. They have been read when this returns.
    pub(super) fn write(&self, to: usize, bytes: &[u8]) -> Result<()> {
        let mut staging = self.staging.lock().unwrap_or_else(PoisonError::into_inner);
        for (part, start) in bytes.chunks(PIECE).zip((0..).step_by(PIECE)) {
            let piece = staging.turn(&self.driver)?;
            // SAFETY: a piece has `PIECE` bytes, and `turn` waited for the last copy from it. The caller's address has
            // as many bytes as the slice, and the piece is not written before the event that is recorded here.
            unsafe {
                std::ptr::copy_nonoverlapping(part.as_ptr(), piece.at, part.len());
                self.driver.write(to + start, piece.at, part.len())?;
            }
            self.driver.record(&piece.copied)?;
        }
        Ok(())
    }
}

impl Staging {
    /// The next piece, once it is free.
    fn turn(&mut self, driver: &Driver) -> Result<&Piece> {
        self.next = (self.next + 1) % self.pieces.len();
        let slot = &mut self.pieces[self.next];
        if slot.is_none() {
            *slot = Some(Piece { copied: driver.event()?, at: driver.pinned(PIECE)? });
        }
        let piece = slot.as_ref().ok_or_else(|| Error::internal("no staging memory"))?;
        driver.wait(&piece.copied)?;
        Ok(piece)
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        let staging = self.staging.get_mut().unwrap_or_else(PoisonError::into_inner);
        for piece in staging.pieces.iter().flatten() {
            let _ = self.driver.wait(&piece.copied);
            // SAFETY: the last copy from it is done, and nobody can start another.
            unsafe { self.driver.free_pinned(piece.at) };
            self.driver.free_event(&piece.copied);
        }
    }
}

impl Keeper for Memory {
    fn reclaim(&self, address: usize) {
        self.driver.free(address);
    }

    fn read(&self, from: usize, bytes: &mut [u8]) -> Result<()> {
        let mut staging = self.staging.lock().unwrap_or_else(PoisonError::into_inner);
        for (part, start) in bytes.chunks_mut(PIECE).zip((0..).step_by(PIECE)) {
            let piece = staging.turn(&self.driver)?;
            // SAFETY: as in `write`; the copy is waited for before the piece is read.
            unsafe {
                self.driver.read(piece.at, from + start, part.len())?;
                self.driver.synchronize()?;
                std::ptr::copy_nonoverlapping(piece.at, part.as_mut_ptr(), part.len());
            }
        }
        Ok(())
    }
}

/// A share in a device's memory, for buffers.
#[derive(Clone)]
pub struct Pool(pub(super) Arc<Memory>);

impl Source for Pool {
    fn buffer(&self, bytes: usize) -> Result<Buffer> {
        let address = self.0.driver.allocate(bytes)?;
        // SAFETY: fresh memory of the driver's, which aligns it to 256, and which goes back through `reclaim` alone.
        let buffer = unsafe { Buffer::of_device(address, bytes, Arc::clone(&self.0) as Arc<dyn Keeper>) };
        buffer.ok_or_else(|| Error::device("CUDA gave memory at address 0"))
    }
}

impl Allocate for Pool {
    fn allocate(&self, bytes: usize) -> Result<Storage> {
        Ok(Storage::Owned(Arc::new(self.buffer(bytes)?)))
    }
}
