use crate::error::{Error, Result};
use crate::exec::Param;
use crate::tensor::{Allocate, DType, Desc, HeapAllocator, Tensor};
use crate::weights::{FileType, Info, Source, scale_name};
use std::fmt::Display;

/// The type of the arithmetic's operands. Sums, norms and softmax are f32 always.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Precision {
    /// As the authors' checkpoints are: exact.
    #[default]
    F32,
    /// Operands of convolutions and products rounded to bf16.
    Bf16,
    /// Weights in bytes with a scale (generator only).
    Int8,
}

impl Precision {
    /// `"f32"`: for messages.
    pub const fn name(self) -> &'static str {
        match self {
            Precision::F32 => "f32",
            Precision::Bf16 => "bf16",
            Precision::Int8 => "int8",
        }
    }
}

/// How a model's layers compute.
#[derive(Clone, Copy, Debug, Default)]
pub struct Numerics {
    /// Type of the operands.
    pub precision: Precision,
    /// In f32 whatever the precision, but for the weights' gradients: an error of theirs changes no code.
    pub exact: bool,
    /// No copies of weights that take memory beside a mapped file, so that convolutions run in their direct form:
    /// Winograd's transformed weights are four times as large.
    pub compact: bool,
    /// The deep end of a network, where pixels are few.
    pub deep: bool,
}

impl Numerics {
    /// The type of the operands of convolutions and products.
    pub fn operands(&self) -> DType {
        if self.exact { DType::F32 } else { self.gradients() }
    }

    /// The type of the operands of the products that weights' gradients are.
    pub fn gradients(&self) -> DType {
        if self.precision == Precision::Bf16 { DType::BF16 } else { DType::F32 }
    }
}

/// A place among a file's names, from which layers take their weights.
pub struct Params<'a> {
    source: &'a Source,
    prefix: String,
    /// How the layers made from here compute.
    pub numerics: Numerics,
}

impl<'a> Params<'a> {
    /// The top of a file.
    pub fn new(source: &'a Source, numerics: Numerics) -> Params<'a> {
        Params { source, prefix: String::new(), numerics }
    }

    /// `prefix.name`.
    pub fn scope(&self, name: impl Display) -> Params<'a> {
        Params { source: self.source, prefix: self.path(&name), numerics: self.numerics }
    }

    /// The same place, whose layers compute in f32 whatever the model's precision.
    pub fn exact(&self) -> Params<'a> {
        let numerics = Numerics { exact: true, ..self.numerics };
        Params { source: self.source, prefix: self.prefix.clone(), numerics }
    }

    /// The same place, at the deep end of a network.
    pub fn deep(&self) -> Params<'a> {
        let numerics = Numerics { deep: true, ..self.numerics };
        Params { source: self.source, prefix: self.prefix.clone(), numerics }
    }

    /// The weight `prefix.name`.
    ///
    /// # Errors
    /// `Format` when it is missing, has another shape, or is no float.
    pub fn get(&self, name: impl Display, shape: &[usize]) -> Result<Param> {
        param(self.source, &self.path(&name), shape)
    }

    /// The matrix `prefix.name` (n, k), as a float, or in bytes with the scales (n) of its rows.
    ///
    /// # Errors
    /// As [`Params::get`].
    pub fn matrix(&self, name: impl Display, extents: [usize; 2]) -> Result<(Param, Option<Param>)> {
        let name = self.path(&name);
        let listing = self.source.listing();
        if listing.get(&name).is_some_and(|info| info.dtype == BYTES && info.shape == extents) {
            let scale = param(self.source, &scale_name(&name), &extents[..1])?;
            let bytes = self.source.tensor(&name)?;
            return Ok((Param::new(name, bytes), Some(scale)));
        }
        Ok((param(self.source, &name, &extents)?, None))
    }

    /// A weight of `count` zeros that no file has, for a layer that wants one.
    ///
    /// # Errors
    /// `OutOfMemory`.
    pub fn zeros(&self, name: impl Display, count: usize) -> Result<Param> {
        // Memory comes zeroed.
        let desc = Desc::plain([count], DType::F32);
        let tensor = Tensor::new(desc, HeapAllocator.allocate(count.saturating_mul(4))?)?;
        Ok(Param::new(self.path(&name), tensor))
    }

    fn path(&self, name: &impl Display) -> String {
        if self.prefix.is_empty() { name.to_string() } else { format!("{}.{name}", self.prefix) }
    }
}

/// The weight of that name, which must have this shape and be f32, f16 or bf16.
///
/// # Errors
/// `Format` that names the tensor when it is missing, or has another shape or type than it should; those of
/// [`Source::get`].
pub fn param(source: &Source, name: &str, shape: &[usize]) -> Result<Param> {
    let at = || format!("{}: tensor {name}", source.name());
    let wanted = || format!("expected f32, f16 or bf16 {shape:?}");
    match source.listing().get(name) {
        None => Err(Error::format(format!("{} is missing: {}", at(), wanted()))),
        Some(info) if !fits(info, shape) => Err(Error::format(format!("{} is {info}: {}", at(), wanted()))),
        Some(_) => Ok(Param::new(name, source.tensor(name)?)),
    }
}

const BYTES: FileType = FileType::Known(DType::I8);

fn fits(info: &Info, shape: &[usize]) -> bool {
    info.dtype.is_weight() && info.shape == shape
}
