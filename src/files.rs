//! Files that appear whole or not at all.

use crate::error::{Error, Result};
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// Writes a file beside its place, flushes it to the disk and renames it, so that a reader, a full disk or a
/// lost power never meets half of it; what was there before stays until then.
///
/// # Errors
/// `Io`, with the path in the message; those of `write`.
pub(crate) fn replace(path: &Path, write: impl FnOnce(&mut File) -> Result<()>) -> Result<()> {
    let name = path.file_name().ok_or_else(|| Error::invalid(format!("{}: no file name", path.display())))?;
    let io = |e: std::io::Error| Error::io(format_args!("writing {}", path.display()), &e);
    let (mut beside, mut file) = create_beside(path, name).map_err(io)?;
    write(&mut file)?;
    file.sync_all().map_err(io)?;
    drop(file);
    rename(&beside.path, path)?;
    beside.renamed = true;
    Ok(())
}

/// Gives a file that is whole, and on the disk, its name in the same folder.
///
/// # Errors
/// `Io`, with the path in the message.
pub(crate) fn rename(from: &Path, path: &Path) -> Result<()> {
    fs::rename(from, path).map_err(|e| Error::io(format_args!("writing {}", path.display()), &e))?;
    // The name reaches the disk with its directory. Where directories cannot be opened or synced, the file is
    // still whole.
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if let Ok(folder) = File::open(folder) {
        let _ = folder.sync_all();
    }
    Ok(())
}

/// A new file, of a name that no other call is using; in this order, as open files cannot be removed everywhere.
fn create_beside(path: &Path, name: &OsStr) -> std::io::Result<(Beside, File)> {
    let mut number = 0;
    loop {
        let mut beside = OsString::from(".");
        beside.push(name);
        beside.push(format!(".{}-{number}.part", std::process::id()));
        let beside = path.with_file_name(beside);
        match File::create_new(&beside) {
            Ok(file) => return Ok((Beside { path: beside, renamed: false }, file)),
            Err(e) if e.kind() == ErrorKind::AlreadyExists && number < 1000 => number += 1,
            Err(e) => return Err(e),
        }
    }
}

/// Removes the unfinished file when writing fails. After the rename the name may be another call's.
struct Beside {
    path: PathBuf,
    renamed: bool,
}

impl Drop for Beside {
    fn drop(&mut self) {
        if !self.renamed {
            let _ = fs::remove_file(&self.path);
        }
    }
}
