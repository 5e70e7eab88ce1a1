use crate::backend::Workspace;
use crate::error::{Error, Result};
use crate::tensor::{DType, Desc, Tensor};
use std::cell::{Cell, RefCell};
use std::fmt;

/// Keys and values of the positions so far, (layers, rows, heads, capacity, head_dim) each, f32 or bf16: what a
/// query reads of a head is one run of memory.
pub struct Cache {
    pub(super) keys: RefCell<Tensor>,
    pub(super) values: RefCell<Tensor>,
    extents: [usize; 5],
    dtype: DType,
    len: Cell<usize>,
}

impl Cache {
    /// An empty cache in a workspace's memory, of these extents: layers, rows (sequences), heads, capacity
    /// (positions of a sequence), head_dim.
    ///
    /// # Errors
    /// `OutOfMemory`; `Unsupported` for a type other than f32 and bf16.
    pub fn new(workspace: &Workspace, extents: [usize; 5], dtype: DType) -> Result<Cache> {
        if !matches!(dtype, DType::F32 | DType::BF16) {
            return Err(Error::unsupported(format!("a cache of {dtype}, expected f32 or bf16")));
        }
        let desc = Desc::plain(extents, dtype);
        Ok(Cache {
            keys: RefCell::new(workspace.tensor(desc)?),
            values: RefCell::new(workspace.tensor(desc)?),
            extents,
            dtype,
            len: Cell::new(0),
        })
    }

    /// Layers, rows, heads, capacity, head_dim.
    pub fn extents(&self) -> [usize; 5] {
        self.extents
    }

    /// Type of the elements.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// Positions held.
    pub fn len(&self) -> usize {
        self.len.get()
    }

    /// Whether no position is held.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Says that so many positions are held: those that [`super::KvAttention`] with an `at` has written.
    pub fn now_holds(&self, positions: usize) {
        self.set_len(positions.min(self.extents[3]));
    }

    pub(super) fn set_len(&self, len: usize) {
        self.len.set(len);
    }
}

impl fmt::Debug for Cache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Cache({} {:?}, {} held)", self.dtype, self.extents, self.len())
    }
}
