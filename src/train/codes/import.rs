use super::{About, Views, Writer};
use crate::error::{Error, Result};
use npyz::NpyFile;
use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};

/// Codes as the paper's authors store them: `NAME_codes/I_BRANCH.npy`, (1, views, positions), and `NAME_labels/I.npy`,
/// one number, for I from 0; integers of 64 bits.
#[derive(Debug)]
pub struct Numpy {
    codes: PathBuf,
    labels: Vec<u32>,
    about: About,
}

/// Pictures that reach the disk at once.
const AT_ONCE: usize = 1024;

impl Numpy {
    /// Finds the two folders in `path` and reads the labels. Views and grid (a square) are read off the first picture's
    /// shape; the file says nothing of the codebook, of `codebook_size` codes.
    ///
    /// # Errors
    /// `Io`; `Format` for files of another kind; `InvalidArgument` when a folder is missing or not the only one.
    pub fn open(path: impl AsRef<Path>, branches: &[String], codebook_size: usize) -> Result<Numpy> {
        let path = path.as_ref();
        let (codes, folder) = (only(path, "_codes")?, only(path, "_labels")?);
        let mut labels = Vec::new();
        loop {
            let file = folder.join(format!("{}.npy", labels.len()));
            if !file.exists() {
                break;
            }
            let (_, numbers) = read(&file)?;
            match numbers[..] {
                [label] if (0..i64::from(u32::MAX)).contains(&label) => labels.push(label as u32),
                _ => return Err(Error::format(format!("{}: expected one label", file.display()))),
            }
        }
        let count = std::fs::read_dir(&folder)
            .map_err(|e| Error::io(format_args!("reading {}", folder.display()), &e))?
            .filter(|e| e.as_ref().is_ok_and(|e| e.path().extension().is_some_and(|e| e == "npy")))
            .count();
        if labels.is_empty() || count != labels.len() {
            return Err(Error::invalid(format!(
                "{}: {count} labels, expected 0.npy and so on; {}.npy is not there",
                folder.display(),
                labels.len()
            )));
        }
        let Some(branch) = branches.first() else {
            return Err(Error::invalid("no sub-codebook is named"));
        };
        let first = codes.join(format!("0_{branch}.npy"));
        let (shape, _) = read(&first)?;
        let &[1, views, positions] = shape.as_slice() else {
            return Err(Error::format(format!(
                "{}: shape {shape:?}, expected (1, views, positions)",
                first.display()
            )));
        };
        let views = Views::ALL.into_iter().find(|v| v.count() as u64 == views).ok_or_else(|| {
            Error::format(format!("{}: {views} views, expected 1, 2 or 10", first.display()))
        })?;
        let side = positions.isqrt() as usize;
        if (side * side) as u64 != positions {
            return Err(Error::format(format!(
                "{}: {positions} positions, expected a square",
                first.display()
            )));
        }
        let classes = labels.iter().max().map_or(0, |most| *most as usize + 1);
        let about = About {
            classes: (0..classes).map(|class| class.to_string()).collect(),
            views,
            height: side,
            width: side,
            branches: branches.to_vec(),
            codebook_size,
            shard: (0, 1),
            origin: format!("imported from {}", path.display()),
        };
        about.check()?;
        Ok(Numpy { codes, labels, about })
    }

    /// What is there.
    pub fn about(&self) -> &About {
        &self.about
    }

    /// Writes all as one file, or goes on writing it. `progress` is told how many pictures are done, of how many; the
    /// error that it returns ends the work.
    ///
    /// # Errors
    /// As [`Writer::open`]; `Io` and `Format`, with the file's name, for codes that are not there or do not fit.
    pub fn write(&self, path: &Path, mut progress: impl FnMut(usize, usize) -> Result<()>) -> Result<()> {
        let mut writer = Writer::open(path, &self.about, &self.labels, AT_ONCE)?;
        let all = self.labels.len();
        progress(writer.done(), all)?;
        while writer.done() < all {
            let next = writer.done()..all.min(writer.done() + AT_ONCE);
            writer.push(&next.map(|i| self.picture(i).map(Some)).collect::<Result<Vec<_>>>()?)?;
            progress(writer.done(), all)?;
        }
        writer.finish()
    }

    /// The codes of a picture, (views, positions, k).
    fn picture(&self, number: usize) -> Result<Vec<u32>> {
        let (k, each) = (self.about.k(), self.about.views.count() * self.about.positions());
        let mut codes = vec![0; k * each];
        for (branch, name) in self.about.branches.iter().enumerate() {
            let file = self.codes.join(format!("{number}_{name}.npy"));
            let (shape, numbers) = read(&file)?;
            if numbers.len() != each {
                return Err(Error::format(format!(
                    "{}: shape {shape:?}, expected {} views of {} codes",
                    file.display(),
                    self.about.views.count(),
                    self.about.positions()
                )));
            }
            for (to, code) in codes[branch..].iter_mut().step_by(k).zip(numbers) {
                *to = u32::try_from(code)
                    .ok()
                    .filter(|&code| (code as usize) < self.about.codebook_size)
                    .ok_or_else(|| {
                        Error::format(format!(
                            "{}: code {code} is not in a codebook of {}",
                            file.display(),
                            self.about.codebook_size
                        ))
                    })?;
            }
        }
        Ok(codes)
    }
}

/// The folder in `path` whose name ends so.
fn only(path: &Path, end: &str) -> Result<PathBuf> {
    let io = |e| Error::io(format_args!("reading {}", path.display()), &e);
    let all = std::fs::read_dir(path).map_err(io)?.map(|entry| Ok(entry.map_err(io)?.path()));
    let mut all = all.collect::<Result<Vec<PathBuf>>>()?;
    all.retain(|p| p.is_dir() && p.file_name().is_some_and(|n| n.to_string_lossy().ends_with(end)));
    match all.len() {
        1 => Ok(all.remove(0)),
        n => Err(Error::invalid(format!("{}: {n} folders *{end}, expected one", path.display()))),
    }
}

/// The shape and integers of a `.npy` file.
fn read(path: &Path) -> Result<(Vec<u64>, Vec<i64>)> {
    let io = |e| Error::io(format_args!("reading {}", path.display()), &e);
    let file = File::open(path).map_err(io)?;
    let len = file.metadata().map_err(io)?.len();
    let bad = |what: &str| Error::format(format!("{}: {what}", path.display()));
    let npy = NpyFile::new(BufReader::new(file)).map_err(|e| bad(&format!("no .npy file: {e}")))?;
    let shape = npy.shape().to_vec();
    // What the header says is not believed before the file is seen to be as long.
    let count = shape.iter().try_fold(1u64, |n, &extent| n.checked_mul(extent));
    if count.and_then(|n| n.checked_mul(8)).is_none_or(|bytes| bytes > len) {
        return Err(bad(&format!("shape {shape:?}, but the file has {len} bytes")));
    }
    if npy.order() != npyz::Order::C {
        return Err(bad("in Fortran's order, expected C's"));
    }
    let numbers = npy.into_vec::<i64>().map_err(|e| bad(&format!("expected integers of 64 bits: {e}")))?;
    Ok((shape, numbers))
}
