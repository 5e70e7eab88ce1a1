use crate::error::{Error, Result};
use crate::tensor::{DType, MAX_RANK, Shape};
use std::collections::BTreeMap;
use std::fmt;

/// The element type that a file gives a tensor. Files may hold types that no tensor of ours can have (8-bit
/// floats, complex numbers): they are listed, and fail only when they are read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FileType {
    /// A type that can be read.
    Known(DType),
    /// Any other, by the name the file uses.
    Other(String),
}

impl FileType {
    /// The type by its safetensors name.
    pub(super) fn from_safetensors(name: &str) -> FileType {
        let known = ALL.into_iter().find(|&dtype| safetensors_name(dtype) == name);
        known.map_or_else(|| FileType::Other(name.to_string()), FileType::Known)
    }

    /// Whether it is one of the types that weights may have: f32, f16, bf16.
    pub fn is_weight(&self) -> bool {
        matches!(self, FileType::Known(DType::F32 | DType::F16 | DType::BF16))
    }
}

impl fmt::Display for FileType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FileType::Known(dtype) => dtype.fmt(f),
            FileType::Other(name) => f.write_str(name),
        }
    }
}

const ALL: [DType; 11] = [
    DType::F32,
    DType::F16,
    DType::BF16,
    DType::F64,
    DType::I8,
    DType::U8,
    DType::U16,
    DType::I32,
    DType::U32,
    DType::I64,
    DType::Bool,
];

/// The name that safetensors has for a type.
pub(super) fn safetensors_name(dtype: DType) -> &'static str {
    match dtype {
        DType::F32 => "F32",
        DType::F16 => "F16",
        DType::BF16 => "BF16",
        DType::F64 => "F64",
        DType::I8 => "I8",
        DType::U8 => "U8",
        DType::U16 => "U16",
        DType::I32 => "I32",
        DType::U32 => "U32",
        DType::I64 => "I64",
        DType::Bool => "BOOL",
    }
}

/// What a file says about a tensor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Info {
    /// Type of the elements.
    pub dtype: FileType,
    /// Extent of each axis; their product fits in a `usize`.
    pub shape: Vec<usize>,
}

impl Info {
    /// Number of elements.
    pub fn count(&self) -> usize {
        self.shape.iter().product()
    }

    /// Type and shape as a tensor has them.
    ///
    /// # Errors
    /// `Unsupported` for a type or a number of axes that no tensor has.
    pub(super) fn readable(&self) -> Result<(DType, Shape)> {
        let FileType::Known(dtype) = self.dtype else {
            return Err(Error::unsupported(format!("type {} cannot be read", self.dtype)));
        };
        let shape = Shape::try_from_slice(&self.shape).ok_or_else(|| {
            Error::unsupported(format!("{} axes, at most {MAX_RANK} can be read", self.shape.len()))
        })?;
        Ok((dtype, shape))
    }
}

impl fmt::Display for Info {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:?}", self.dtype, self.shape)
    }
}

/// Names, types and shapes of a file's tensors: all that a configuration is inferred from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listing(BTreeMap<String, Info>);

impl Listing {
    /// The tensor of that name.
    pub fn get(&self, name: &str) -> Option<&Info> {
        self.0.get(name)
    }

    /// Its extents when it is there and has exactly `N` axes.
    pub fn dims<const N: usize>(&self, name: &str) -> Option<[usize; N]> {
        self.get(name)?.shape.as_slice().try_into().ok()
    }

    /// Whether there is a tensor of that name.
    pub fn contains(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// Names in alphabetical order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// Names and what is known of them, in alphabetical order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Info)> {
        self.0.iter().map(|(name, info)| (name.as_str(), info))
    }

    /// Names that begin with `prefix`, in alphabetical order, with the prefix cut off.
    pub fn under<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.range(prefix.to_string()..).map_while(move |(name, _)| name.strip_prefix(prefix))
    }

    /// Number of tensors.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl FromIterator<(String, Info)> for Listing {
    fn from_iter<I: IntoIterator<Item = (String, Info)>>(all: I) -> Listing {
        Listing(all.into_iter().collect())
    }
}
