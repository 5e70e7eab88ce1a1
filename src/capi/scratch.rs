use crate::error::{Error, Result};
use std::sync::{Mutex, PoisonError};

/// Results of calls under way, so that a host's buffer is written on success only. Kept for later calls:
/// steady state allocates nothing.
pub(super) struct Scratch<T>(Mutex<Vec<Vec<T>>>);

impl<T: Copy + Default> Scratch<T> {
    pub(super) fn new() -> Scratch<T> {
        Scratch(Mutex::new(Vec::new()))
    }

    /// Lets `make` fill a piece as long as `out`, all zero at first, and copies it there if it succeeds.
    pub(super) fn fill(&self, out: &mut [T], make: impl FnOnce(&mut [T]) -> Result<()>) -> Result<()> {
        let mut piece = self.pieces(Vec::pop).unwrap_or_default();
        piece.clear();
        piece
            .try_reserve_exact(out.len())
            .map_err(|_| Error::out_of_memory(format!("no memory for {} results", out.len())))?;
        piece.resize(out.len(), T::default());
        let made = make(&mut piece);
        if made.is_ok() {
            out.copy_from_slice(&piece);
        }
        self.pieces(|pieces| pieces.push(piece));
        made
    }

    fn pieces<R>(&self, with: impl FnOnce(&mut Vec<Vec<T>>) -> R) -> R {
        with(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
