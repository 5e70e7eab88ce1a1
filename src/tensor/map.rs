use super::Bytes;
use std::fs::File;
use std::io;

/// A file's bytes, mapped read-only: no copy, shared with every process that maps the file.
///
/// The map begins at a multiple of 2 MB, so that the system can map a cached file by large pages where its file
/// system keeps such. It does for ext4 and XFS on recent kernels, and a model reads twice as fast then: small
/// pages stop the processor from fetching ahead at each of their ends.
pub struct FileMap {
    #[cfg(unix)]
    inner: unix::Map,
    #[cfg(not(unix))]
    inner: memmap2::Mmap,
}

impl FileMap {
    /// Maps the whole file.
    ///
    /// # Errors
    /// The system's, also for a file of no bytes.
    ///
    /// # Safety
    /// As long as the map is there, nobody may cut the file short (reading past the new end kills the process) or
    /// write to it.
    pub unsafe fn new(file: &File) -> io::Result<FileMap> {
        #[cfg(unix)]
        let inner = unix::Map::new(file)?;
        // SAFETY: the caller's.
        #[cfg(not(unix))]
        let inner = unsafe { memmap2::Mmap::map(file)? };
        Ok(FileMap { inner })
    }
}

impl Bytes for FileMap {
    fn bytes(&self) -> &[u8] {
        &self.inner
    }

    #[cfg(unix)]
    fn release(&self, offset: usize, len: usize) {
        self.inner.release(offset, len);
    }
}

#[cfg(unix)]
mod unix {
    use std::fs::File;
    use std::io;
    use std::ops::Deref;
    use std::os::fd::AsRawFd;
    use std::ptr::{NonNull, null_mut};

    /// Where maps begin.
    const ALIGN: usize = 2 << 20;
    /// At least a page, wherever this runs.
    const PAGE: usize = 64 << 10;

    pub struct Map {
        ptr: NonNull<u8>,
        len: usize,
    }

    // SAFETY: the memory is only read, and belongs to the map alone.
    unsafe impl Send for Map {}
    // SAFETY: as above.
    unsafe impl Sync for Map {}

    impl Map {
        pub fn new(file: &File) -> io::Result<Map> {
            let len = usize::try_from(file.metadata()?.len()).ok().filter(|len| *len > 0);
            let len = len.ok_or(io::Error::from(io::ErrorKind::InvalidInput))?;
            let wide = len.checked_add(2 * ALIGN).ok_or(io::Error::from(io::ErrorKind::OutOfMemory))?;
            let failed = |p: *mut libc::c_void| {
                if p == libc::MAP_FAILED { Err(io::Error::last_os_error()) } else { Ok(p.cast::<u8>()) }
            };
            let fixed = libc::MAP_SHARED | libc::MAP_FIXED;
            // SAFETY: addresses are reserved where the system likes; the file is mapped inside them, which takes
            // their place, and what is left of them on both sides is given back. `ALIGN` is a multiple of the
            // page, and `end` is rounded up to one.
            unsafe {
                let anonymous = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
                let base = failed(libc::mmap(null_mut(), wide, libc::PROT_NONE, anonymous, -1, 0))?;
                let head = base.align_offset(ALIGN);
                let start = base.add(head);
                let fd = file.as_raw_fd();
                if let Err(error) = failed(libc::mmap(start.cast(), len, libc::PROT_READ, fixed, fd, 0)) {
                    libc::munmap(base.cast(), wide);
                    return Err(error);
                }
                let end = len.next_multiple_of(PAGE);
                if head > 0 {
                    libc::munmap(base.cast(), head);
                }
                libc::munmap(start.add(end).cast(), wide - head - end);
                // It may not be granted, which changes nothing.
                #[cfg(target_os = "linux")]
                libc::madvise(start.cast(), len, libc::MADV_HUGEPAGE);
                let ptr = NonNull::new(start).ok_or(io::Error::from(io::ErrorKind::OutOfMemory))?;
                Ok(Map { ptr, len })
            }
        }

        pub fn release(&self, offset: usize, len: usize) {
            let from = offset.next_multiple_of(PAGE);
            let to = offset.saturating_add(len).min(self.len) / PAGE * PAGE;
            if from < to {
                // SAFETY: whole pages inside the map. Their bytes are the file's, and come back at the next touch.
                unsafe {
                    libc::madvise(self.ptr.as_ptr().add(from).cast(), to - from, libc::MADV_DONTNEED);
                }
            }
        }
    }

    impl Deref for Map {
        type Target = [u8];
        fn deref(&self) -> &[u8] {
            // SAFETY: mapped in `new`, readable, and unmapped in `drop` only.
            unsafe { std::slice::from_raw_parts(self.ptr.as_ptr(), self.len) }
        }
    }

    impl Drop for Map {
        fn drop(&mut self) {
            // SAFETY: what is left of the reserved addresses: the file's pages, and the unreachable ones up to the
            // next multiple of `PAGE`.
            unsafe {
                libc::munmap(self.ptr.as_ptr().cast(), self.len.next_multiple_of(PAGE));
            }
        }
    }
}
