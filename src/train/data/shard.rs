//! Tar files read in place: an index says where each picture lies, and nothing is unpacked. A tar in a tar is a
//! window of the outer one's file. Names are only names here, and never become paths.

use super::folder::is_picture;
use crate::error::{Error, Result};
use crate::image::MAX_FILE;
use std::cell::Cell;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Component, Path, PathBuf};

/// A tar file.
#[derive(Debug)]
pub struct Shard {
    path: PathBuf,
    file: File,
}

/// A picture in a tar.
#[derive(Debug)]
pub struct Member {
    /// As the tar has it, after the names of the tars it lies in: `train.tar/n01440764.tar/n01440764_10026.JPEG`.
    pub name: Box<str>,
    /// First byte, from the beginning of the outermost tar.
    pub offset: u64,
    /// Bytes.
    pub len: u64,
    /// The folder that it lies in, inside the tar.
    pub folder: Option<String>,
    /// The number of the innermost tar.
    pub tar: u32,
}

/// What is in some tars.
#[derive(Debug, Default)]
pub struct Index {
    /// The pictures, in the tars' order.
    pub members: Vec<Member>,
    /// The names of the tars that have members, each without `.tar`.
    pub tars: Vec<String>,
}

/// How deep tars may lie in tars.
const DEEPEST: usize = 4;
/// The most bytes that the headers of one member may have: they are read into memory.
const HEADERS: u64 = 1 << 20;

impl Shard {
    /// Opens a tar and adds its pictures to an index.
    ///
    /// # Errors
    /// `Io`; `Format`, with the member before, when it is no tar, is damaged or cut short.
    pub fn open(path: &Path, index: &mut Index) -> Result<Shard> {
        let io = |e: io::Error| Error::io(format_args!("reading {}", path.display()), &e);
        let file = File::open(path).map_err(io)?;
        let len = file.metadata().map_err(io)?.len();
        let shard = Shard { path: path.to_path_buf(), file };
        let window = Window::new(&shard.file, 0, len);
        let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        let folder = path.parent().unwrap_or(Path::new(""));
        walk(&window, folder, &name, &name, 1, index)?;
        Ok(shard)
    }

    /// The bytes of a member.
    ///
    /// # Errors
    /// `Io`, `OutOfMemory`, and `Unsupported` for more than a picture file may have.
    pub fn read(&self, offset: u64, len: u64) -> Result<Vec<u8>> {
        if len > MAX_FILE {
            return Err(Error::unsupported(format!("{len} bytes, more than any picture needs ({MAX_FILE})")));
        }
        let none = || Error::out_of_memory(format!("no memory for a picture file of {len} bytes"));
        let len = usize::try_from(len).map_err(|_| none())?;
        let mut bytes = Vec::new();
        bytes.try_reserve_exact(len).map_err(|_| none())?;
        bytes.resize(len, 0);
        let mut window = &Window::new(&self.file, offset, len as u64);
        window.allowed.set(len as u64);
        window
            .read_exact(&mut bytes)
            .map_err(|e| Error::io(format_args!("reading {}", self.path.display()), &e))?;
        Ok(bytes)
    }
}

/// Adds the pictures of a tar to the index. `name` is its file's, `place` leads there from `folder`.
fn walk(
    window: &Window<'_>,
    folder: &Path,
    name: &str,
    place: &str,
    depth: usize,
    index: &mut Index,
) -> Result<()> {
    let number = index.tars.len() as u32;
    index.tars.push(stem(name).to_string());
    let mut last = String::from("its beginning");
    let mut archive = tar::Archive::new(window);
    let shown = folder.join(place);
    let shown = shown.display();
    let damaged = |last: &str, e: io::Error| Error::format(format!("{shown}: damaged after {last}: {e}"));
    for entry in archive.entries_with_seek().map_err(|e| damaged(&last, e))? {
        let entry = entry.map_err(|e| damaged(&last, e))?;
        window.allowed.set(HEADERS);
        let (offset, len) = (entry.raw_file_position(), entry.size());
        last = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        let kind = entry.header().entry_type();
        if offset.checked_add(len).is_none_or(|end| end > window.len) && !kind.is_gnu_sparse() {
            return Err(Error::format(format!(
                "{shown}: cut short: {last} has {len} bytes from {offset}, the tar has {}",
                window.len
            )));
        }
        // Links have no bytes, and those of a sparse file lie apart.
        if !kind.is_file() && !kind.is_contiguous() {
            continue;
        }
        let path = PathBuf::from(&last);
        let part = |c: Component<'_>| match c {
            Component::Normal(part) => Some(part.to_string_lossy().into_owned()),
            _ => None,
        };
        let mut parts = path.components().rev().map(part);
        let Some(file) = parts.next().flatten() else { continue };
        let inside = format!("{place}/{last}");
        if stem(&file) != file {
            if depth == DEEPEST {
                return Err(Error::format(format!(
                    "{shown}: {file}: tars in tars, more than {DEEPEST} deep"
                )));
            }
            let inner = Window::new(window.file, window.begin + offset, len);
            walk(&inner, folder, &file, &inside, depth + 1, index)?;
        } else if is_picture(Path::new(&file)) {
            index.members.push(Member {
                name: inside.into(),
                offset: window.begin + offset,
                len,
                folder: parts.flatten().next(),
                tar: number,
            });
        }
    }
    Ok(())
}

/// A name without `.tar`; the whole name when it has no such end.
pub fn stem(name: &str) -> &str {
    let cut = name.len().saturating_sub(4);
    match name.get(cut..) {
        Some(end) if end.eq_ignore_ascii_case(".tar") && cut > 0 => &name[..cut],
        _ => name,
    }
}

/// A stretch of a file, read where it is asked for, so that threads may share the file.
struct Window<'a> {
    file: &'a File,
    begin: u64,
    len: u64,
    at: Cell<u64>,
    /// Bytes that may be read before somebody has to allow more.
    allowed: Cell<u64>,
}

impl<'a> Window<'a> {
    fn new(file: &'a File, begin: u64, len: u64) -> Window<'a> {
        Window { file, begin, len, at: Cell::new(0), allowed: Cell::new(HEADERS) }
    }
}

impl Read for &Window<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let left = self.len.saturating_sub(self.at.get());
        let count = left.min(out.len() as u64);
        if count > self.allowed.get() {
            return Err(io::Error::other(format!("a header of more than {HEADERS} bytes")));
        }
        let read = read_at(self.file, &mut out[..count as usize], self.begin + self.at.get())?;
        self.at.set(self.at.get() + read as u64);
        self.allowed.set(self.allowed.get() - read as u64);
        Ok(read)
    }
}

impl Seek for &Window<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let at = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::Current(by) => self.at.get().checked_add_signed(by),
            SeekFrom::End(by) => self.len.checked_add_signed(by),
        };
        let at = at.ok_or_else(|| io::Error::other("a position that no file has"))?;
        self.at.set(at);
        Ok(at)
    }
}

#[cfg(unix)]
fn read_at(file: &File, out: &mut [u8], at: u64) -> io::Result<usize> {
    std::os::unix::fs::FileExt::read_at(file, out, at)
}

#[cfg(windows)]
fn read_at(file: &File, out: &mut [u8], at: u64) -> io::Result<usize> {
    std::os::windows::fs::FileExt::seek_read(file, out, at)
}
