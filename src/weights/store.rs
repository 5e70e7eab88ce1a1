use crate::error::{Error, Result};
use crate::tensor::{Allocate, Bytes, HeapAllocator, Storage};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::sync::{Arc, Mutex, PoisonError};

/// The bytes of a weight file: all in memory (or mapped), or read from the file part by part.
pub(super) enum Store {
    Memory(Arc<dyn Bytes>),
    File { file: Mutex<File>, len: u64 },
}

impl Store {
    pub fn len(&self) -> u64 {
        match self {
            Store::Memory(bytes) => bytes.bytes().len() as u64,
            Store::File { len, .. } => *len,
        }
    }

    /// A copy of `len` bytes. The caller has bounded `len`.
    pub fn read(&self, offset: u64, len: usize) -> Result<Vec<u8>> {
        let outside = || Error::format(format!("bytes {offset}..+{len} lie outside the file"));
        match self {
            Store::Memory(bytes) => {
                let from = usize::try_from(offset).map_err(|_| outside())?;
                let to = from.checked_add(len).ok_or_else(outside)?;
                Ok(bytes.bytes().get(from..to).ok_or_else(outside)?.to_vec())
            }
            Store::File { .. } => {
                if offset.checked_add(len as u64).is_none_or(|end| end > self.len()) {
                    return Err(outside());
                }
                let mut all = Vec::new();
                all.try_reserve_exact(len)
                    .map_err(|_| Error::out_of_memory(format!("could not allocate {len} bytes")))?;
                all.resize(len, 0);
                self.read_into(offset, &mut all)?;
                Ok(all)
            }
        }
    }

    /// `len` bytes for a tensor whose elements have `align` bytes: the store's own memory where it is in
    /// memory and aligned, else a copy.
    pub fn storage(&self, offset: u64, len: usize, align: usize) -> Result<Storage> {
        if let Store::Memory(source) = self {
            let from = usize::try_from(offset).map_err(|_| Error::format("offset past the address space"))?;
            let part = Storage::borrowed(source.clone(), from, len)?;
            if len == 0 || (part.as_ptr() as usize).is_multiple_of(align) {
                return Ok(part);
            }
            let mut copy = HeapAllocator.allocate(len)?;
            copy.unique_mut()?[..len].copy_from_slice(part.as_bytes()?);
            return Ok(copy);
        }
        let mut own = HeapAllocator.allocate(len)?;
        self.read_into(offset, &mut own.unique_mut()?[..len])?;
        Ok(own)
    }

    /// Fills `to` from `offset` on.
    pub fn read_into(&self, offset: u64, to: &mut [u8]) -> Result<()> {
        match self {
            Store::Memory(bytes) => {
                let from = usize::try_from(offset).unwrap_or(usize::MAX);
                let part = from.checked_add(to.len()).and_then(|end| bytes.bytes().get(from..end));
                let part =
                    part.ok_or_else(|| Error::format(format!("offset {offset} lies outside the file")))?;
                to.copy_from_slice(part);
                Ok(())
            }
            Store::File { file, .. } => {
                let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
                let done = file.seek(SeekFrom::Start(offset)).and_then(|_| file.read_exact(to));
                // The length was known at open: a short read means that somebody has cut the file since.
                done.map_err(|e| Error::io(format_args!("reading {} bytes at offset {offset}", to.len()), &e))
            }
        }
    }
}
