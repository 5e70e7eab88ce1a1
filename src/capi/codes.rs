use super::error::{fqgan_error, fqgan_status};
use super::versioned::{self, versioned};
use super::{guard, pointers};
use crate::codes::{Info, pack_into, unpack_info, unpack_into};
use crate::error::{Error, Result};
use std::ffi::c_void;

/// The sizes of a set of codes, laid out (count, codebooks, grid_height, grid_width).
#[derive(Clone, Copy)]
#[repr(C)]
pub struct fqgan_codes_info {
    /// sizeof(fqgan_codes_info).
    pub struct_size: u32,
    /// Images.
    pub count: u32,
    /// Sub-codebooks: (vis, sem) or (vis, sem_mid, sem_high).
    pub codebooks: u32,
    /// Codes of a sub-codebook; each code is less.
    pub codebook_size: u32,
    /// Columns.
    pub grid_width: u32,
    /// Rows.
    pub grid_height: u32,
}
versioned!(fqgan_codes_info { struct_size, count, codebooks, codebook_size, grid_width, grid_height });

/// Writes codes as the bytes of a .fqc file: bit-packed, with their sizes and a checksum. *length is set to
/// the bytes that the file has. bytes may be NULL, to learn *length alone; codes is not read then.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fqgan_codes_pack(
    codes: *const u32,
    count: usize,
    codebooks: u32,
    codebook_size: u32,
    grid_width: u32,
    grid_height: u32,
    bytes: *mut c_void,
    capacity: usize,
    length: *mut usize,
    error: *mut fqgan_error,
) -> fqgan_status {
    let body = || {
        pointers::check(length, "length")?;
        let info = Info {
            count,
            k: codebooks as usize,
            height: grid_height as usize,
            width: grid_width as usize,
            codebook_size: codebook_size as usize,
        };
        let need = info.packed_len()?;
        if !bytes.is_null() {
            // SAFETY: the contract of the interface.
            unsafe {
                let codes = pointers::slice(codes, info.len()?, "codes")?;
                // Before the buffer is touched.
                info.check(codes)?;
                pack_into(&info, codes, pointers::output(bytes.cast::<u8>(), need, capacity, "bytes")?)?;
            }
        }
        // SAFETY: not null and aligned, as checked.
        unsafe { length.write(need) };
        Ok(())
    };
    // SAFETY: the contract of the interface.
    unsafe { guard::call(error, body) }
}

/// Reads the bytes of a .fqc file: its sizes to info, its codes to codes. Either may be NULL, not both; with
/// codes NULL, info says how many there are. Bytes that are damaged, or cut short, are FQGAN_ERROR_FORMAT.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fqgan_codes_unpack(
    bytes: *const c_void,
    length: usize,
    info: *mut fqgan_codes_info,
    codes: *mut u32,
    capacity: usize,
    error: *mut fqgan_error,
) -> fqgan_status {
    let body = || {
        if info.is_null() && codes.is_null() {
            return Err(Error::invalid("info and codes are both NULL: there is nothing to write to"));
        }
        // SAFETY: the contract of the interface.
        unsafe {
            if !info.is_null() {
                versioned::check(info)?;
            }
            let bytes = pointers::slice(bytes.cast::<u8>(), length, "bytes")?;
            let found = unpack_info(bytes)?;
            if !codes.is_null() {
                unpack_into(bytes, pointers::output(codes, found.len()?, capacity, "codes")?)?;
            }
            if info.is_null() { Ok(()) } else { versioned::write(info, &describe(&found)?) }
        }
    };
    // SAFETY: the contract of the interface.
    unsafe { guard::call(error, body) }
}

fn describe(info: &Info) -> Result<fqgan_codes_info> {
    Ok(fqgan_codes_info {
        struct_size: 0,
        count: pointers::narrow(info.count)?,
        codebooks: pointers::narrow(info.k)?,
        codebook_size: pointers::narrow(info.codebook_size)?,
        grid_width: pointers::narrow(info.width)?,
        grid_height: pointers::narrow(info.height)?,
    })
}
