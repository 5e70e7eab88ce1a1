use crate::error::{Error, Result};
use crate::tensor::{DType, Desc, Layout};

/// The `N` extents of an input, or an error that says what was expected.
pub fn dims<const N: usize>(what: &str, desc: &Desc) -> Result<[usize; N]> {
    desc.shape
        .dims()
        .ok_or_else(|| Error::invalid(format!("{what} has shape {}, expected {N} axes", desc.shape)))
}

/// Exactly this many inputs.
pub fn inputs<const N: usize>(inputs: &[Desc]) -> Result<[Desc; N]> {
    inputs.try_into().map_err(|_| Error::internal(format!("{} inputs, expected {N}", inputs.len())))
}

/// An input of exactly this plain description.
pub fn expect(what: &str, desc: &Desc, shape: &[usize], dtype: DType) -> Result<()> {
    if desc.shape[..] != *shape || desc.dtype != dtype || desc.layout != Layout::Plain {
        return Err(Error::invalid(format!("{what} is {desc}, expected {dtype} {shape:?}")));
    }
    Ok(())
}

/// An input of a plain layout and one of these types.
pub fn expect_type(what: &str, desc: &Desc, dtypes: &[DType]) -> Result<()> {
    if desc.layout != Layout::Plain || !dtypes.contains(&desc.dtype) {
        let names: Vec<_> = dtypes.iter().map(|d| d.name()).collect();
        return Err(Error::unsupported(format!("{what} is {desc}, expected plain {}", names.join(" or "))));
    }
    Ok(())
}
