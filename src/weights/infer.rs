//! Reading a configuration off a listing: what the configurations of all models share.

use super::listing::Listing;
use crate::error::{Error, Result};
use std::collections::BTreeSet;

/// Largest extent that a configuration takes from a file. Products of three fit in 64 bits, and no model comes
/// near it.
const LARGEST: usize = 1 << 20;

/// The extents of a tensor that must be there with `N` axes, each at least 1.
///
/// # Errors
/// `Format` that names the tensor.
pub(crate) fn extents<const N: usize>(file: &Listing, name: &str) -> Result<[usize; N]> {
    let info = file
        .get(name)
        .ok_or_else(|| Error::format(format!("tensor {name} is missing, expected {N} axes")))?;
    let dims = file.dims::<N>(name);
    let dims = dims.filter(|d| d.iter().all(|&e| (1..=LARGEST).contains(&e)));
    dims.ok_or_else(|| {
        Error::format(format!("tensor {name} is {info}, expected {N} axes of 1 to {LARGEST} elements"))
    })
}

/// How many different numbers follow `prefix` in names (`prefix0.`, `prefix1.`, ...).
///
/// The count, not the largest number: no file can make it larger than itself, and where one is skipped the
/// manifest names it as missing.
pub(crate) fn count(file: &Listing, prefix: &str) -> usize {
    let numbers = file.under(prefix).filter_map(|rest| rest.split('.').next()?.parse::<u32>().ok());
    numbers.collect::<BTreeSet<_>>().len()
}

/// `a / b` where it is whole.
///
/// # Errors
/// `Format` that says what was to be divided.
pub(crate) fn divide(a: usize, b: usize, what: &str) -> Result<usize> {
    if b > 0 && a > 0 && a.is_multiple_of(b) {
        return Ok(a / b);
    }
    Err(Error::format(format!("{what}: {a} is no multiple of {b}")))
}
