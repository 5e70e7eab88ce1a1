use super::About;
use super::about::NONE;
use crate::error::{Context, Error, Result};
use crate::files;
use crate::tensor::DType;
use crate::weights;
use std::ffi::OsString;
use std::fs::{File, TryLockError};
use std::io::{ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

/// Writes a file of codes picture by picture, and goes on where another one was ended, be it by a kill or a lost power.
///
/// The file grows beside its place, under its name with `.part`: header, labels, then codes, appended and flushed to
/// the disk by the call. Its length says how far it has come; the last call's pictures are not trusted.
#[derive(Debug)]
pub struct Writer {
    path: PathBuf,
    part: PathBuf,
    file: File,
    about: About,
    pictures: usize,
    /// Where the labels begin.
    labels: u64,
    done: usize,
    renamed: bool,
}

impl Writer {
    /// Begins a file for pictures of these labels, or goes on with what is there of it. `again` pictures, as many as a
    /// call writes, are written once more then.
    ///
    /// # Errors
    /// `InvalidArgument` when the finished file is there already, or an unfinished one of something else, when somebody
    /// else is writing it, or sizes cannot be; `Io`.
    pub fn open(path: impl AsRef<Path>, about: &About, labels: &[u32], again: usize) -> Result<Writer> {
        let path = path.as_ref().to_path_buf();
        let shown = path.display();
        about.check().context(|| &shown)?;
        if path.exists() {
            return Err(Error::invalid(format!("{shown}: it is there already")));
        }
        let mut part = OsString::from(&path);
        part.push(".part");
        let part = PathBuf::from(part);
        let tensors = about.tensors(labels.len());
        let header = weights::start(&tensors, &about.metadata()).context(|| &shown)?;
        let io = |e: std::io::Error| Error::io(format_args!("writing {}", part.display()), &e);
        let mut file =
            File::options().read(true).write(true).create(true).truncate(false).open(&part).map_err(io)?;
        match file.try_lock() {
            Err(TryLockError::WouldBlock) => {
                return Err(Error::invalid(format!("{}: another process is writing it", part.display())));
            }
            // A file system without locks is not a reason to stop.
            Ok(()) | Err(TryLockError::Error(_)) => {}
        }
        let begin = header.len() as u64 + 4 * labels.len() as u64;
        let len = file.metadata().map_err(io)?.len();
        let mut done = 0;
        if len < begin {
            // Nothing of worth is there.
            let labels: Vec<u8> = labels.iter().flat_map(|label| label.to_le_bytes()).collect();
            file.set_len(0).map_err(io)?;
            file.write_all(&header).and_then(|()| file.write_all(&labels)).map_err(io)?;
            file.sync_all().map_err(io)?;
        } else {
            let mut there = vec![0; header.len()];
            match file.read_exact(&mut there) {
                Err(e) if e.kind() != ErrorKind::UnexpectedEof => return Err(io(e)),
                _ if there != header => {
                    return Err(Error::invalid(format!(
                        "{}: it was begun for other pictures, views or another tokenizer; remove it or choose another \
                         place",
                        part.display()
                    )));
                }
                _ => {}
            }
            done = ((len - begin) / about.bytes()).saturating_sub(again as u64) as usize;
            if done > labels.len() {
                return Err(Error::format(format!("{}: longer than it can be", part.display())));
            }
        }
        let mut writer = Writer {
            labels: header.len() as u64,
            path,
            part,
            file,
            about: about.clone(),
            pictures: labels.len(),
            done,
            renamed: false,
        };
        writer.restore(labels)?;
        Ok(writer)
    }

    /// Forgets what is written once more.
    fn restore(&mut self, labels: &[u32]) -> Result<()> {
        let from = self.done;
        let bytes: Vec<u8> = labels[from..].iter().flat_map(|label| label.to_le_bytes()).collect();
        let end = self.end(from);
        self.at(self.labels + 4 * from as u64, &bytes)?;
        self.file.set_len(end).map_err(|e| self.io(&e))
    }

    /// Pictures that are there.
    pub fn done(&self) -> usize {
        self.done
    }

    /// Appends the codes of some pictures, (pictures, views, positions, k); `None` for one that could not be read.
    ///
    /// # Errors
    /// `InvalidArgument` for more pictures than were announced, another number of codes, or a code that is not in the
    /// codebook; `Io`.
    pub fn push(&mut self, pictures: &[Option<Vec<u32>>]) -> Result<()> {
        if pictures.len() > self.pictures - self.done {
            return Err(Error::invalid(format!("more than {} pictures", self.pictures)));
        }
        let mut bytes = Vec::new();
        for (i, codes) in pictures.iter().enumerate() {
            let Some(codes) = codes else {
                bytes.resize(bytes.len() + self.about.bytes() as usize, 0);
                self.at(self.labels + 4 * (self.done + i) as u64, &NONE.to_le_bytes())?;
                continue;
            };
            if codes.len() != self.about.picture_len() {
                return Err(Error::invalid(format!(
                    "{} codes of a picture, expected {}",
                    codes.len(),
                    self.about.picture_len()
                )));
            }
            if let Some(code) = codes.iter().find(|&&code| code as usize >= self.about.codebook_size) {
                return Err(Error::invalid(format!(
                    "code {code} of a codebook of {}",
                    self.about.codebook_size
                )));
            }
            match self.about.width_of_code() {
                2 => bytes.extend(codes.iter().flat_map(|&code| (code as u16).to_le_bytes())),
                _ => bytes.extend(codes.iter().flat_map(|&code| code.to_le_bytes())),
            }
        }
        self.at(self.end(self.done), &bytes)?;
        self.file.sync_data().map_err(|e| self.io(&e))?;
        self.done += pictures.len();
        Ok(())
    }

    /// Gives the whole file its name.
    ///
    /// # Errors
    /// `InvalidArgument` when pictures are missing; `Io`.
    pub fn finish(mut self) -> Result<()> {
        if self.done != self.pictures {
            return Err(Error::invalid(format!("{} of {} pictures were written", self.done, self.pictures)));
        }
        self.file.sync_all().map_err(|e| self.io(&e))?;
        files::rename(&self.part, &self.path)?;
        self.renamed = true;
        Ok(())
    }

    /// Where the codes of a picture begin.
    fn end(&self, picture: usize) -> u64 {
        self.labels + 4 * self.pictures as u64 + picture as u64 * self.about.bytes()
    }

    fn at(&mut self, place: u64, bytes: &[u8]) -> Result<()> {
        let written = self.file.seek(SeekFrom::Start(place)).and_then(|_| self.file.write_all(bytes));
        written.map_err(|e| self.io(&e))
    }

    fn io(&self, e: &std::io::Error) -> Error {
        Error::io(format_args!("writing {}", self.part.display()), e)
    }
}

/// A beginning of nothing would only be in the way of the next try.
impl Drop for Writer {
    fn drop(&mut self) {
        if self.done == 0 && !self.renamed {
            let _ = std::fs::remove_file(&self.part);
        }
    }
}

impl About {
    /// Bytes of a stored code.
    fn width_of_code(&self) -> usize {
        let [_, (_, codes)] = self.tensors(0);
        if codes.dtype == DType::U16 { 2 } else { 4 }
    }

    /// Bytes of a picture's codes.
    fn bytes(&self) -> u64 {
        (self.picture_len() * self.width_of_code()) as u64
    }
}
