//! Codes: what the tokenizer makes of images, what a generator makes of classes, and their file format.

mod format;

pub use format::{HEADER, pack_into, unpack_info, unpack_into};

use crate::error::{Context, Error, Result};
use crate::files;
use std::io::{Read, Write};
use std::path::Path;

/// The sizes of a set of codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Info {
    /// Images.
    pub count: usize,
    /// Sub-codebooks, k; in the order (vis, sem) or (vis, sem_mid, sem_high).
    pub k: usize,
    /// Rows of the grid.
    pub height: usize,
    /// Columns of the grid.
    pub width: usize,
    /// Codes of a sub-codebook, N; every code is less.
    pub codebook_size: usize,
}

impl Info {
    /// Codes of one image: `k * height * width`.
    ///
    /// # Errors
    /// `InvalidArgument` when a size is 0, is more than 32 bits hold, or all together are too many to address.
    pub fn image_len(&self) -> Result<usize> {
        Ok(self.len()? / self.count)
    }

    /// Codes of all images: `count * k * height * width`.
    ///
    /// # Errors
    /// As [`Info::image_len`].
    #[expect(clippy::len_without_is_empty, reason = "it is never empty")]
    pub fn len(&self) -> Result<usize> {
        let sizes = [
            ("images", self.count),
            ("sub-codebooks", self.k),
            ("rows", self.height),
            ("columns", self.width),
            ("codes of a codebook", self.codebook_size),
        ];
        for (what, size) in sizes {
            if size == 0 || u32::try_from(size).is_err() {
                return Err(Error::invalid(format!("{size} {what}: expected 1 to {}", u32::MAX)));
            }
        }
        let len = sizes[..4].iter().try_fold(1usize, |n, (_, size)| n.checked_mul(*size));
        // So that their bytes, and their bits, can be counted.
        len.filter(|n| n.checked_mul(32).is_some()).ok_or_else(|| {
            Error::invalid(format!(
                "{} images of {} x {} x {} codes are too many to address",
                self.count, self.k, self.height, self.width
            ))
        })
    }

    /// Bits that a code takes in a file: the least that hold N - 1, and at least 1.
    pub fn code_bits(&self) -> u32 {
        (usize::BITS - self.codebook_size.saturating_sub(1).leading_zeros()).max(1)
    }

    /// Bytes of a code file of these sizes.
    ///
    /// # Errors
    /// As [`Info::image_len`].
    pub fn packed_len(&self) -> Result<usize> {
        Ok(HEADER + (self.len()? * self.code_bits() as usize).div_ceil(8) + 4)
    }

    /// Checks that `data` are codes of these sizes.
    ///
    /// # Errors
    /// `InvalidArgument`, naming the first code that is N or more, and where it stands.
    pub fn check(&self, data: &[u32]) -> Result<()> {
        let len = self.len()?;
        if data.len() != len {
            return Err(Error::invalid(format!(
                "{} images of {} x {} x {} codes are {len}, got {}",
                self.count,
                self.k,
                self.height,
                self.width,
                data.len()
            )));
        }
        match data.iter().position(|&code| code as usize >= self.codebook_size) {
            None => Ok(()),
            Some(at) => Err(Error::invalid(self.not_in_codebook(at, data[at]))),
        }
    }

    fn not_in_codebook(&self, at: usize, code: u32) -> String {
        let (rows, column) = (at / self.width, at % self.width);
        let (books, row) = (rows / self.height, rows % self.height);
        format!(
            "code {code} at image {}, sub-codebook {}, row {row}, column {column} is not in the codebook of {}",
            books / self.k,
            books % self.k,
            self.codebook_size
        )
    }
}

/// Codes of some images, laid out (count, k, height, width). Each is less than the codebook's size.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Codes {
    info: Info,
    data: Vec<u32>,
}

impl Codes {
    /// Codes that were made elsewhere.
    ///
    /// # Errors
    /// `InvalidArgument` as [`Info::check`].
    pub fn new(info: Info, data: Vec<u32>) -> Result<Codes> {
        info.check(&data)?;
        Ok(Codes { info, data })
    }

    /// Their sizes.
    pub fn info(&self) -> Info {
        self.info
    }

    /// All codes, (count, k, height, width).
    pub fn data(&self) -> &[u32] {
        &self.data
    }

    /// The codes, to keep.
    pub fn into_data(self) -> Vec<u32> {
        self.data
    }

    /// The codes of each image, (k, height, width).
    pub fn images(&self) -> impl ExactSizeIterator<Item = &[u32]> + Clone {
        self.data.chunks_exact(self.data.len() / self.info.count)
    }

    /// The bytes of a code file.
    ///
    /// # Errors
    /// `OutOfMemory`.
    pub fn pack(&self) -> Result<Vec<u8>> {
        let mut bytes = reserve(self.info.packed_len()?)?;
        pack_into(&self.info, &self.data, &mut bytes)?;
        Ok(bytes)
    }

    /// Codes of a code file's bytes.
    ///
    /// # Errors
    /// `Format` when the bytes are not a whole, undamaged code file and nothing else; `Unsupported` for a
    /// newer version; `OutOfMemory`.
    pub fn unpack(bytes: &[u8]) -> Result<Codes> {
        let info = unpack_info(bytes)?;
        let mut data = reserve(info.len()?)?;
        unpack_into(bytes, &mut data)?;
        Ok(Codes { info, data })
    }

    /// Writes a code file. It appears whole or not at all.
    ///
    /// # Errors
    /// `Io`, `OutOfMemory`.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        let bytes = self.pack()?;
        files::replace(path, |file| {
            file.write_all(&bytes).map_err(|e| Error::io(format_args!("writing {}", path.display()), &e))
        })
    }

    /// Reads a code file.
    ///
    /// # Errors
    /// `Io`, and those of [`Codes::unpack`], with the path before the message.
    pub fn load(path: impl AsRef<Path>) -> Result<Codes> {
        let path = path.as_ref();
        let io = |e| Error::io(format_args!("reading {}", path.display()), &e);
        let file = std::fs::File::open(path).map_err(io)?;
        // The header says how long the file should be; not more than one byte past that is read, so that a
        // wrong file of any size costs nothing.
        let mut bytes = Vec::new();
        (&file).take(HEADER as u64).read_to_end(&mut bytes).map_err(io)?;
        let len = format::expected_len(&bytes).context(|| path.display())?;
        (&file).take((len - HEADER) as u64 + 1).read_to_end(&mut bytes).map_err(io)?;
        Codes::unpack(&bytes).context(|| path.display())
    }
}

/// `len` zeros, or an error instead of an abort.
fn reserve<T: Clone + Default>(len: usize) -> Result<Vec<T>> {
    let mut vec = Vec::new();
    vec.try_reserve_exact(len)
        .map_err(|_| Error::out_of_memory(format!("no memory for {len} elements of a code file")))?;
    vec.resize(len, T::default());
    Ok(vec)
}
