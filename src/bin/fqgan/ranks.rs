//! Commands whose work several processes share.

use crate::failure::{Failure, Result};
use fqgan::eval::Crew;
use fqgan::train::collective::Group;

/// Does a command's work by all processes that `mpirun` started.
pub fn together(work: impl FnOnce(&Ranks) -> Result) -> Result {
    // What is no error of the work's, but wrong usage, is told as it is.
    let mut other = None;
    Group::together(|group| match work(&Ranks(group.clone())) {
        Ok(()) => Ok(()),
        Err(Failure::Failed(error)) => Err(error),
        Err(failure) => {
            other = Some(failure);
            Ok(())
        }
    })?;
    other.map_or(Ok(()), Err)
}

/// The processes.
pub struct Ranks(pub Group);

impl Ranks {
    /// Refuses processes that are not of the same program, files and arguments, of which `what` are named.
    pub fn agree(&self, what: &str, about: &str) -> fqgan::Result<()> {
        self.0.agree_on_program()?;
        self.0.agree(what, crc32c::crc32c(about.as_bytes()))
    }
}

impl Crew for Ranks {
    fn rank(&self) -> usize {
        self.0.rank()
    }

    fn size(&self) -> usize {
        self.0.size()
    }

    fn alone(&self, work: &mut dyn FnMut() -> fqgan::Result<u64>) -> fqgan::Result<u64> {
        let found = self.0.alone(work)?;
        self.0.leaders(found.unwrap_or(0))
    }

    fn gather(&self, mine: Vec<u8>) -> fqgan::Result<Vec<Vec<u8>>> {
        self.0.gather_each(mine)
    }
}
