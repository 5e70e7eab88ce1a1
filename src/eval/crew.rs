use crate::error::Result;

/// Processes that share a [`study`](super::study): all make the same calls, in the same order.
pub trait Crew {
    /// This process's number, from 0; number 0 keeps the journal, and takes in what all have found.
    fn rank(&self) -> usize;

    /// How many there are.
    fn size(&self) -> usize;

    /// Has number 0 do work while the others wait, and gives all its number.
    ///
    /// # Errors
    /// The work's; when a process is lost.
    fn alone(&self, work: &mut dyn FnMut() -> Result<u64>) -> Result<u64>;

    /// What each gives, in their order.
    ///
    /// # Errors
    /// When a process is lost.
    fn gather(&self, mine: Vec<u8>) -> Result<Vec<Vec<u8>>>;
}

/// One process.
#[derive(Clone, Copy, Debug)]
pub struct Alone;

impl Crew for Alone {
    fn rank(&self) -> usize {
        0
    }

    fn size(&self) -> usize {
        1
    }

    fn alone(&self, work: &mut dyn FnMut() -> Result<u64>) -> Result<u64> {
        work()
    }

    fn gather(&self, mine: Vec<u8>) -> Result<Vec<Vec<u8>>> {
        Ok(vec![mine])
    }
}
