use super::int8::{quantize, scale_name};
use super::{Metadata, Source, save_with};
use crate::error::{Context, Error, Result};
use crate::tensor::{Allocate, DType, Desc, HeapAllocator, Tensor};
use half::slice::HalfFloatSliceExt;
use half::{bf16, f16};
use std::path::Path;

/// Writes tensors of any source to a safetensors file, under their names, one at a time.
///
/// `keep` says which. Floats become `dtype`; without one they stay as they are, but for f64, which no model
/// takes, and which becomes f32. Integers stay. The source's strings are kept, and `metadata` put over them.
/// Gives the number of tensors.
///
/// # Errors
/// `Unsupported` for a kept tensor of a type that cannot be read, `InvalidArgument` where a number is too large
/// for f16, those of [`Source::tensor`] and [`save_with`].
pub fn convert(
    source: &Source,
    path: impl AsRef<Path>,
    keep: impl Fn(&str) -> bool,
    dtype: Option<DType>,
    metadata: &Metadata,
) -> Result<usize> {
    let kept = source.listing().iter().filter(|(name, _)| keep(name));
    let descs = kept.map(|(name, info)| {
        let (from, shape) = info.readable().context(|| format!("{}: tensor {name}", source.name()))?;
        let to = match (from, dtype) {
            (DType::F64, None) => DType::F32,
            (DType::F32 | DType::F16 | DType::BF16 | DType::F64, Some(to)) => to,
            (other, _) => other,
        };
        Ok((name, Desc::plain(shape, to)))
    });
    let descs = descs.collect::<Result<Vec<(&str, Desc)>>>()?;
    let mut strings = source.all_metadata().clone();
    strings.extend(metadata.iter().map(|(key, value)| (key.clone(), value.clone())));
    save_with(path, &descs, &strings, |i| cast(&source.tensor(descs[i].0)?, descs[i].1.dtype))?;
    Ok(descs.len())
}

/// As [`convert`], with the floating matrices that `matrix` names in bytes: see [`quantize`]. All else stays as it
/// is.
///
/// # Errors
/// As [`convert`]; `InvalidArgument` where an element of a matrix is not finite.
pub fn convert_to_int8(
    source: &Source,
    path: impl AsRef<Path>,
    keep: impl Fn(&str) -> bool,
    matrix: impl Fn(&str) -> bool,
    metadata: &Metadata,
) -> Result<usize> {
    /// What a tensor of the new file is made of.
    enum Of<'a> {
        Same(&'a str),
        Bytes(&'a str),
        Scales(&'a str),
    }
    let mut made = Vec::new();
    for (name, info) in source.listing().iter().filter(|(name, _)| keep(name)) {
        let (from, shape) = info.readable().context(|| format!("{}: tensor {name}", source.name()))?;
        if info.dtype.is_weight() && shape.len() == 2 && matrix(name) {
            made.push((name.to_owned(), Desc::plain(shape, DType::I8), Of::Bytes(name)));
            made.push((scale_name(name), Desc::plain([shape[0]], DType::F32), Of::Scales(name)));
        } else {
            let to = if from == DType::F64 { DType::F32 } else { from };
            made.push((name.to_owned(), Desc::plain(shape, to), Of::Same(name)));
        }
    }
    let descs: Vec<_> = made.iter().map(|(name, desc, _)| (name.as_str(), *desc)).collect();
    let mut strings = source.all_metadata().clone();
    strings.extend(metadata.iter().map(|(key, value)| (key.clone(), value.clone())));
    // The writer chooses the order, so a matrix is rounded for its bytes and for its scales.
    let rounded = |name| quantize(&source.tensor(name)?).context(|| format!("tensor {name}"));
    save_with(path, &descs, &strings, |i| match made[i].2 {
        Of::Same(name) => cast(&source.tensor(name)?, made[i].1.dtype),
        Of::Bytes(name) => Ok(rounded(name)?.0),
        Of::Scales(name) => Ok(rounded(name)?.1),
    })?;
    Ok(descs.len())
}

/// The tensor with floats of another type, rounded to nearest even.
///
/// # Errors
/// `InvalidArgument` where a finite number is too large for f16; `Unsupported` for a type that is no float of
/// at most 32 bits; `OutOfMemory`.
pub fn cast(tensor: &Tensor, to: DType) -> Result<Tensor> {
    if tensor.dtype() == to {
        return Ok(tensor.clone());
    }
    let wide = tensor.to_f32()?;
    if to == DType::F32 {
        return Ok(wide);
    }
    let from = wide.data::<f32>()?;
    let desc = Desc::plain(*tensor.shape(), to);
    let mut out = Tensor::new(desc, HeapAllocator.allocate(from.len() * to.size())?)?;
    match to {
        DType::BF16 => out.data_mut::<bf16>()?.convert_from_f32_slice(from),
        DType::F16 => {
            let half = out.data_mut::<f16>()?;
            half.convert_from_f32_slice(from);
            if let Some((_, large)) = half.iter().zip(from).find(|(h, x)| h.is_infinite() && x.is_finite()) {
                return Err(Error::invalid(format!("{large} is too large for f16, bf16 can hold it")));
            }
        }
        _ => return Err(Error::unsupported(format!("weights of type {to}: expected f32, f16 or bf16"))),
    }
    Ok(out)
}
