//! Structs that begin with their size, so that hosts and libraries of different age understand each other: no
//! more than `struct_size` bytes are read or written, and what lies past them is at its default.

use super::pointers;
use crate::error::{Error, Result};
use std::mem::MaybeUninit;

/// A struct whose first field is `uint32_t struct_size`.
///
/// # Safety
/// `repr(C)`, valid when all its bytes are zero, begins with a `u32`; `ENDS` holds the offsets of the ends of
/// its fields, ascending, none past the struct.
pub(super) unsafe trait Versioned: Copy {
    /// The C name.
    const NAME: &'static str;
    /// Where each field ends.
    const ENDS: &'static [usize];
}

/// The size of the field that a function reaches.
pub(super) const fn field_size<T, F>(_: fn(&T) -> &F) -> usize {
    size_of::<F>()
}

/// Implements [`Versioned`] by the list of fields.
macro_rules! versioned {
    ($name:ident { $($field:ident),+ $(,)? }) => {
        // SAFETY: `repr(C)` structs of numbers, nullable pointers and nullable functions, with `struct_size`
        // named first; the compiler gives the ends.
        unsafe impl $crate::capi::versioned::Versioned for $name {
            const NAME: &'static str = stringify!($name);
            const ENDS: &'static [usize] = &[$(
                std::mem::offset_of!($name, $field)
                    + $crate::capi::versioned::field_size(|s: &$name| &s.$field)
            ),+];
        }
    };
}
pub(super) use versioned;

/// The caller's `struct_size`, checked to hold at least one field beside itself.
unsafe fn size_of_callers<T: Versioned>(pointer: *const T) -> Result<usize> {
    pointers::check(pointer, T::NAME)?;
    // SAFETY: not null, aligned, and at least the first field is there.
    let size = unsafe { pointer.cast::<u32>().read() } as usize;
    if size < T::ENDS[1] {
        return Err(Error::invalid(format!(
            "{}: struct_size is {size}; set it to sizeof({0}), {}",
            T::NAME,
            size_of::<T>()
        )));
    }
    Ok(size)
}

/// Bytes of the whole fields that fit in `size`.
fn covered<T: Versioned>(size: usize) -> usize {
    T::ENDS.iter().copied().take_while(|end| *end <= size).last().unwrap_or(0)
}

/// A copy of the caller's struct; fields past its `struct_size` are zero.
///
/// # Safety
/// `pointer` is null or points to `struct_size` readable bytes.
pub(super) unsafe fn read<T: Versioned>(pointer: *const T) -> Result<T> {
    // SAFETY: as the caller promises.
    let size = unsafe { size_of_callers(pointer) }?;
    let mut copy = MaybeUninit::<T>::zeroed();
    // SAFETY: `covered` is at most the caller's size and ours; all-zero bytes, overwritten by fields that the
    // caller filled, are a valid `T`.
    unsafe {
        std::ptr::copy_nonoverlapping(
            pointer.cast::<u8>(),
            copy.as_mut_ptr().cast::<u8>(),
            covered::<T>(size),
        );
        Ok(copy.assume_init())
    }
}

/// [`read`], where NULL means that everything is at its default.
///
/// # Safety
/// As [`read`].
pub(super) unsafe fn read_or_default<T: Versioned>(pointer: *const T) -> Result<T> {
    if pointer.is_null() {
        // SAFETY: all-zero bytes are a valid `T`.
        return Ok(unsafe { MaybeUninit::zeroed().assume_init() });
    }
    // SAFETY: as the caller promises.
    unsafe { read(pointer) }
}

/// Checks a struct that [`write`] will fill.
///
/// # Safety
/// As [`read`].
pub(super) unsafe fn check<T: Versioned>(pointer: *const T) -> Result<()> {
    // SAFETY: as the caller promises.
    unsafe { size_of_callers(pointer) }.map(|_| ())
}

/// Fills the caller's struct as far as its `struct_size` goes; that field itself stays.
///
/// # Safety
/// `pointer` is null or points to `struct_size` writable bytes.
pub(super) unsafe fn write<T: Versioned>(pointer: *mut T, value: &T) -> Result<()> {
    // SAFETY: as the caller promises.
    let size = unsafe { size_of_callers(pointer) }?;
    let (from, head) = (std::ptr::from_ref(value).cast::<u8>(), size_of::<u32>());
    // SAFETY: what is written ends within the caller's size, and begins after `struct_size`.
    unsafe {
        std::ptr::copy_nonoverlapping(
            from.add(head),
            pointer.cast::<u8>().add(head),
            covered::<T>(size) - head,
        );
    }
    Ok(())
}

/// Gives a struct its defaults: all zero but its size, which is the one that version 1 has, whatever later
/// versions add: a host built with version 1 gave no more memory.
///
/// # Safety
/// `pointer` is null or points to a writable struct of version 1.
pub(super) unsafe fn init<T: Versioned>(pointer: *mut T, version_1: usize) {
    if pointers::check(pointer, T::NAME).is_ok() {
        // SAFETY: not null, aligned, and `version_1` bytes long.
        unsafe {
            pointer.cast::<u8>().write_bytes(0, version_1);
            pointer.cast::<u32>().write(version_1 as u32);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, Copy, Debug, PartialEq)]
    #[repr(C)]
    struct sample {
        struct_size: u32,
        a: u32,
        b: u64,
        c: u32,
        d: u32,
    }
    versioned!(sample { struct_size, a, b, c, d });

    fn full(struct_size: u32) -> sample {
        sample { struct_size, a: !0, b: !0, c: !0, d: !0 }
    }

    #[test]
    fn reads_whole_fields_within_the_size() {
        for (size, a, b, c, d) in [
            (8, !0, 0, 0, 0),
            (15, !0, 0, 0, 0),
            (16, !0, !0, 0, 0),
            (23, !0, !0, !0, 0),
            (24, !0, !0, !0, !0),
        ] {
            let value = full(size);
            // SAFETY: a whole struct.
            assert_eq!(unsafe { read(&value) }.unwrap(), sample { struct_size: size, a, b, c, d }, "{size}");
        }
        // SAFETY: a whole struct; no more than it is read.
        assert_eq!(unsafe { read(&full(u32::MAX)) }.unwrap(), full(u32::MAX));
        for size in 0..8 {
            // SAFETY: a whole struct.
            let error = unsafe { read(&full(size)) }.unwrap_err();
            assert_eq!(
                error.message(),
                format!("sample: struct_size is {size}; set it to sizeof(sample), 24")
            );
        }
    }

    #[test]
    fn writes_whole_fields_within_the_size() {
        for size in 8..40 {
            let mut value = full(size);
            let zero = sample { struct_size: 1, a: 0, b: 0, c: 0, d: 0 };
            // SAFETY: a whole struct; no more than it is written.
            unsafe { write(&mut value, &zero) }.unwrap();
            let end = |at: u32, was: u64| if size >= at { 0 } else { was };
            assert_eq!(value.struct_size, size);
            assert_eq!((value.a, value.b), (0, end(16, !0)));
            assert_eq!((value.c as u64, value.d as u64), (end(20, !0u32 as u64), end(24, !0u32 as u64)));
        }
    }
}
