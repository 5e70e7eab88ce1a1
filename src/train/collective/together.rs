//! What processes do that share a piece of work.

use super::Group;
use crate::error::{Error, Result};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

/// How often the others hear that one which works alone is still there.
const BEAT: Duration = Duration::from_secs(2);

impl Group {
    /// Does a program's work by all processes that were started together, and ends it in good order. An error says whose
    /// it is.
    ///
    /// # Errors
    /// As [`Group::join`]; the work's.
    pub fn together(work: impl FnOnce(&Group) -> Result<()>) -> Result<()> {
        let group = Group::join()?;
        let done = work(&group).and_then(|()| group.leave());
        done.map_err(|error| match group.size() {
            1 => error,
            _ => error.context(group.name(group.rank())),
        })
    }

    /// Has the process that leads do work, for which the others wait as long as it takes and the process lives. They get
    /// `None`. The work makes no exchange.
    ///
    /// # Errors
    /// The work's; as [`Group::gather`].
    pub fn alone<T>(&self, work: impl FnOnce() -> Result<T>) -> Result<Option<T>> {
        if self.size() == 1 {
            return work().map(Some);
        }
        if !self.leads() {
            while self.any(false)? {}
            return Ok(None);
        }
        let (done, over) = channel::<()>();
        thread::scope(|scope| {
            let beat = scope.spawn(move || -> Result<()> {
                while over.recv_timeout(BEAT) == Err(RecvTimeoutError::Timeout) {
                    self.any(true)?;
                }
                Ok(())
            });
            let found = work();
            drop(done);
            beat.join().map_err(|_| Error::internal("the thread that tells others to wait panicked"))??;
            let found = found?;
            self.any(false)?;
            Ok(Some(found))
        })
    }

    /// The number of the process that leads, for all.
    ///
    /// # Errors
    /// As [`Group::gather`].
    pub fn leaders(&self, number: u64) -> Result<u64> {
        let all = self.gather(number.to_le_bytes().to_vec())?;
        all.first_chunk().map(|bytes| u64::from_le_bytes(*bytes)).ok_or_else(|| Error::internal("no number"))
    }

    /// The bytes of every process, in the order of ranks, of each as many as it has.
    ///
    /// # Errors
    /// As [`Group::gather`].
    pub fn gather_each(&self, mut mine: Vec<u8>) -> Result<Vec<Vec<u8>>> {
        if self.size() == 1 {
            return Ok(vec![mine]);
        }
        let lengths = self.gather((mine.len() as u64).to_le_bytes().to_vec())?;
        let lengths: Vec<usize> =
            lengths.as_chunks::<8>().0.iter().map(|&bytes| u64::from_le_bytes(bytes) as usize).collect();
        let most = lengths.iter().copied().max().unwrap_or(0);
        mine.resize(most, 0);
        let all = self.gather(mine)?;
        Ok(lengths.iter().enumerate().map(|(rank, len)| all[rank * most..][..*len].to_vec()).collect())
    }

    /// Refuses to go on unless all processes run the same program.
    ///
    /// # Errors
    /// As [`Group::agree`]; `Io`.
    pub fn agree_on_program(&self) -> Result<()> {
        if self.size() == 1 {
            return Ok(());
        }
        let program = std::env::current_exe().and_then(std::fs::read);
        let program = program.map_err(|e| Error::io("reading this program", &e))?;
        self.agree("program", crc32fast::hash(&program))
    }
}
