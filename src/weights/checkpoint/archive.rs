use crate::error::{Error, Result};
use crate::weights::store::Store;
use std::io::{Error as IoError, ErrorKind, Read, Result as IoResult, Seek, SeekFrom};
use std::sync::{Arc, Mutex, PoisonError};
use zip::{CompressionMethod, ZipArchive};

/// Deflate cannot pack more than this many bytes into one: what claims more is a lie that would cost memory.
const MAX_RATIO: u64 = 1032;

/// A zip file whose members are found in the store.
pub(super) struct Archive {
    zip: Mutex<ZipArchive<Reader>>,
    /// Bytes of the whole file.
    len: u64,
}

/// A member of the archive. Stored members can be read where they are.
#[derive(Clone, Copy, Debug)]
pub(super) struct Member {
    index: usize,
    /// Bytes, unpacked.
    pub len: u64,
    /// Where its bytes begin in the file, if they are not compressed.
    pub stored_at: Option<u64>,
}

impl Member {
    /// Bytes of a file that is no archive.
    pub fn stored(at: u64, len: u64) -> Member {
        Member { index: 0, len, stored_at: Some(at) }
    }
}

impl Archive {
    pub fn open(store: Arc<Store>) -> Result<Archive> {
        let len = store.len();
        let zip = ZipArchive::new(Reader { store, at: 0 }).map_err(failed)?;
        Ok(Archive { zip: Mutex::new(zip), len })
    }

    /// Names of all members.
    pub fn names(&self) -> Vec<String> {
        self.lock().file_names().map(String::from).collect()
    }

    /// The member of that name.
    pub fn find(&self, name: &str) -> Result<Member> {
        let mut zip = self.lock();
        let index = zip.index_for_name(name);
        let index = index.ok_or_else(|| Error::format(format!("the archive has no member {name}")))?;
        let file = zip.by_index_raw(index).map_err(failed)?;
        let (len, packed) = (file.size(), file.compressed_size());
        if file.encrypted() {
            return Err(Error::unsupported(format!("member {name} is encrypted")));
        }
        let at = file.data_start();
        if at.checked_add(packed).is_none_or(|end| end > self.len) {
            return Err(Error::format(format!("member {name} ends after the file: it was cut short")));
        }
        let stored_at = match file.compression() {
            CompressionMethod::Stored if len == packed => Some(at),
            CompressionMethod::Deflated if len / MAX_RATIO <= packed => None,
            CompressionMethod::Stored | CompressionMethod::Deflated => {
                return Err(Error::format(format!("member {name} cannot have {len} bytes, as it says")));
            }
            other => return Err(Error::unsupported(format!("member {name} is compressed by {other}"))),
        };
        Ok(Member { index, len, stored_at })
    }

    /// Fills `to` with the first bytes of a member.
    pub fn read(&self, member: Member, to: &mut [u8]) -> Result<()> {
        let mut zip = self.lock();
        let mut file = zip.by_index(member.index).map_err(failed)?;
        file.read_exact(to).map_err(|e| Error::format(format!("member {}: {e}", file.name())))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, ZipArchive<Reader>> {
        self.zip.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn failed(e: zip::result::ZipError) -> Error {
    match e {
        zip::result::ZipError::Io(e) if e.kind() != ErrorKind::UnexpectedEof => {
            Error::io("reading the archive", &e)
        }
        e => Error::format(format!("not a readable zip archive: {e}")),
    }
}

/// A position in a store.
struct Reader {
    store: Arc<Store>,
    at: u64,
}

impl Read for Reader {
    fn read(&mut self, to: &mut [u8]) -> IoResult<usize> {
        let left = self.store.len().saturating_sub(self.at);
        let n = usize::try_from(left).unwrap_or(usize::MAX).min(to.len());
        self.store.read_into(self.at, &mut to[..n]).map_err(IoError::other)?;
        self.at += n as u64;
        Ok(n)
    }
}

impl Seek for Reader {
    fn seek(&mut self, to: SeekFrom) -> IoResult<u64> {
        let target = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::End(by) => self.store.len().checked_add_signed(by),
            SeekFrom::Current(by) => self.at.checked_add_signed(by),
        };
        self.at = target.ok_or_else(|| IoError::from(ErrorKind::InvalidInput))?;
        Ok(self.at)
    }
}
