use crate::error::{Error, Result};
use crate::exec::Param;
use crate::weights::{Info, Source};

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

fn fits(info: &Info, shape: &[usize]) -> bool {
    info.dtype.is_weight() && info.shape == shape
}
