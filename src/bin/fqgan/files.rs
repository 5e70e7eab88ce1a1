//! Which files a command reads and writes.

use crate::failure::{Failure, Result, usage};
use fqgan::Error;
use std::collections::{HashMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Kinds of files, by their extensions in small letters.
pub struct Kind {
    /// What a person calls them.
    pub name: &'static str,
    pub extensions: &'static [&'static str],
}

pub const PICTURES: Kind = Kind { name: "pictures", extensions: &["png", "jpg", "jpeg", "webp"] };
pub const CODES: Kind = Kind { name: "code files", extensions: &["fqc"] };

/// A file to read.
pub struct Input {
    pub path: PathBuf,
    /// Its path below the folder that was named, or its name alone.
    relative: PathBuf,
}

/// A file to read, and the one to write.
pub struct Job {
    pub input: PathBuf,
    pub output: PathBuf,
}

/// Where results go.
#[derive(Debug)]
pub enum Target {
    /// One file for all.
    File(PathBuf),
    /// A file for each, below this folder.
    Folder(PathBuf),
}

impl Target {
    /// A file when `path` ends in `.extension` and is no folder, else a folder.
    pub fn new(path: &Path, extension: &str) -> Result<Target> {
        let found = lower_extension(path);
        if path.is_dir() || found.is_empty() || path.as_os_str().to_string_lossy().ends_with('/') {
            return Ok(Target::Folder(path.to_owned()));
        }
        if found == extension {
            return Ok(Target::File(path.to_owned()));
        }
        if [PICTURES.extensions, CODES.extensions].concat().contains(&found.as_str()) {
            return usage(format!(
                "-o {}: this command writes .{extension} files; name one, or a folder",
                path.display()
            ));
        }
        Ok(Target::Folder(path.to_owned()))
    }
}

/// The files that were named, and those of the kind below the folders that were named, each folder in
/// alphabetical order. Hidden files are left out; links to folders are not followed, so that there is an end.
pub fn collect(paths: &[PathBuf], kind: &Kind) -> Result<Vec<Input>> {
    let mut inputs = Vec::new();
    for path in paths {
        if !path.is_dir() {
            let relative = path.file_name().map(PathBuf::from).unwrap_or_default();
            inputs.push(Input { path: path.clone(), relative });
            continue;
        }
        let before = inputs.len();
        walk(path, Path::new(""), kind, &mut inputs)?;
        if inputs.len() == before {
            let wanted = kind.extensions.join(", .");
            return Err(Failure::Failed(Error::invalid(format!(
                "{}: there are no {} in this folder (.{wanted})",
                path.display(),
                kind.name
            ))));
        }
    }
    Ok(inputs)
}

fn walk(root: &Path, below: &Path, kind: &Kind, inputs: &mut Vec<Input>) -> Result {
    let folder = root.join(below);
    let io = |e| Error::io(format_args!("reading {}", folder.display()), &e);
    let entries = fs::read_dir(&folder).map_err(io)?;
    let mut entries = entries.collect::<std::io::Result<Vec<_>>>().map_err(io)?;
    entries.sort_by_key(|e| e.file_name());
    for entry in entries {
        let name = entry.file_name();
        if name.to_string_lossy().starts_with('.') {
            continue;
        }
        let relative = below.join(&name);
        if entry.file_type().map_err(io)?.is_dir() {
            walk(root, &relative, kind, inputs)?;
        } else if kind.extensions.contains(&lower_extension(&relative).as_str()) && entry.path().is_file() {
            inputs.push(Input { path: entry.path(), relative });
        }
    }
    Ok(())
}

/// Gives each input its output below `folder`: the same name with another extension. Two inputs with one
/// output are refused, and an output that is an input.
pub fn plan(inputs: Vec<Input>, folder: &Path, extension: &str) -> Result<Vec<Job>> {
    let jobs: Vec<Job> = inputs
        .into_iter()
        .map(|i| Job { output: folder.join(i.relative.with_extension(extension)), input: i.path })
        .collect();
    let mut taken: HashMap<&Path, &Path> = HashMap::new();
    for job in &jobs {
        if let Some(other) = taken.insert(&job.output, &job.input) {
            let (a, b) = (other.display(), job.input.display());
            return usage(format!("{a} and {b} would both be written to {}", job.output.display()));
        }
    }
    keep_inputs(&jobs)?;
    Ok(jobs)
}

/// Gives all inputs one output.
pub fn plan_one(inputs: Vec<Input>, output: &Path) -> Result<Vec<Job>> {
    let jobs: Vec<Job> =
        inputs.into_iter().map(|i| Job { input: i.path, output: output.to_owned() }).collect();
    keep_inputs(&jobs)?;
    Ok(jobs)
}

/// Refuses an output that is an input.
fn keep_inputs(jobs: &[Job]) -> Result {
    let inputs: HashSet<PathBuf> = jobs.iter().filter_map(|j| fs::canonicalize(&j.input).ok()).collect();
    let clash = jobs.iter().find(|j| fs::canonicalize(&j.output).is_ok_and(|there| inputs.contains(&there)));
    match clash {
        Some(job) => usage(format!(
            "{} is an input and would be written over: choose another -o",
            job.output.display()
        )),
        None => Ok(()),
    }
}

/// Makes the folder that a file is to be written in.
pub fn make_parent(file: &Path) -> fqgan::Result<()> {
    match file.parent() {
        Some(parent) => fs::create_dir_all(parent)
            .map_err(|e| Error::io(format_args!("making the folder {}", parent.display()), &e)),
        None => Ok(()),
    }
}

fn lower_extension(path: &Path) -> String {
    path.extension().map(|e| e.to_string_lossy().to_ascii_lowercase()).unwrap_or_default()
}
