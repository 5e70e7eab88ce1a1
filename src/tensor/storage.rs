use crate::error::{Error, Result};
use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering, fence};

/// Alignment of owned memory: a cache line, and one 512-bit vector.
const ALIGN: usize = 64;
/// From this size on, owned memory is mapped for itself, aligned to 2 MB, with huge pages asked for: first
/// touches of 4 KB pages cost as much as a convolution.
const HUGE: usize = 2 << 20;

/// Owned memory of fixed size: the processor's, zero at first, or a device's.
pub struct Buffer {
    ptr: NonNull<u8>,
    len: usize,
    origin: Origin,
    /// Whether an arena holds one of the references.
    pooled: AtomicBool,
}

/// How the memory goes back.
enum Origin {
    Heap(Layout),
    #[cfg(unix)]
    Map {
        size: usize,
    },
    /// Not the processor's: `ptr` is an address that only the device can follow.
    Device(Arc<dyn Keeper>),
    /// A part of another's, which goes back when that does.
    Piece(Arc<Buffer>),
}

/// Who has a device's memory.
pub trait Keeper: Send + Sync {
    /// Frees what begins at `address`. Work that was started on it before may still run.
    fn reclaim(&self, address: usize);

    /// Copies bytes from `address` on, after all work that was started before.
    ///
    /// # Errors
    /// `Device`.
    fn read(&self, address: usize, to: &mut [u8]) -> Result<()>;
}

// SAFETY: a Buffer owns its memory alone, like a Vec<u8>.
unsafe impl Send for Buffer {}
// SAFETY: shared access only reads.
unsafe impl Sync for Buffer {}

impl Buffer {
    /// `len` bytes, all zero, aligned to at least 64.
    ///
    /// # Errors
    /// `OutOfMemory`.
    pub fn new(len: usize) -> Result<Buffer> {
        let fail = || Error::out_of_memory(format!("could not allocate {len} bytes"));
        #[cfg(unix)]
        if len >= HUGE {
            return Buffer::map(len).ok_or_else(fail);
        }
        let size = len.max(1).checked_next_multiple_of(ALIGN).ok_or_else(fail)?;
        let layout = Layout::from_size_align(size, ALIGN).map_err(|_| fail())?;
        // SAFETY: the layout's size is not zero.
        let ptr = NonNull::new(unsafe { alloc_zeroed(layout) }).ok_or_else(fail)?;
        Ok(Buffer { ptr, len, origin: Origin::Heap(layout), pooled: AtomicBool::new(false) })
    }

    /// `len` bytes of a device's memory, which `from` takes back. None where `address` is 0.
    ///
    /// # Safety
    /// They begin at `address`, are aligned to at least 64, and nobody else holds or frees them.
    pub unsafe fn of_device(address: usize, len: usize, from: Arc<dyn Keeper>) -> Option<Buffer> {
        let ptr = NonNull::new(std::ptr::without_provenance_mut(address))?;
        Some(Buffer { ptr, len, origin: Origin::Device(from), pooled: AtomicBool::new(false) })
    }

    /// The bytes `offset..offset + len` of another buffer, which lives as long; `None` where they are not there. The offset
    /// is a multiple of 64.
    ///
    /// # Safety
    /// While it lives, nobody reads or writes these bytes through anything else.
    pub(crate) unsafe fn piece(of: &Arc<Buffer>, offset: usize, len: usize) -> Option<Buffer> {
        let inside = offset.checked_add(len).is_some_and(|end| end <= of.len);
        if !inside || !offset.is_multiple_of(ALIGN) {
            return None;
        }
        let ptr = NonNull::new(of.ptr.as_ptr().wrapping_add(offset))?;
        Some(Buffer { ptr, len, origin: Origin::Piece(Arc::clone(of)), pooled: AtomicBool::new(false) })
    }

    /// Who has the memory where it is a device's.
    fn keeper(&self) -> Option<&Arc<dyn Keeper>> {
        match &self.origin {
            Origin::Device(keeper) => Some(keeper),
            Origin::Piece(of) => of.keeper(),
            _ => None,
        }
    }

    /// Anonymous memory of whole, aligned 2 MB pages. The system gives it zeroed, page by page, at the first
    /// touch by whichever thread that is.
    #[cfg(unix)]
    fn map(len: usize) -> Option<Buffer> {
        let size = len.checked_next_multiple_of(HUGE)?;
        let wide = size.checked_add(HUGE)?;
        // SAFETY: a fresh anonymous mapping, at an address of the system's choice.
        let base = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                wide,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        if base == libc::MAP_FAILED {
            return None;
        }
        let start = base.cast::<u8>();
        let head = start.align_offset(HUGE);
        // SAFETY: `head <= HUGE`, so all three parts lie inside the mapping, which is ours; what is cut off
        // is page-aligned and never used. The advice may fail, which changes nothing.
        unsafe {
            let aligned = start.add(head);
            if head > 0 {
                libc::munmap(base, head);
            }
            if head < HUGE {
                libc::munmap(aligned.add(size).cast(), HUGE - head);
            }
            #[cfg(target_os = "linux")]
            {
                // A last page that is not full stays in small ones: of many buffers it would be much.
                let whole = if len.is_multiple_of(HUGE) || size > 16 * HUGE { size } else { size - HUGE };
                libc::madvise(aligned.cast(), whole, libc::MADV_HUGEPAGE);
            }
            Some(Buffer {
                ptr: NonNull::new(aligned)?,
                len,
                origin: Origin::Map { size },
                pooled: AtomicBool::new(false),
            })
        }
    }

    /// Bytes that it was asked for.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether it was asked for no byte.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The bytes; `None` where they are a device's.
    pub fn bytes(&self) -> Option<&[u8]> {
        match self.keeper() {
            Some(_) => None,
            // SAFETY: allocated and initialised in `new` or `map`, or a part of what was.
            None => Some(unsafe { std::slice::from_raw_parts(self.ptr.as_ptr(), self.len) }),
        }
    }

    /// Says that an arena holds one reference, which it never reads or writes through, or no longer does.
    pub(crate) fn set_pooled(&self, pooled: bool) {
        self.pooled.store(pooled, Ordering::Release);
    }

    /// Whether this is the only reference that anybody reads or writes through.
    fn is_unique(this: &Arc<Buffer>) -> bool {
        let references = Arc::strong_count(this);
        fence(Ordering::Acquire);
        // The order matters: an arena clears the flag before it drops its reference. So where two references
        // are seen first and the flag is still set after, one of the two was the arena's.
        references == if this.pooled.load(Ordering::Acquire) { 2 } else { 1 }
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        match &self.origin {
            // SAFETY: made in `new` with exactly this layout.
            Origin::Heap(layout) => unsafe { dealloc(self.ptr.as_ptr(), *layout) },
            #[cfg(unix)]
            // SAFETY: made in `map` with exactly this size.
            Origin::Map { size } => unsafe {
                libc::munmap(self.ptr.as_ptr().cast(), *size);
            },
            Origin::Device(from) => from.reclaim(self.ptr.as_ptr() as usize),
            Origin::Piece(_) => {}
        }
    }
}

/// Read-only bytes that somebody else keeps: a file's map, or a host's memory.
pub trait Bytes: Send + Sync {
    /// The bytes; the same for as long as the object lives.
    fn bytes(&self) -> &[u8];

    /// Says that a part will not be read soon: its pages may leave this process's memory. They stay readable.
    fn release(&self, offset: usize, len: usize) {
        let _ = (offset, len);
    }
}

impl Bytes for Vec<u8> {
    fn bytes(&self) -> &[u8] {
        self
    }
}

/// The bytes of a tensor, shared by reference count.
#[derive(Clone)]
pub enum Storage {
    /// Memory of our own. An arena reuses it as soon as nobody else holds it.
    Owned(Arc<Buffer>),
    /// A part of bytes that are borrowed, read-only.
    Borrowed {
        /// Who keeps the bytes.
        source: Arc<dyn Bytes>,
        /// Where the part begins.
        offset: usize,
        /// Its length in bytes.
        len: usize,
    },
}

impl Storage {
    /// A part of borrowed bytes.
    ///
    /// # Errors
    /// `InvalidArgument` when the part lies outside.
    pub fn borrowed(source: Arc<dyn Bytes>, offset: usize, len: usize) -> Result<Storage> {
        let have = source.bytes().len();
        if offset.checked_add(len).is_none_or(|end| end > have) {
            return Err(Error::invalid(format!("bytes {offset}..+{len} of {have}")));
        }
        Ok(Storage::Borrowed { source, offset, len })
    }

    /// All bytes.
    ///
    /// # Errors
    /// `Internal` when they are in a device's memory: who wants to read them downloads them first.
    pub fn as_bytes(&self) -> Result<&[u8]> {
        match self {
            Storage::Owned(buffer) => buffer.bytes().ok_or_else(of_a_device),
            Storage::Borrowed { source, offset, len } => Ok(&source.bytes()[*offset..*offset + *len]),
        }
    }

    /// Copies the first bytes to where the processor can read them, wherever they are.
    ///
    /// # Errors
    /// `Device`; `Internal` when there are not so many.
    pub fn read(&self, to: &mut [u8]) -> Result<()> {
        if to.len() > self.len() {
            return Err(Error::internal(format!("{} bytes of {} were to be read", to.len(), self.len())));
        }
        if let Storage::Owned(buffer) = self
            && let Some(keeper) = buffer.keeper()
        {
            return keeper.read(buffer.ptr.as_ptr() as usize, to);
        }
        to.copy_from_slice(&self.as_bytes()?[..to.len()]);
        Ok(())
    }

    /// Whether the bytes are in a device's memory, where the processor cannot read them.
    pub fn on_device(&self) -> bool {
        matches!(self, Storage::Owned(buffer) if buffer.keeper().is_some())
    }

    /// Says that the bytes will not be read soon, see [`Bytes::release`]. Owned ones stay where they are.
    pub fn release(&self) {
        if let Storage::Borrowed { source, offset, len } = self {
            source.release(*offset, *len);
        }
    }

    /// Address of the first byte; the device's own where they are in its memory.
    pub fn as_ptr(&self) -> *const u8 {
        match self {
            Storage::Owned(buffer) => buffer.ptr.as_ptr(),
            Storage::Borrowed { source, offset, .. } => source.bytes()[*offset..].as_ptr(),
        }
    }

    /// Bytes.
    pub fn len(&self) -> usize {
        match self {
            Storage::Owned(buffer) => buffer.len(),
            Storage::Borrowed { len, .. } => *len,
        }
    }

    /// Whether there is no byte.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The bytes, to write.
    ///
    /// # Errors
    /// `Internal` when they are shared or borrowed, or in a device's memory.
    pub fn unique_mut(&mut self) -> Result<&mut [u8]> {
        let buffer = self.unique()?;
        if buffer.keeper().is_some() {
            return Err(of_a_device());
        }
        // SAFETY: nobody else reads or writes these bytes, and nobody can begin to while `self` is
        // exclusively borrowed: an arena hands a buffer out only when it holds the last reference.
        Ok(unsafe { std::slice::from_raw_parts_mut(buffer.ptr.as_ptr(), buffer.len) })
    }

    /// Where the bytes begin in a device's memory, for it to write.
    ///
    /// # Errors
    /// `Internal` when they are shared or borrowed, or the processor's.
    pub fn unique_address(&mut self) -> Result<usize> {
        let buffer = self.unique()?;
        match buffer.keeper() {
            Some(_) => Ok(buffer.ptr.as_ptr() as usize),
            None => Err(Error::internal("a device was to write memory of the processor")),
        }
    }

    /// The buffer, that nobody else reads or writes.
    fn unique(&mut self) -> Result<&Buffer> {
        match self {
            Storage::Owned(buffer) if Buffer::is_unique(buffer) => Ok(buffer),
            Storage::Owned(_) => Err(Error::internal("tried to write a tensor that is shared")),
            Storage::Borrowed { .. } => Err(Error::internal("tried to write a tensor of read-only memory")),
        }
    }
}

#[cold]
fn of_a_device() -> Error {
    Error::internal("a tensor of a device's memory was to be read or written by the processor")
}

/// Memory whose parts several tensors are, once nobody writes it any more.
impl Bytes for Storage {
    /// None of a device's: [`Storage::borrowed`] refuses parts of it.
    fn bytes(&self) -> &[u8] {
        self.as_bytes().unwrap_or_default()
    }
}

/// Where new tensors get their memory: the heap, or a workspace that reuses it.
pub trait Allocate {
    /// At least `bytes` bytes that nobody else holds.
    ///
    /// # Errors
    /// `OutOfMemory`.
    fn allocate(&self, bytes: usize) -> Result<Storage>;
}

/// Fresh memory for each tensor.
pub struct HeapAllocator;

impl Allocate for HeapAllocator {
    fn allocate(&self, bytes: usize) -> Result<Storage> {
        Ok(Storage::Owned(Arc::new(Buffer::new(bytes)?)))
    }
}
