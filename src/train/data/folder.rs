//! Folders of pictures, in an order that does not depend on the file system.

use crate::error::{Error, Result};
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

/// What lies in a folder, sorted by name.
#[derive(Default)]
pub struct Contents {
    pub pictures: Vec<OsString>,
    pub folders: Vec<OsString>,
    pub tars: Vec<OsString>,
    pub arrays: Vec<OsString>,
}

/// How deep a class may be; links that go round end there.
const DEEPEST: usize = 16;

/// Reads a folder. Names that begin with a dot are passed over, and files that are neither pictures, tars nor arrays of
/// pictures.
///
/// # Errors
/// `Io`.
pub fn contents(path: &Path) -> Result<Contents> {
    let io = |e| Error::io(format_args!("reading {}", path.display()), &e);
    let mut contents = Contents::default();
    for entry in fs::read_dir(path).map_err(io)? {
        let entry = entry.map_err(io)?;
        let name = entry.file_name();
        if name.as_encoded_bytes().starts_with(b".") {
            continue;
        }
        let mut kind = entry.file_type().map_err(io)?;
        if kind.is_symlink() {
            // One that leads nowhere is named when it is read as a picture.
            kind = fs::metadata(entry.path()).map_or(kind, |there| there.file_type());
        }
        let file = Path::new(&name);
        if kind.is_dir() {
            contents.folders.push(name);
        } else if is_picture(file) {
            contents.pictures.push(name);
        } else if file.extension().is_some_and(|e| e.eq_ignore_ascii_case("tar")) {
            contents.tars.push(name);
        } else if file.extension().is_some_and(|e| e.eq_ignore_ascii_case("npz")) {
            contents.arrays.push(name);
        }
    }
    contents.pictures.sort();
    contents.folders.sort();
    contents.tars.sort();
    contents.arrays.sort();
    Ok(contents)
}

/// The pictures under `root/within`, as paths from the root, a folder's own before those of its folders.
///
/// # Errors
/// `Io`; `InvalidArgument` when folders lie too deep.
pub fn pictures(root: &Path, within: &Path, found: &mut Vec<PathBuf>) -> Result<()> {
    if within.components().count() > DEEPEST {
        return Err(Error::invalid(format!(
            "{}: folders in folders, more than {DEEPEST} deep; does a link lead back?",
            root.join(within).display()
        )));
    }
    let contents = contents(&root.join(within))?;
    found.extend(contents.pictures.iter().map(|name| within.join(name)));
    contents.folders.iter().try_for_each(|name| pictures(root, &within.join(name), found))
}

/// Whether a file's name is a picture's.
pub fn is_picture(name: &Path) -> bool {
    let hidden = name.file_name().is_none_or(|n| n.as_encoded_bytes().starts_with(b"."));
    let known = |e: &std::ffi::OsStr| {
        ["png", "jpg", "jpeg", "jpe", "webp"].iter().any(|known| e.eq_ignore_ascii_case(known))
    };
    !hidden && name.extension().is_some_and(known)
}
