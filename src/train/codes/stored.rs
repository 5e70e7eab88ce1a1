use super::About;
use super::about::NONE;
use crate::error::{Error, Result};
use crate::tensor::{DType, Tensor};
use crate::weights::{Map, Source};
use std::path::{Path, PathBuf};

/// Stored codes, mapped: opening reads labels only, and codes come from the disk as they are asked for.
#[derive(Debug)]
pub struct Stored {
    about: About,
    labels: Vec<u32>,
    /// Of each picture, its file and its row there.
    places: Vec<(u32, u32)>,
    /// The codes of each file, and the file's name.
    files: Vec<(Tensor, String)>,
}

impl Stored {
    /// Opens a file of codes, or a folder of the files of all shards. The files must not be changed meanwhile.
    ///
    /// # Errors
    /// `Io`; `Format` for what is no such file, or a folder where shards are missing or do not belong together.
    pub fn open(path: impl AsRef<Path>) -> Result<Stored> {
        let path = path.as_ref();
        let mut parts = Vec::new();
        for file in files(path)? {
            let source = Source::open(&file, Map::On)?;
            parts.push((About::read(&source)?, source));
        }
        parts.sort_by_key(|(about, _)| about.shard.0);
        let Some((first, _)) = parts.first() else {
            return Err(Error::invalid(format!("{}: no .safetensors files there", path.display())));
        };
        let about = About { shard: (0, 1), ..first.clone() };
        let shards = first.shard.1;
        let mut stored = Stored { about, labels: Vec::new(), places: Vec::new(), files: Vec::new() };
        for (number, (part, source)) in parts.iter().enumerate() {
            if (About { shard: (0, 1), ..part.clone() }) != stored.about || part.shard.1 != shards {
                return Err(Error::format(format!(
                    "{}: codes of other pictures, views or tokenizer than {} has",
                    source.name(),
                    parts[0].1.name()
                )));
            }
            if part.shard.0 != number {
                let found: Vec<String> = parts.iter().map(|(p, _)| p.shard.0.to_string()).collect();
                return Err(Error::format(format!(
                    "{}: shards {} are there, expected each of 0 to {} once",
                    path.display(),
                    found.join(", "),
                    shards - 1
                )));
            }
            stored.add(source)?;
        }
        if parts.len() != shards {
            return Err(Error::format(format!(
                "{}: {} of {shards} shards are there",
                path.display(),
                parts.len()
            )));
        }
        if stored.is_empty() {
            return Err(Error::format(format!("{}: codes of no picture", path.display())));
        }
        Ok(stored)
    }

    fn add(&mut self, source: &Source) -> Result<()> {
        let (labels, codes) = (source.tensor("labels")?, source.tensor("codes")?);
        let wanted = self.about.tensors(labels.shape().first().copied().unwrap_or(0));
        for ((name, wanted), tensor) in wanted.iter().zip([&labels, &codes]) {
            if tensor.desc() != wanted {
                return Err(Error::format(format!(
                    "{}: tensor {name} is {}, expected {wanted}",
                    source.name(),
                    tensor.desc()
                )));
            }
        }
        let file = self.files.len() as u32;
        let labels = labels.data::<u32>()?;
        if u32::try_from(self.labels.len() + labels.len()).is_err() {
            return Err(Error::unsupported(format!("{}: more than 2^32 - 1 pictures", source.name())));
        }
        for (row, &label) in labels.iter().enumerate().filter(|(_, label)| **label != NONE) {
            if label as usize >= self.about.classes.len() {
                return Err(Error::format(format!(
                    "{}: picture {row} is of class {label}, there are {}",
                    source.name(),
                    self.about.classes.len()
                )));
            }
            self.labels.push(label);
            self.places.push((file, row as u32));
        }
        self.files.push((codes, source.name().to_string()));
        Ok(())
    }

    /// What the codes are of.
    pub fn about(&self) -> &About {
        &self.about
    }

    /// Pictures that have codes.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Never: such files are refused.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// Views of each picture.
    pub fn augmentations(&self) -> usize {
        self.about.views.count()
    }

    /// Rows and columns of the grid.
    pub fn positions(&self) -> (usize, usize) {
        (self.about.height, self.about.width)
    }

    /// Sub-codebooks.
    pub fn k(&self) -> usize {
        self.about.k()
    }

    /// Codes of a sub-codebook.
    pub fn codebook_size(&self) -> usize {
        self.about.codebook_size
    }

    /// The class of each picture.
    pub fn labels(&self) -> &[u32] {
        &self.labels
    }

    /// The class of a picture.
    ///
    /// # Panics
    /// When there is no such picture.
    pub fn label(&self, picture: usize) -> u32 {
        self.labels[picture]
    }

    /// Copies the codes of a picture's view, (positions, k).
    ///
    /// # Errors
    /// `InvalidArgument` when `codes` has another length; `Format` when a code is not in the codebook.
    ///
    /// # Panics
    /// When there is no such picture or view.
    pub fn codes(&self, picture: usize, augmentation: usize, codes: &mut [u32]) -> Result<()> {
        let len = self.about.view_len();
        if codes.len() != len {
            return Err(Error::invalid(format!("a view has {len} codes, got room for {}", codes.len())));
        }
        assert!(augmentation < self.augmentations(), "view {augmentation} of {}", self.augmentations());
        let (file, row) = self.places[picture];
        let (tensor, name) = &self.files[file as usize];
        let begin = (row as usize * self.augmentations() + augmentation) * len;
        match tensor.dtype() {
            DType::U16 => {
                let stored = &tensor.data::<u16>()?[begin..][..len];
                codes.iter_mut().zip(stored).for_each(|(to, from)| *to = u32::from(*from));
            }
            _ => codes.copy_from_slice(&tensor.data::<u32>()?[begin..][..len]),
        }
        match codes.iter().find(|&&code| code as usize >= self.codebook_size()) {
            None => Ok(()),
            Some(code) => Err(Error::format(format!(
                "{name}: code {code} of row {row} is not in a codebook of {}",
                self.codebook_size()
            ))),
        }
    }
}

/// The file, or those of the folder.
fn files(path: &Path) -> Result<Vec<PathBuf>> {
    if !path.is_dir() {
        return Ok(vec![path.to_path_buf()]);
    }
    let io = |e| Error::io(format_args!("reading {}", path.display()), &e);
    let all = std::fs::read_dir(path).map_err(io)?.map(|entry| Ok(entry.map_err(io)?.path()));
    let all = all.collect::<Result<Vec<_>>>()?;
    let mut all: Vec<_> =
        all.into_iter().filter(|p| p.extension().is_some_and(|e| e == "safetensors")).collect();
    all.sort();
    Ok(all)
}
