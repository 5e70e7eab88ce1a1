use half::{bf16, f16};
use std::fmt;

/// The type of a tensor's elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DType {
    /// IEEE single precision.
    F32,
    /// IEEE half precision (weight files only).
    F16,
    /// The upper half of an f32.
    BF16,
    /// IEEE double precision (weight files, oracles).
    F64,
    /// Signed byte (quantized weights).
    I8,
    /// Byte (pixels).
    U8,
    /// 16-bit unsigned integer (stored codes).
    U16,
    /// 32-bit integer.
    I32,
    /// 32-bit unsigned integer (codes, class labels).
    U32,
    /// 64-bit integer (weight files only).
    I64,
    /// A truth value in a byte (weight files only).
    Bool,
}

impl DType {
    /// Bytes of one element.
    pub const fn size(self) -> usize {
        match self {
            DType::I8 | DType::U8 | DType::Bool => 1,
            DType::F16 | DType::BF16 | DType::U16 => 2,
            DType::F32 | DType::I32 | DType::U32 => 4,
            DType::F64 | DType::I64 => 8,
        }
    }

    /// The name used in messages and by `--dtype`.
    pub const fn name(self) -> &'static str {
        match self {
            DType::F32 => "f32",
            DType::F16 => "f16",
            DType::BF16 => "bf16",
            DType::F64 => "f64",
            DType::I8 => "i8",
            DType::U8 => "u8",
            DType::U16 => "u16",
            DType::I32 => "i32",
            DType::U32 => "u32",
            DType::I64 => "i64",
            DType::Bool => "bool",
        }
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

mod sealed {
    pub trait Sealed {}
}

/// A Rust type that a tensor's elements can be read as. Every bit pattern of it is a value.
pub trait Element: Copy + Send + Sync + 'static + sealed::Sealed {
    /// Its name at run time.
    const DTYPE: DType;
}

macro_rules! elements {
    ($($rust:ty => $name:ident,)*) => {
        $(impl sealed::Sealed for $rust {}
        impl Element for $rust {
            const DTYPE: DType = DType::$name;
        })*
    };
}

elements! {
    f32 => F32, f16 => F16, bf16 => BF16, f64 => F64, i8 => I8, u8 => U8, u16 => U16, i32 => I32, u32 => U32, i64 => I64,
}
