use super::checkpoint::Contents;
use crate::error::{Error, Result};
use crate::tensor::Tensor;
use crate::weights::{Map, Source, save};
use std::fs;
use std::path::{Path, PathBuf};

/// Where a run leaves what it makes.
///
/// `checkpoints/step-00001000.safetensors` and so on have all that a run needs to go on, the last few of them;
/// `best.safetensors` and `last.safetensors` are weights to use.
pub struct Folder {
    path: PathBuf,
}

impl Folder {
    /// The folder of a run, made where there is none. What a killed run left half written is removed.
    ///
    /// # Errors
    /// `Io`.
    pub fn open(path: impl Into<PathBuf>) -> Result<Folder> {
        let folder = Folder { path: path.into() };
        let checkpoints = folder.checkpoints();
        let io = |what: &str, path: &Path, e: &std::io::Error| {
            Error::io(format_args!("{what} {}", path.display()), e)
        };
        fs::create_dir_all(&checkpoints).map_err(|e| io("making", &checkpoints, &e))?;
        for within in [&folder.path, &checkpoints] {
            for entry in fs::read_dir(within).map_err(|e| io("reading", within, &e))? {
                let entry = entry.map_err(|e| io("reading", within, &e))?;
                let name = entry.file_name();
                let name = name.to_string_lossy();
                if name.starts_with('.') && name.ends_with(".part") {
                    fs::remove_file(entry.path()).map_err(|e| io("removing", &entry.path(), &e))?;
                }
            }
        }
        Ok(folder)
    }

    /// The folder itself.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn checkpoints(&self) -> PathBuf {
        self.path.join("checkpoints")
    }

    /// The checkpoints that are there, oldest first.
    ///
    /// # Errors
    /// `Io`.
    pub fn list(&self) -> Result<Vec<(u64, PathBuf)>> {
        let path = self.checkpoints();
        let io = |e: std::io::Error| Error::io(format_args!("reading {}", path.display()), &e);
        let mut all = Vec::new();
        for entry in fs::read_dir(&path).map_err(io)? {
            let entry = entry.map_err(io)?;
            let name = entry.file_name();
            let step =
                name.to_str().and_then(|name| name.strip_prefix("step-")?.strip_suffix(".safetensors"));
            if let Some(step) = step.and_then(|step| step.parse().ok()) {
                all.push((step, entry.path()));
            }
        }
        all.sort();
        Ok(all)
    }

    /// The newest checkpoint that can be read; newer ones that cannot are told to `passed_over`.
    ///
    /// # Errors
    /// `Io`; that of the newest when there are some and none can be read.
    pub fn newest(&self, mut passed_over: impl FnMut(&Error)) -> Result<Option<Source>> {
        let mut first = None;
        for (_, path) in self.list()?.iter().rev() {
            match Source::open(path, Map::Off) {
                Ok(source) => return Ok(Some(source)),
                Err(error) => {
                    passed_over(&error);
                    first.get_or_insert(error);
                }
            }
        }
        first.map_or(Ok(None), Err)
    }

    /// Writes the checkpoint of a step, and then removes all but the last `keep`.
    ///
    /// # Errors
    /// `Io`, `InvalidArgument` for a name that stands twice.
    pub fn save(&self, step: u64, contents: &Contents, keep: usize) -> Result<()> {
        let tensors: Vec<(&str, Tensor)> =
            contents.tensors.iter().map(|(name, tensor)| (name.as_str(), tensor.clone())).collect();
        let path = self.checkpoints().join(format!("step-{step:08}.safetensors"));
        save(&path, &tensors, &contents.metadata)?;
        let all = self.list()?;
        for (_, old) in &all[..all.len().saturating_sub(keep)] {
            fs::remove_file(old).map_err(|e| Error::io(format_args!("removing {}", old.display()), &e))?;
        }
        Ok(())
    }
}
