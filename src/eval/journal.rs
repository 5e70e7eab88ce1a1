use crate::error::{Error, Result};
use std::fs::{File, TryLockError};
use std::io::{BufReader, ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

/// What was made of pictures so far, an entry each, in a file that a run which was killed goes on from.
///
/// Each entry has a checksum; the first that is damaged or not whole ends what counts. Without a file nothing is kept.
#[derive(Debug, Default)]
pub struct Journal {
    kept: Option<(PathBuf, File)>,
    entries: usize,
}

const MAGIC: &[u8; 8] = b"FQGANJ01";

impl Journal {
    /// Opens the file or begins it. `about` says what the entries depend on; `see` is given each that is there, `None`
    /// for a picture that could not be read. Entries have `width` bytes.
    ///
    /// # Errors
    /// `InvalidArgument` when the file is about something else, is no such file, or is another process's; `Io`; those of
    /// `see`.
    pub fn open(
        path: &Path,
        about: &str,
        width: usize,
        mut see: impl FnMut(Option<&[u8]>) -> Result<()>,
    ) -> Result<Journal> {
        let io = |e: std::io::Error| Error::io(format_args!("keeping {}", path.display()), &e);
        let mut file =
            File::options().read(true).write(true).create(true).truncate(false).open(path).map_err(io)?;
        if let Err(TryLockError::WouldBlock) = file.try_lock() {
            return Err(Error::invalid(format!("{}: another process is writing it", path.display())));
        }
        let mut head = MAGIC.to_vec();
        head.extend((about.len() as u32).to_le_bytes());
        head.extend(about.as_bytes());
        let mut end = head.len() as u64;
        let mut entries = 0;
        if file.metadata().map_err(io)?.len() < end {
            file.set_len(0).and_then(|()| file.write_all(&head)).map_err(io)?;
        } else {
            let mut reader = BufReader::with_capacity(1 << 20, &file);
            let mut there = vec![0; head.len()];
            reader.read_exact(&mut there).map_err(io)?;
            if there != head {
                return Err(Error::invalid(format!(
                    "{}: it was begun for other pictures, networks or sizes; remove it, or name another with --features",
                    path.display()
                )));
            }
            let mut entry = vec![0; width + 5];
            while whole(&mut reader, &mut entry).map_err(io)? {
                see((entry[4] == 1).then_some(&entry[5..]))?;
                entries += 1;
                end += entry.len() as u64;
            }
            drop(reader);
            file.set_len(end).and_then(|()| file.seek(SeekFrom::Start(end))).map_err(io)?;
        }
        Ok(Journal { kept: Some((path.to_path_buf(), file)), entries })
    }

    /// Entries that are there.
    pub fn entries(&self) -> usize {
        self.entries
    }

    /// Adds an entry.
    ///
    /// # Errors
    /// `Io`.
    pub fn push(&mut self, entry: Option<&[u8]>, width: usize) -> Result<()> {
        self.entries += 1;
        let Some((path, file)) = &mut self.kept else { return Ok(()) };
        let mut bytes = vec![0; width + 5];
        bytes[4] = u8::from(entry.is_some());
        if let Some(entry) = entry {
            bytes[5..].copy_from_slice(entry);
        }
        let sum = crc32fast::hash(&bytes[4..]);
        bytes[..4].copy_from_slice(&sum.to_le_bytes());
        file.write_all(&bytes).map_err(|e| Error::io(format_args!("keeping {}", path.display()), &e))
    }

    /// Removes the file: all is done.
    ///
    /// # Errors
    /// `Io`.
    pub fn remove(self) -> Result<()> {
        match self.kept {
            Some((path, file)) => {
                drop(file);
                std::fs::remove_file(&path)
                    .map_err(|e| Error::io(format_args!("removing {}", path.display()), &e))
            }
            None => Ok(()),
        }
    }
}

/// Reads an entry; false when there is none, or none that can be trusted.
fn whole(from: &mut impl Read, entry: &mut [u8]) -> std::io::Result<bool> {
    match from.read_exact(entry) {
        Ok(()) => {}
        Err(e) if e.kind() == ErrorKind::UnexpectedEof => return Ok(false),
        Err(e) => return Err(e),
    }
    let sum = u32::from_le_bytes([entry[0], entry[1], entry[2], entry[3]]);
    Ok(entry[4] <= 1 && sum == crc32fast::hash(&entry[4..]))
}
