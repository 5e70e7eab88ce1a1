use super::Journal;
use crate::error::{Error, Result, Status};
use crate::image::Picture;

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
}

/// Looks at pictures 0 to `count`, which `read` gives, but for those that are in the journal already. `progress` is told
/// how many are done, and why one could not be read, which is left out; the error that it returns ends the work.
///
/// # Errors
/// `InvalidArgument` when not one picture can be read; the study's; the journal's; `OutOfMemory`.
pub fn study(
    study: &mut impl Study,
    count: usize,
    read: impl Fn(usize) -> Result<Picture>,
    kept: Option<(&std::path::Path, &str)>,
    mut progress: impl FnMut(usize, Option<&Error>) -> Result<()>,
) -> Result<(Seen, Journal)> {
    let (width, at_once) = (study.width(), study.at_once().max(1));
    let mut seen = Seen::default();
    let mut journal = match kept {
        Some((path, about)) => Journal::open(path, about, width, |entry| match entry {
            Some(entry) => {
                seen.pictures += 1;
                study.take(entry)
            }
            None => {
                seen.left_out += 1;
                Ok(())
            }
        })?,
        None => Journal::default(),
    };
    seen.there = journal.entries();
    progress(journal.entries(), None)?;
    while journal.entries() < count {
        let part = journal.entries()..count.min(journal.entries() + at_once);
        let mut there = Vec::with_capacity(part.len());
        let mut batch = Vec::with_capacity(part.len());
        for number in part.clone() {
            match read(number).and_then(|picture| study.prepare(picture)) {
                Ok(picture) => batch.push(picture),
                Err(e) if matches!(e.status(), Status::OutOfMemory | Status::Internal) => return Err(e),
                Err(e) => progress(number, Some(&e))?,
            }
            there.push(batch.len());
        }
        let entries = study.look(&batch)?;
        let mut entries = entries.chunks_exact(width.max(1));
        let mut before = 0;
        for upto in there {
            let entry = if upto > before { entries.next() } else { None };
            if let Some(entry) = entry {
                study.take(entry)?;
                seen.pictures += 1;
            } else {
                seen.left_out += 1;
            }
            journal.push(entry, width)?;
            before = upto;
        }
        progress(part.end, None)?;
    }
    if seen.pictures == 0 {
        return Err(Error::invalid(format!("not one of {count} pictures can be read")));
    }
    Ok((seen, journal))
}

/// Numbers as an entry's bytes.
pub(super) fn bytes_of(numbers: &[f32]) -> impl Iterator<Item = u8> + '_ {
    numbers.iter().flat_map(|number| number.to_le_bytes())
}

/// The numbers of an entry's bytes.
pub(super) fn numbers_of(bytes: &[u8]) -> Vec<f32> {
    bytes.as_chunks::<4>().0.iter().map(|&word| f32::from_le_bytes(word)).collect()
}
