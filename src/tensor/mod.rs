//! What a value is: a shape, an element type, a layout, and bytes that are owned, reused or borrowed.

mod dtype;
mod map;
mod shape;
mod storage;

pub use dtype::{DType, Element};
pub use map::FileMap;
pub use shape::{MAX_RANK, Shape};
pub use storage::{Allocate, Buffer, Bytes, HeapAllocator, Keeper, Storage};

use crate::error::{Error, Result};
use std::fmt;

/// How the elements of a tensor stand in memory.
///
/// Everything is [`Layout::Plain`] but weights that an operation has rearranged for itself: those keep the
/// logical shape of the weight and say by number which of the operation's packed forms they are in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Layout {
    /// Row-major, contiguous.
    Plain,
    /// Packed by the operation that reads it; the number is that operation's own.
    Packed(u16),
}

/// The shape, element type and layout of a tensor, without its elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Desc {
    /// Extent of each axis.
    pub shape: Shape,
    /// Type of the elements.
    pub dtype: DType,
    /// How they stand in memory.
    pub layout: Layout,
}

impl Desc {
    /// A plain (row-major) description.
    pub fn plain(shape: impl Into<Shape>, dtype: DType) -> Desc {
        Desc { shape: shape.into(), dtype, layout: Layout::Plain }
    }

    /// Bytes of a plain tensor of this description; `None` when the product does not fit.
    pub fn bytes(&self) -> Option<usize> {
        self.shape.checked_count()?.checked_mul(self.dtype.size())
    }
}

impl fmt::Display for Desc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.dtype, self.shape)?;
        if let Layout::Packed(n) = self.layout {
            write!(f, " (packed {n})")?;
        }
        Ok(())
    }
}

/// A contiguous array. Cloning shares the elements; they can be written only while nobody shares them.
#[derive(Clone)]
pub struct Tensor {
    desc: Desc,
    storage: Storage,
}

impl Tensor {
    /// A tensor over bytes that already hold its elements.
    ///
    /// # Errors
    /// `InvalidArgument` when a plain tensor's storage is too short or not aligned to its element type.
    pub fn new(desc: Desc, storage: Storage) -> Result<Tensor> {
        if desc.layout == Layout::Plain {
            let need = desc.bytes().ok_or_else(|| Error::invalid(format!("{desc}: too large to address")))?;
            if storage.len() < need {
                return Err(Error::invalid(format!(
                    "{desc} needs {need} bytes, the storage has {}",
                    storage.len()
                )));
            }
            if need > 0 && !(storage.as_ptr() as usize).is_multiple_of(desc.dtype.size()) {
                return Err(Error::invalid(format!("{desc}: its bytes are not aligned to the element type")));
            }
        }
        Ok(Tensor { desc, storage })
    }

    /// A plain tensor that owns a copy of `values`.
    ///
    /// # Errors
    /// `InvalidArgument` when the shape does not hold exactly `values.len()` elements.
    pub fn from_slice<T: Element>(shape: impl Into<Shape>, values: &[T]) -> Result<Tensor> {
        let desc = Desc::plain(shape, T::DTYPE);
        if desc.shape.checked_count() != Some(values.len()) {
            return Err(Error::invalid(format!(
                "shape {} does not hold {} elements",
                desc.shape,
                values.len()
            )));
        }
        let mut tensor = Tensor::new(desc, HeapAllocator.allocate(std::mem::size_of_val(values))?)?;
        tensor.data_mut::<T>()?.copy_from_slice(values);
        Ok(tensor)
    }

    /// Shape, type and layout.
    pub fn desc(&self) -> &Desc {
        &self.desc
    }

    /// Extent of each axis.
    pub fn shape(&self) -> &Shape {
        &self.desc.shape
    }

    /// Type of the elements.
    pub fn dtype(&self) -> DType {
        self.desc.dtype
    }

    /// Where the bytes are.
    pub fn storage(&self) -> &Storage {
        &self.storage
    }

    /// Where the bytes are, for a device to write them.
    pub fn storage_mut(&mut self) -> &mut Storage {
        &mut self.storage
    }

    /// The same elements under another shape of the same count.
    ///
    /// # Errors
    /// `InvalidArgument` when the counts differ or the tensor is packed.
    pub fn reshape(&self, shape: impl Into<Shape>) -> Result<Tensor> {
        let shape = shape.into();
        if self.desc.layout != Layout::Plain || shape.checked_count() != Some(self.desc.shape.count()) {
            return Err(Error::invalid(format!("cannot view {} as {shape}", self.desc)));
        }
        Ok(Tensor { desc: Desc { shape, ..self.desc }, storage: self.storage.clone() })
    }

    /// The elements of a plain tensor.
    ///
    /// # Errors
    /// `InvalidArgument` when `T` is not the element type or the tensor is packed; `Internal` when the elements are in
    /// a device's memory.
    pub fn data<T: Element>(&self) -> Result<&[T]> {
        self.expect_plain::<T>()?;
        let bytes = self.storage.as_bytes()?;
        // SAFETY: `new` checked length and alignment for this description; every bit pattern is an `Element`.
        Ok(unsafe { std::slice::from_raw_parts(bytes.as_ptr().cast(), self.desc.shape.count()) })
    }

    /// The elements of a plain tensor, to write.
    ///
    /// # Errors
    /// As [`Tensor::data`], and `Internal` when the storage is shared or read-only.
    pub fn data_mut<T: Element>(&mut self) -> Result<&mut [T]> {
        self.expect_plain::<T>()?;
        let count = self.desc.shape.count();
        let bytes = self.storage.unique_mut()?;
        // SAFETY: as in `data`, and `unique_mut` proved that nobody else can see these bytes.
        Ok(unsafe { std::slice::from_raw_parts_mut(bytes.as_mut_ptr().cast(), count) })
    }

    /// The same elements where the processor can read them: itself, or a copy of what is in a device's memory, after
    /// all work that was started before.
    ///
    /// # Errors
    /// `OutOfMemory`, `Device`.
    pub fn on_host(&self) -> Result<Tensor> {
        if !self.storage.on_device() {
            return Ok(self.clone());
        }
        let bytes = match self.desc.layout {
            Layout::Plain => self.desc.bytes().unwrap_or(usize::MAX),
            Layout::Packed(_) => self.storage.len(),
        };
        let mut storage = HeapAllocator.allocate(bytes)?;
        self.storage.read(&mut storage.unique_mut()?[..bytes])?;
        Tensor::new(self.desc, storage)
    }

    /// A copy as plain f32, from any floating type.
    ///
    /// # Errors
    /// `Unsupported` for integers and packed tensors, `OutOfMemory`.
    pub fn to_f32(&self) -> Result<Tensor> {
        if self.dtype() == DType::F32 && self.desc.layout == Layout::Plain {
            return Ok(self.clone());
        }
        let bytes = self.desc.shape.count() * DType::F32.size();
        let mut out = Tensor::new(Desc::plain(self.desc.shape, DType::F32), HeapAllocator.allocate(bytes)?)?;
        let to = out.data_mut::<f32>()?;
        match self.dtype() {
            DType::F16 => to.iter_mut().zip(self.data::<half::f16>()?).for_each(|(a, b)| *a = b.to_f32()),
            DType::BF16 => to.iter_mut().zip(self.data::<half::bf16>()?).for_each(|(a, b)| *a = b.to_f32()),
            DType::F64 => to.iter_mut().zip(self.data::<f64>()?).for_each(|(a, b)| *a = *b as f32),
            _ => return Err(Error::unsupported(format!("{} cannot become f32", self.desc))),
        }
        Ok(out)
    }

    /// All bytes of the storage, to write (for packed layouts).
    ///
    /// # Errors
    /// `Internal` when the storage is shared or read-only.
    pub fn bytes_mut(&mut self) -> Result<&mut [u8]> {
        self.storage.unique_mut()
    }

    fn expect_plain<T: Element>(&self) -> Result<()> {
        if self.desc.dtype != T::DTYPE || self.desc.layout != Layout::Plain {
            return Err(Error::invalid(format!("expected plain {} elements, got {}", T::DTYPE, self.desc)));
        }
        Ok(())
    }
}

impl fmt::Debug for Tensor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tensor({})", self.desc)
    }
}
