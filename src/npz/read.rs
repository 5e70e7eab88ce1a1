use crate::error::{Error, Result};
use npyz::{NpyFile, NpyHeader, Order, TypeChar};
use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use zip::{CompressionMethod, ZipArchive};

/// An archive whose headers were read.
#[derive(Debug)]
pub struct Npz {
    path: PathBuf,
    arrays: Vec<Array>,
}

/// What is known of an array before its elements are read.
#[derive(Clone, Debug)]
pub struct Array {
    /// Its name: `arr_0`.
    pub name: String,
    /// Its extents.
    pub shape: Vec<usize>,
    /// NumPy's word for its type: `|u1`.
    pub dtype: String,
    /// Whether its elements stand in C's order.
    pub is_c_order: bool,
    /// Its number in the archive.
    index: usize,
    /// Where its file's bytes begin in the archive, and how many they are there.
    pub(super) place: (u64, u64),
    /// Bytes of its header, before the elements.
    pub(super) header: u64,
    pub(super) is_stored: bool,
}

impl Npz {
    /// Opens an archive and reads what its arrays are.
    ///
    /// # Errors
    /// `Io`; `Format` when it is no archive of arrays, or an array's header is damaged; `Unsupported` for another
    /// compression than NumPy's.
    pub fn open(path: impl AsRef<Path>) -> Result<Npz> {
        let path = path.as_ref().to_path_buf();
        let mut zip = archive(&path)?;
        let mut arrays = Vec::new();
        for index in 0..zip.len() {
            let mut entry = zip.by_index(index).map_err(|e| damaged(&path, &e))?;
            let Some(name) = npyz::npz::array_name_from_file_name(entry.name()) else { continue };
            let name = name.to_string();
            let is_stored = match entry.compression() {
                CompressionMethod::Stored => true,
                CompressionMethod::Deflated => false,
                other => {
                    return Err(Error::unsupported(format!(
                        "{}: {name} is compressed by {other}, expected none or deflate",
                        path.display()
                    )));
                }
            };
            let size = entry.size();
            let place = (entry.data_start(), entry.compressed_size());
            let mut counted = Counted { inner: &mut entry, count: 0 };
            let header = NpyHeader::from_reader(&mut counted)
                .map_err(|e| Error::format(format!("{}: {name}: {e}", path.display())))?;
            let header_len = counted.count;
            let shape = header.shape().iter().map(|&n| usize::try_from(n).ok()).collect::<Option<Vec<_>>>();
            let npyz::DType::Plain(kind) = header.dtype() else {
                return Err(Error::unsupported(format!("{}: {name} has fields", path.display())));
            };
            let count = shape.as_ref().and_then(|s| s.iter().try_fold(1usize, |a, &b| a.checked_mul(b)));
            let bytes = kind.num_bytes().zip(count).and_then(|(each, n)| (n as u64).checked_mul(each as u64));
            match (shape, bytes) {
                (Some(shape), Some(bytes)) if header_len.checked_add(bytes) == Some(size) => {
                    arrays.push(Array {
                        name,
                        shape,
                        dtype: kind.to_string(),
                        is_c_order: header.order() == Order::C,
                        index,
                        place,
                        header: header_len,
                        is_stored,
                    });
                }
                _ => {
                    return Err(Error::format(format!(
                        "{}: {name}: {:?} of {kind} are not the {size} bytes that it has",
                        path.display(),
                        header.shape()
                    )));
                }
            }
        }
        if arrays.is_empty() {
            return Err(Error::format(format!("{}: an archive without arrays", path.display())));
        }
        Ok(Npz { path, arrays })
    }

    /// Where it lies.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its arrays, in the archive's order.
    pub fn arrays(&self) -> &[Array] {
        &self.arrays
    }

    /// The array of that name.
    pub fn array(&self, name: &str) -> Option<&Array> {
        self.arrays.iter().find(|array| array.name == name)
    }

    /// All elements of an array of f32 or f64, in C's order; `None` when there is none of that name.
    ///
    /// # Errors
    /// `Format` for another type or order, or damaged bytes; `Io`.
    pub fn floats(&self, name: &str) -> Result<Option<Vec<f64>>> {
        let Some(array) = self.array(name) else { return Ok(None) };
        let wrong = |what: String| Error::format(format!("{}: {name}: {what}", self.path.display()));
        if !array.is_c_order && array.shape.len() > 1 {
            return Err(wrong("in Fortran's order, expected C's".into()));
        }
        let mut zip = archive(&self.path)?;
        let entry = zip.by_index(array.index).map_err(|e| damaged(&self.path, &e))?;
        let npy = NpyFile::new(BufReader::new(entry)).map_err(|e| wrong(e.to_string()))?;
        let npyz::DType::Plain(kind) = npy.dtype() else { return Err(wrong("has fields".into())) };
        let values = match (kind.type_char(), kind.num_bytes()) {
            (TypeChar::Float, Some(8)) => npy.into_vec::<f64>(),
            (TypeChar::Float, Some(4)) => {
                npy.into_vec::<f32>().map(|all| all.into_iter().map(f64::from).collect())
            }
            _ => return Err(wrong(format!("of type {kind}, expected f4 or f8"))),
        };
        values.map(Some).map_err(|e| wrong(e.to_string()))
    }
}

fn archive(path: &Path) -> Result<ZipArchive<BufReader<File>>> {
    let io = |e: std::io::Error| Error::io(format_args!("reading {}", path.display()), &e);
    let mut file = File::open(path).map_err(io)?;
    let mut start = [0; 2];
    let whole = file.read_exact(&mut start).is_ok() && &start == b"PK";
    if !whole {
        return Err(Error::format(format!("{}: no .npz, which is a zip archive", path.display())));
    }
    file.seek(SeekFrom::Start(0)).map_err(io)?;
    ZipArchive::new(BufReader::new(file)).map_err(|e| damaged(path, &e))
}

fn damaged(path: &Path, e: &zip::result::ZipError) -> Error {
    Error::format(format!("{}: damaged: {e}", path.display()))
}

/// Counts what is read.
struct Counted<R> {
    inner: R,
    count: u64,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        let read = self.inner.read(out)?;
        self.count += read as u64;
        Ok(read)
    }
}
