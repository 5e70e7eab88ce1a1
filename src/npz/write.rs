use crate::error::{Error, Result};
use crate::files;
use npyz::WriterBuilder;
use std::ffi::OsString;
use std::fs::{self, File, TryLockError};
use std::io::{self, BufReader, BufWriter, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use zip::CompressionMethod;
use zip::write::{SimpleFileOptions, ZipWriter};

/// Writes an archive whose first array, of bytes, comes row by row, and goes on where another writer was ended, be it by
/// a kill.
///
/// Rows gather beside the archive's place, under its name with `.part`, as the `.npy` file that goes into it in the end;
/// meanwhile both take their room on the disk.
#[derive(Debug)]
pub struct Writer {
    path: PathBuf,
    part: PathBuf,
    file: File,
    /// Bytes before the rows, and of a row; rows.
    begin: u64,
    each: usize,
    count: usize,
    done: usize,
}

impl Writer {
    /// Begins an archive whose first array has `shape`, or goes on with what is there of it; the last `again` rows of
    /// that are not trusted.
    ///
    /// # Errors
    /// `InvalidArgument` when the finished file is there already, somebody else is writing it, or the beginning is of
    /// another array; `Io`.
    pub fn open(path: impl AsRef<Path>, shape: &[usize], again: usize) -> Result<Writer> {
        let path = path.as_ref().to_path_buf();
        if path.exists() {
            return Err(Error::invalid(format!("{}: it is there already", path.display())));
        }
        let (count, each) = match shape {
            [count, rest @ ..] => (*count, rest.iter().product::<usize>()),
            [] => (0, 0),
        };
        if each == 0 {
            return Err(Error::invalid(format!("an array {shape:?} has no rows")));
        }
        let mut part = OsString::from(&path);
        part.push(".part");
        let part = PathBuf::from(part);
        let io = |e: io::Error| Error::io(format_args!("writing {}", part.display()), &e);
        let mut file =
            File::options().read(true).write(true).create(true).truncate(false).open(&part).map_err(io)?;
        match file.try_lock() {
            Err(TryLockError::WouldBlock) => {
                return Err(Error::invalid(format!("{}: another process is writing it", part.display())));
            }
            // A file system without locks is not a reason to stop.
            Ok(()) | Err(TryLockError::Error(_)) => {}
        }
        let header = header(shape).map_err(io)?;
        let begin = header.len() as u64;
        let len = file.metadata().map_err(io)?.len();
        let mut done = 0;
        if len < begin {
            file.set_len(0).and_then(|()| file.write_all(&header)).map_err(io)?;
        } else {
            let mut there = vec![0; header.len()];
            io::Read::read_exact(&mut file, &mut there).map_err(io)?;
            if there != header {
                return Err(Error::invalid(format!(
                    "{}: it was begun for another number or size of pictures; remove it or choose another place",
                    part.display()
                )));
            }
            done = ((len - begin) / each as u64).saturating_sub(again as u64).min(count as u64) as usize;
            let end = begin + done as u64 * each as u64;
            file.set_len(end).and_then(|()| file.seek(SeekFrom::Start(end))).map_err(io)?;
        }
        Ok(Writer { path, part, file, begin, each, count, done })
    }

    /// Rows that are there.
    pub fn done(&self) -> usize {
        self.done
    }

    /// Appends rows.
    ///
    /// # Errors
    /// `InvalidArgument` for part of a row or too many; `Io`.
    pub fn push(&mut self, rows: &[u8]) -> Result<()> {
        if !rows.len().is_multiple_of(self.each) || rows.len() / self.each > self.count - self.done {
            return Err(Error::invalid(format!(
                "{} bytes after {} of {} rows of {}",
                rows.len(),
                self.done,
                self.count,
                self.each
            )));
        }
        self.file.write_all(rows).map_err(|e| self.io(&e))?;
        self.done += rows.len() / self.each;
        Ok(())
    }

    /// Makes the archive: the rows as `arr_0`, these numbers as `arr_1`.
    ///
    /// # Errors
    /// `InvalidArgument` when rows are missing; `Io`.
    pub fn finish(mut self, numbers: &[i64]) -> Result<()> {
        if self.done != self.count {
            return Err(Error::invalid(format!("{} of {} rows were written", self.done, self.count)));
        }
        self.file.seek(SeekFrom::Start(0)).map_err(|e| self.io(&e))?;
        let path = &self.path;
        files::replace(path, |file| {
            let failed =
                |e: zip::result::ZipError| Error::io(format_args!("writing {}", path.display()), &e.into());
            let io = |e: io::Error| Error::io(format_args!("writing {}", path.display()), &e);
            let mut zip = ZipWriter::new(BufWriter::with_capacity(1 << 20, file));
            let options = |bytes: u64| {
                SimpleFileOptions::default()
                    .compression_method(CompressionMethod::Stored)
                    .last_modified_time(zip::DateTime::default())
                    .large_file(bytes >= u64::from(u32::MAX))
            };
            let bytes = self.begin + self.count as u64 * self.each as u64;
            zip.start_file("arr_0.npy", options(bytes)).map_err(failed)?;
            io::copy(&mut BufReader::with_capacity(1 << 20, &self.file), &mut zip).map_err(io)?;
            zip.start_file("arr_1.npy", options(0)).map_err(failed)?;
            let list = npyz::WriteOptions::new().default_dtype().shape(&[numbers.len() as u64]);
            let mut list = list.writer(&mut zip).begin_nd().map_err(io)?;
            list.extend(numbers.iter().copied()).and_then(|()| list.finish()).map_err(io)?;
            zip.finish().map_err(failed)?.flush().map_err(io)
        })?;
        fs::remove_file(&self.part).map_err(|e| self.io(&e))
    }

    fn io(&self, e: &io::Error) -> Error {
        Error::io(format_args!("writing {}", self.part.display()), e)
    }
}

/// The bytes before the rows of an array of bytes.
fn header(shape: &[usize]) -> io::Result<Vec<u8>> {
    let shape: Vec<u64> = shape.iter().map(|&n| n as u64).collect();
    let mut bytes = Vec::new();
    npyz::WriteOptions::<u8>::new().default_dtype().shape(&shape).writer(&mut bytes).begin_nd()?;
    Ok(bytes)
}
