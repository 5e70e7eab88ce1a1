use super::Cx;
use crate::error::{Context, Result};
use crate::tensor::{DType, Tensor};
use std::fmt;
use std::sync::{Mutex, OnceLock, PoisonError};

/// Rearranges a weight for an operation.
pub trait Prepare {
    /// The weight in the operation's own layout, in memory that outlives the call.
    ///
    /// # Errors
    /// `InvalidArgument` when the weight has not the shape it should, `OutOfMemory`.
    fn prepare(&self, cx: Cx<'_>, weight: &Tensor) -> Result<Tensor>;
}

/// A weight under its checkpoint's name.
///
/// Inference keeps the form it computes with, made at the first use, beside the tensor of the file, which
/// costs no memory of its own when the file is mapped.
pub struct Param {
    name: String,
    file: Tensor,
    widened: OnceLock<Tensor>,
    ready: OnceLock<Tensor>,
    making: Mutex<()>,
}

impl Param {
    /// A weight as the file has it.
    pub fn new(name: impl Into<String>, file: Tensor) -> Param {
        Param {
            name: name.into(),
            file,
            widened: OnceLock::new(),
            ready: OnceLock::new(),
            making: Mutex::new(()),
        }
    }

    /// The checkpoint's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The tensor as the file has it.
    pub fn file(&self) -> &Tensor {
        &self.file
    }

    /// Bytes of memory beside the file's: copies that were widened or packed so far.
    pub fn made_bytes(&self) -> usize {
        [&self.widened, &self.ready].iter().filter_map(|t| t.get()).map(|t| t.storage().len()).sum()
    }

    /// The weight as plain f32: the file's own memory where it is f32 and the device reads that, else a
    /// copy, made once.
    ///
    /// # Errors
    /// `OutOfMemory`, `Unsupported` for a type that is no float.
    pub fn plain(&self, cx: Cx<'_>) -> Result<Tensor> {
        if self.file.dtype() == DType::F32 && cx.device.reads_files() {
            return Ok(self.file.clone());
        }
        self.once(&self.widened, || cx.device.keep(&self.file.to_f32()?))
    }

    /// The weight in an operation's form. A weight has one use, so one form is kept.
    ///
    /// # Errors
    /// Those of `prepare`.
    pub fn prepared<P: Prepare>(&self, cx: Cx<'_>, prepare: &P) -> Result<Tensor> {
        self.once(&self.ready, || {
            let ready = prepare.prepare(cx, &self.file)?;
            // The file's own pages need not stay beside it.
            self.file.storage().release();
            Ok(ready)
        })
    }

    fn once(&self, slot: &OnceLock<Tensor>, make: impl FnOnce() -> Result<Tensor>) -> Result<Tensor> {
        if let Some(tensor) = slot.get() {
            return Ok(tensor.clone());
        }
        // One maker at a time; a failed one leaves the slot empty, so that a later call may succeed.
        let _guard = self.making.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(tensor) = slot.get() {
            return Ok(tensor.clone());
        }
        let tensor = make().context(|| &self.name)?;
        Ok(slot.get_or_init(|| tensor).clone())
    }
}

impl fmt::Debug for Param {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {:?}", self.name, self.file)
    }
}
