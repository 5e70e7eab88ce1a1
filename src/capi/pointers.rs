//! Every pointer of a host passes here: not null, aligned, and of a length that can be addressed. What it
//! points to is the host's word.

use crate::error::{Error, Result};
use std::ffi::{CStr, c_char};

/// Not null, and aligned for `T`.
pub(super) fn check<T>(pointer: *const T, name: &str) -> Result<()> {
    if pointer.is_null() {
        return Err(Error::invalid(format!("{name} is NULL")));
    }
    if !pointer.is_aligned() {
        return Err(Error::invalid(format!(
            "{name} is at {pointer:p}, which is not aligned to {} bytes",
            align_of::<T>()
        )));
    }
    Ok(())
}

fn check_many<T>(pointer: *const T, len: usize, name: &str) -> Result<()> {
    check(pointer, name)?;
    if len.checked_mul(size_of::<T>()).is_none_or(|bytes| bytes > isize::MAX as usize) {
        return Err(Error::invalid(format!("{name}: {len} elements are more than memory can hold")));
    }
    Ok(())
}

/// A handle, to use.
///
/// # Safety
/// Null, or a live handle that nobody gives back during `'a`.
pub(super) unsafe fn handle<'a, T>(pointer: *const T, name: &str) -> Result<&'a T> {
    check(pointer, name)?;
    // SAFETY: not null and aligned; the caller promises the rest.
    Ok(unsafe { &*pointer })
}

/// Elements to read.
///
/// # Safety
/// Null, or `len` elements that nobody writes during `'a`.
pub(super) unsafe fn slice<'a, T>(pointer: *const T, len: usize, name: &str) -> Result<&'a [T]> {
    check_many(pointer, len, name)?;
    // SAFETY: not null, aligned, addressable; the caller promises the rest.
    Ok(unsafe { std::slice::from_raw_parts(pointer, len) })
}

/// The first `need` elements of a buffer of `capacity`, to write.
///
/// # Safety
/// Null, or `capacity` elements that nobody else reads or writes during `'a`.
pub(super) unsafe fn output<'a, T>(
    pointer: *mut T,
    need: usize,
    capacity: usize,
    name: &str,
) -> Result<&'a mut [T]> {
    check_many(pointer, need, name)?;
    if capacity < need {
        return Err(Error::invalid(format!("{name}: capacity is {capacity} elements, {need} are needed")));
    }
    // SAFETY: not null, aligned, addressable; the caller promises the rest.
    Ok(unsafe { std::slice::from_raw_parts_mut(pointer, need) })
}

/// A path or other text.
///
/// # Safety
/// Null, or a string with its NUL that nobody writes during `'a`.
pub(super) unsafe fn text<'a>(pointer: *const c_char, name: &str) -> Result<&'a str> {
    check(pointer, name)?;
    // SAFETY: as the caller promises.
    let text = unsafe { CStr::from_ptr(pointer) };
    text.to_str().map_err(|e| {
        Error::invalid(format!(
            "{name} is not UTF-8 from byte {} on: {}",
            e.valid_up_to(),
            text.to_string_lossy()
        ))
    })
}

/// A size as the interface has it.
pub(super) fn narrow(size: usize) -> Result<u32> {
    u32::try_from(size).map_err(|_| Error::internal(format!("{size} does not fit in 32 bits")))
}

/// An enum value by the list of those there are.
pub(super) fn choose<T: Copy>(value: i32, name: &str, known: &[(i32, &str, T)]) -> Result<T> {
    if let Some((_, _, meaning)) = known.iter().find(|(number, _, _)| *number == value) {
        return Ok(*meaning);
    }
    let list: Vec<String> = known.iter().map(|(number, name, _)| format!("{name} ({number})")).collect();
    Err(Error::invalid(format!("{name} is {value}, expected one of {}", list.join(", "))))
}
