use super::header;
use super::listing::{Info, Listing};
use super::store::Store;
use crate::error::{Context, Error, Result};
use crate::tensor::{Bytes, Desc, Tensor};
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
    store: Store,
    listing: Listing,
    places: BTreeMap<String, Place>,
    metadata: BTreeMap<String, String>,
}

/// Where a tensor's elements are.
enum Place {
    /// One after the other in the file.
    Plain { offset: u64, len: usize },
    /// In memory.
    Made(Tensor),
}

impl Source {
    /// Opens a safetensors file.
    ///
    /// # Errors
    /// `Io` when the file cannot be read, `Format` when it is not what it should be, `OutOfMemory`.
    pub fn open(path: impl AsRef<Path>, map: Map) -> Result<Source> {
        let path = path.as_ref();
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
                let map = unsafe { memmap2::Mmap::map(&file) }.map_err(io)?;
                Store::Memory(Arc::new(map))
            }
            _ => Store::File { file: Mutex::new(file), len },
        };
        Source::read(path.display().to_string(), store)
    }

    /// Reads a safetensors file that somebody holds in memory, at any alignment.
    ///
    /// # Errors
    /// As [`Source::open`].
    pub fn from_bytes(bytes: Arc<dyn Bytes>) -> Result<Source> {
        Source::read("weights in memory".into(), Store::Memory(bytes))
    }

    /// Tensors that are already there, as if they stood in a file.
    pub fn from_tensors(
        tensors: impl IntoIterator<Item = (String, Tensor)>,
        metadata: BTreeMap<String, String>,
    ) -> Source {
        let places: BTreeMap<_, _> = tensors.into_iter().map(|(name, t)| (name, Place::Made(t))).collect();
        let info = |place: &Place| match place {
            Place::Made(t) => {
                Info { dtype: super::listing::FileType::Known(t.dtype()), shape: t.shape().to_vec() }
            }
            Place::Plain { .. } => unreachable!("only tensors were put in"),
        };
        let listing = places.iter().map(|(name, place)| (name.clone(), info(place))).collect();
        Source {
            name: "weights in memory".into(),
            store: Store::Memory(Arc::new(Vec::new())),
            listing,
            places,
            metadata,
        }
    }

    fn read(name: String, store: Store) -> Result<Source> {
        if cfg!(target_endian = "big") {
            return Err(Error::unsupported("weight files are little-endian, this machine is not"));
        }
        let open = || -> Result<(header::Header, u64)> {
            let len = store.len();
            if len < header::PREFIX {
                return Err(Error::format(format!("no weight file: it has {len} bytes")));
            }
            let mut prefix = [0; 8];
            store.read_into(0, &mut prefix)?;
            let n = header::length(prefix, len)?;
            let data = header::PREFIX + n as u64;
            Ok((header::parse(&store.read(header::PREFIX, n)?, len - data)?, data))
        };
        let (header, data) = open().context(|| &name)?;
        let mut places = BTreeMap::new();
        let mut infos = Vec::new();
        for (tensor, entry) in header.tensors {
            let len = usize::try_from(entry.end - entry.begin)
                .map_err(|_| Error::format(format!("{name}: tensor {tensor} does not fit in memory")))?;
            places.insert(tensor.clone(), Place::Plain { offset: data + entry.begin, len });
            infos.push((tensor, entry.info));
        }
        let listing = infos.into_iter().collect();
        Ok(Source { name, store, listing, places, metadata: header.metadata })
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

    /// All strings of the header's `__metadata__`.
    pub fn all_metadata(&self) -> &BTreeMap<String, String> {
        &self.metadata
    }

    /// The tensor of that name, `None` when there is none.
    ///
    /// # Errors
    /// `Unsupported` for a type that no tensor has, `Io` or `OutOfMemory` when it had to be read or copied.
    pub fn get(&self, name: &str) -> Result<Option<Tensor>> {
        let (Some(place), Some(info)) = (self.places.get(name), self.listing.get(name)) else {
            return Ok(None);
        };
        self.load(place, info).map(Some).context(|| format!("{}: tensor {name}", self.name))
    }

    /// The tensor of that name.
    ///
    /// # Errors
    /// `Format` when there is none, and those of [`Source::get`].
    pub fn tensor(&self, name: &str) -> Result<Tensor> {
        self.get(name)?.ok_or_else(|| Error::format(format!("{}: tensor {name} is missing", self.name)))
    }

    fn load(&self, place: &Place, info: &Info) -> Result<Tensor> {
        match place {
            Place::Made(tensor) => Ok(tensor.clone()),
            Place::Plain { offset, len } => {
                let (dtype, shape) = info.readable()?;
                Tensor::new(Desc::plain(shape, dtype), self.store.storage(*offset, *len, dtype.size())?)
            }
        }
    }
}

impl std::fmt::Debug for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Source({}, {} tensors)", self.name, self.listing.len())
    }
}
