use super::{Crew, Journal};
use crate::error::{Error, Result, Status};
use crate::image::Picture;
use std::ops::Range;

/// A measurement of pictures one by one: what each gives is an entry of bytes, and entries are all that counts, so that
/// work can end anywhere and go on.
pub trait Study {
    /// Bytes of an entry.
    fn width(&self) -> usize;

    /// Pictures of this size that are best looked at together.
    fn at_once(&self) -> usize;

    /// Cuts a picture as it will be looked at.
    ///
    /// # Errors
    /// Why it cannot be.
    fn prepare(&self, picture: Picture) -> Result<Picture>;

    /// The entries of pictures.
    ///
    /// # Errors
    /// The networks'.
    fn look(&self, pictures: &[Picture]) -> Result<Vec<u8>>;

    /// Takes in an entry.
    ///
    /// # Errors
    /// `InvalidArgument` for one of another measurement.
    fn take(&mut self, entry: &[u8]) -> Result<()>;
}

/// How many pictures counted, and how many could not be read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Pictures that were looked at.
    pub pictures: usize,
    /// Pictures that could not be read.
    pub left_out: usize,
    /// Pictures of either kind that the journal had already.
    pub there: usize,
}

impl Seen {
    /// Pictures that this run looked at.
    pub fn now(&self) -> usize {
        self.pictures + self.left_out - self.there
    }

    fn count(&mut self, readable: bool) {
        *if readable { &mut self.pictures } else { &mut self.left_out } += 1;
    }
}

/// Looks at pictures 0 to `count`, which `read` gives, but for those that are in the journal already. The processes of
/// `crew` share the work; the first of them keeps the journal, and its study takes in all entries. `progress` is told how
/// many are done, and why one of this process's could not be read, which is left out; the error that it returns ends the
/// work.
///
/// # Errors
/// `InvalidArgument` when not one picture can be read; the study's; the journal's; the crew's; `OutOfMemory`.
pub fn study(
    study: &mut impl Study,
    count: usize,
    read: impl Fn(usize) -> Result<Picture>,
    kept: Option<(&std::path::Path, &str)>,
    crew: &dyn Crew,
    mut progress: impl FnMut(usize, Option<&Error>) -> Result<()>,
) -> Result<(Seen, Journal)> {
    let (width, at_once) = (study.width(), study.at_once().max(1));
    let leads = crew.rank() == 0;
    let mut seen = Seen::default();
    let mut journal = Journal::default();
    let mut done = crew.alone(&mut || {
        if let Some((path, about)) = kept {
            journal = Journal::open(path, about, width, |entry| {
                seen.count(entry.is_some());
                entry.map_or(Ok(()), |entry| study.take(entry))
            })?;
        }
        Ok(journal.entries() as u64)
    })? as usize;
    seen.there = seen.pictures + seen.left_out;
    progress(done, None)?;
    while done < count {
        let lot = |rank: usize| (done + rank * at_once).min(count)..(done + (rank + 1) * at_once).min(count);
        let mut unreadable = |number: usize, error: &Error| progress(number, Some(error));
        let mine = look(study, lot(crew.rank()), &read, &mut unreadable)?;
        for (rank, found) in crew.gather(mine)?.iter().enumerate() {
            let (whether, entries) = found
                .split_at_checked(lot(rank).len())
                .ok_or_else(|| Error::internal("a process gave fewer entries than pictures"))?;
            let mut entries = entries.chunks_exact(width.max(1));
            for &there in whether {
                let entry = if there == 1 { entries.next() } else { None };
                seen.count(entry.is_some());
                if leads {
                    entry.map_or(Ok(()), |entry| study.take(entry))?;
                    journal.push(entry, width)?;
                }
            }
        }
        done = lot(crew.size() - 1).end;
        progress(done, None)?;
    }
    if seen.pictures == 0 && leads {
        return Err(Error::invalid(format!("not one of {count} pictures can be read")));
    }
    Ok((seen, journal))
}

/// Looks at some pictures: a byte for each, 1 if it could be read, then the entries of those.
fn look(
    study: &impl Study,
    numbers: Range<usize>,
    read: impl Fn(usize) -> Result<Picture>,
    unreadable: &mut dyn FnMut(usize, &Error) -> Result<()>,
) -> Result<Vec<u8>> {
    let mut found = Vec::with_capacity(numbers.len() * (1 + study.width()));
    let mut pictures = Vec::with_capacity(numbers.len());
    for number in numbers {
        let picture = read(number).and_then(|picture| study.prepare(picture));
        found.push(u8::from(picture.is_ok()));
        match picture {
            Ok(picture) => pictures.push(picture),
            Err(e) if matches!(e.status(), Status::OutOfMemory | Status::Internal) => return Err(e),
            Err(e) => unreadable(number, &e)?,
        }
    }
    found.extend(study.look(&pictures)?);
    Ok(found)
}

/// Numbers as an entry's bytes.
pub(super) fn bytes_of(numbers: &[f32]) -> impl Iterator<Item = u8> + '_ {
    numbers.iter().flat_map(|number| number.to_le_bytes())
}

/// The numbers of an entry's bytes.
pub(super) fn numbers_of(bytes: &[u8]) -> Vec<f32> {
    bytes.as_chunks::<4>().0.iter().map(|&word| f32::from_le_bytes(word)).collect()
}
