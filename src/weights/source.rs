use super::checkpoint::{self, Checkpoint};
use super::header;
use super::listing::{FileType, Info, Listing};
use super::store::Store;
use crate::error::{Context, Error, Result};
use crate::tensor::{Bytes, Desc, FileMap, Tensor};
use crc32fast::Hasher;
use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;
use std::sync::{Arc, Mutex};

/// How a weight file gets into memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Map {
    /// Mapped read-only: no copy, shared with every other process that maps the file. The file must not be
    /// cut short while it is mapped (the system kills a process that reads past the new end).
    #[default]
    On,
    /// Each tensor is read into memory of our own when it is asked for. A file cut short meanwhile is an error.
    Off,
}

/// The tensors of a weight file, by the checkpoint's names.
///
/// Opening reads the header only. A tensor of a mapped file is the file's own memory wherever the type's
/// alignment allows it; it keeps the map alive for itself, so a `Source` may be dropped before its tensors.
pub struct Source {
    name: String,
    listing: Listing,
    content: Content,
    metadata: BTreeMap<String, String>,
}

/// Where the tensors are.
enum Content {
    /// Of a safetensors file: where each one's bytes begin in the store, and how many they are.
    Safetensors {
        store: Store,
        places: BTreeMap<String, (u64, usize)>,
    },
    Checkpoint(Checkpoint),
    Made(BTreeMap<String, Tensor>),
}

/// What kind of file a [`Source`] reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Format {
    /// A safetensors file.
    Safetensors,
    /// A checkpoint of PyTorch.
    Checkpoint {
        /// Under which of its keys the weights are; empty when they are all there is.
        part: Vec<String>,
        /// Its other keys, which are not read.
        others: Vec<String>,
    },
    /// No file: tensors that were there already.
    Memory,
}

impl Source {
    /// Opens a safetensors file, or a checkpoint that `torch.save` wrote (`.pt`).
    ///
    /// Of a checkpoint with more in it than weights, the weights are those under the first of `ema`, `model`,
    /// `module` and `state_dict` that there is; a generator's are never taken from `ema`.
    ///
    /// # Errors
    /// `Io` when the file cannot be read, `Format` when it is not what it should be, `OutOfMemory`.
    pub fn open(path: impl AsRef<Path>, map: Map) -> Result<Source> {
        Source::open_parts(path.as_ref(), map, &checkpoint::PARTS)
    }

    /// As [`Source::open`], but of a checkpoint of a run what it has under `part`: `discriminator`. A file without such
    /// a part is taken as it is.
    ///
    /// # Errors
    /// As [`Source::open`].
    pub fn open_part(path: impl AsRef<Path>, map: Map, part: &str) -> Result<Source> {
        let mut parts = vec![part];
        parts.extend(checkpoint::PARTS);
        let source = Source::open_parts(path.as_ref(), map, &parts)?;
        let below = |name: &str| Some(name.strip_prefix(part)?.strip_prefix('.')?.to_string());
        let names: Vec<_> = source.names().filter_map(|name| Some((name, below(name)?))).collect();
        if names.is_empty() {
            return Ok(source);
        }
        let tensors = names.into_iter().map(|(name, rest)| Ok((rest, source.tensor(name)?)));
        let mut found = Source::from_tensors(tensors.collect::<Result<Vec<_>>>()?, source.metadata.clone());
        found.name = format!("{}: {part}", source.name);
        Ok(found)
    }

    fn open_parts(path: &Path, map: Map, parts: &[&str]) -> Result<Source> {
        let io = |e: std::io::Error| Error::io(format_args!("opening {}", path.display()), &e);
        let file = File::open(path).map_err(io)?;
        let about = file.metadata().map_err(io)?;
        if about.is_dir() {
            return Err(io(std::io::ErrorKind::IsADirectory.into()));
        }
        let len = about.len();
        let store = match map {
            Map::On if len > 0 => {
                // SAFETY: the map is read-only and private to us. What the type cannot rule out is that
                // another process cuts or rewrites the file: `Map::On` documents this, `Map::Off` is for
                // files where that may happen.
                let map = unsafe { FileMap::new(&file) }.map_err(io)?;
                Store::Memory(Arc::new(map))
            }
            _ => Store::File { file: Mutex::new(file), len },
        };
        Source::read(path.display().to_string(), store, parts)
    }

    /// Reads a safetensors file or a checkpoint that somebody holds in memory, at any alignment.
    ///
    /// # Errors
    /// As [`Source::open`].
    pub fn from_bytes(bytes: Arc<dyn Bytes>) -> Result<Source> {
        Source::read("weights in memory".into(), Store::Memory(bytes), &checkpoint::PARTS)
    }

    /// Tensors that are already there, as if they stood in a file.
    pub fn from_tensors(
        tensors: impl IntoIterator<Item = (String, Tensor)>,
        metadata: BTreeMap<String, String>,
    ) -> Source {
        let made: BTreeMap<String, Tensor> = tensors.into_iter().collect();
        let info = |t: &Tensor| Info { dtype: FileType::Known(t.dtype()), shape: t.shape().to_vec() };
        let listing = made.iter().map(|(name, t)| (name.clone(), info(t))).collect();
        Source { name: "weights in memory".into(), listing, content: Content::Made(made), metadata }
    }

    fn read(name: String, store: Store, parts: &[&str]) -> Result<Source> {
        if cfg!(target_endian = "big") {
            return Err(Error::unsupported("weight files are little-endian, this machine is not"));
        }
        let len = store.len();
        let mut start = [0; 16];
        let start = &mut start[..len.min(16) as usize];
        store.read_into(0, start).context(|| &name)?;
        if checkpoint::is_archive(start) || checkpoint::is_legacy(start) {
            let open = if checkpoint::is_archive(start) { Checkpoint::open } else { Checkpoint::open_legacy };
            let checkpoint = open(Arc::new(store), parts).context(|| &name)?;
            let listing = checkpoint.infos().map(|(name, info)| (name.to_string(), info.clone())).collect();
            return Ok(Source {
                name,
                listing,
                content: Content::Checkpoint(checkpoint),
                metadata: BTreeMap::new(),
            });
        }
        let (header, data) = safetensors_header(start, &store).context(|| &name)?;
        let mut places = BTreeMap::new();
        let mut infos = Vec::new();
        for (tensor, entry) in header.tensors {
            let len = usize::try_from(entry.end - entry.begin)
                .map_err(|_| Error::format(format!("{name}: tensor {tensor} does not fit in memory")))?;
            places.insert(tensor.clone(), (data + entry.begin, len));
            infos.push((tensor, entry.info));
        }
        let listing = infos.into_iter().collect();
        Ok(Source {
            name,
            listing,
            content: Content::Safetensors { store, places },
            metadata: header.metadata,
        })
    }

    /// What kind of file it is.
    pub fn format(&self) -> Format {
        match &self.content {
            Content::Safetensors { .. } => Format::Safetensors,
            Content::Checkpoint(c) => Format::Checkpoint { part: c.part.clone(), others: c.others.clone() },
            Content::Made(_) => Format::Memory,
        }
    }

    /// The file's path, or what else it is, for messages.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Names, types and shapes of all tensors.
    pub fn listing(&self) -> &Listing {
        &self.listing
    }

    /// Names in alphabetical order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.listing.names()
    }

    /// Whether there is a tensor of that name.
    pub fn contains(&self, name: &str) -> bool {
        self.listing.contains(name)
    }

    /// A string of the header's `__metadata__`.
    pub fn metadata(&self, key: &str) -> Option<&str> {
        self.metadata.get(key).map(String::as_str)
    }

    /// The same tensors with other strings: these go beside the file's, or take their place.
    pub fn with_metadata(mut self, strings: impl IntoIterator<Item = (String, String)>) -> Source {
        self.metadata.extend(strings);
        self
    }

    /// All strings of the header's `__metadata__`.
    pub fn all_metadata(&self) -> &BTreeMap<String, String> {
        &self.metadata
    }

    /// The tensor of that name, `None` when there is none.
    ///
    /// # Errors
    /// `Unsupported` for a type that no tensor has, `Io` or `OutOfMemory` when it had to be read or copied.
    pub fn get(&self, name: &str) -> Result<Option<Tensor>> {
        let Some(info) = self.listing.get(name) else { return Ok(None) };
        self.load(name, info).map(Some).context(|| format!("{}: tensor {name}", self.name))
    }

    /// The tensor of that name.
    ///
    /// # Errors
    /// `Format` when there is none, and those of [`Source::get`].
    pub fn tensor(&self, name: &str) -> Result<Tensor> {
        self.get(name)?.ok_or_else(|| Error::format(format!("{}: tensor {name} is missing", self.name)))
    }

    /// CRC-32 of the names and bytes of all weights: whether two files hold the same.
    ///
    /// # Errors
    /// Those of [`Source::get`].
    pub fn fingerprint(&self) -> Result<u32> {
        let mut hasher = Hasher::new();
        for (name, info) in self.listing.iter().filter(|(_, info)| info.dtype.is_weight()) {
            let tensor = self.tensor(name)?;
            hasher.update(name.as_bytes());
            hasher.update(tensor.storage().as_bytes()?);
            tensor.storage().release();
            debug_assert_eq!(tensor.shape().count(), info.count());
        }
        Ok(hasher.finalize())
    }

    fn load(&self, name: &str, info: &Info) -> Result<Tensor> {
        let lost = || Error::internal("listed, but not there");
        match &self.content {
            Content::Made(all) => all.get(name).cloned().ok_or_else(lost),
            Content::Checkpoint(checkpoint) => checkpoint.tensor(name),
            Content::Safetensors { store, places } => {
                let (offset, len) = *places.get(name).ok_or_else(lost)?;
                let (dtype, shape) = info.readable()?;
                Tensor::new(Desc::plain(shape, dtype), store.storage(offset, len, dtype.size())?)
            }
        }
    }
}

/// The header of a file that begins with `start`, and where its data begin.
fn safetensors_header(start: &[u8], store: &Store) -> Result<(header::Header, u64)> {
    let len = store.len();
    let Some(prefix) = start.first_chunk() else {
        return Err(Error::format(format!("no weight file: it has {len} bytes")));
    };
    let n = header::length(*prefix, len)?;
    let data = header::PREFIX + n as u64;
    Ok((header::parse(&store.read(header::PREFIX, n)?, len - data)?, data))
}

impl std::fmt::Debug for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Source({}, {} tensors)", self.name, self.listing.len())
    }
}
