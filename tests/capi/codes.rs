//! Codes as bytes.

use crate::support::call;
use fqgan::capi::*;
use std::ffi::c_void;
use std::ptr::{null, null_mut};

const CODES: [u32; 24] =
    [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 99, 98, 97, 96, 95, 94, 93, 92, 91, 90, 89, 88];

/// Two images, two sub-codebooks of 100, three columns and two rows.
fn pack(codes: *const u32, bytes: *mut u8, capacity: usize, length: *mut usize) -> (i32, String) {
    // SAFETY: the arguments are whole or NULL.
    call(|error| unsafe { fqgan_codes_pack(codes, 2, 2, 100, 3, 2, bytes.cast(), capacity, length, error) })
}

fn unpack(bytes: &[u8], info: *mut fqgan_codes_info, codes: *mut u32, capacity: usize) -> (i32, String) {
    // SAFETY: the arguments are whole or NULL.
    call(|error| unsafe {
        fqgan_codes_unpack(bytes.as_ptr().cast(), bytes.len(), info, codes, capacity, error)
    })
}

fn packed() -> Vec<u8> {
    let mut length = 0;
    assert_eq!(pack(null(), null_mut(), 0, &mut length).0, FQGAN_OK);
    let mut bytes = vec![0xAA; length + 1];
    let mut again = 0;
    assert_eq!(pack(CODES.as_ptr(), bytes.as_mut_ptr(), length, &mut again).0, FQGAN_OK);
    assert_eq!((again, bytes.pop()), (length, Some(0xAA)));
    bytes
}

fn empty_info() -> fqgan_codes_info {
    fqgan_codes_info {
        struct_size: size_of::<fqgan_codes_info>() as u32,
        count: 0,
        codebooks: 0,
        codebook_size: 0,
        grid_width: 0,
        grid_height: 0,
    }
}

#[test]
fn codes_come_back() {
    let bytes = packed();
    let (mut info, mut codes) = (empty_info(), [7; 25]);
    assert_eq!(unpack(&bytes, &mut info, codes.as_mut_ptr(), 24).0, FQGAN_OK);
    assert_eq!((&codes[..24], codes[24]), (&CODES[..], 7));
    assert_eq!((info.count, info.codebooks, info.codebook_size), (2, 2, 100));
    assert_eq!((info.grid_width, info.grid_height), (3, 2));
    let mut info = fqgan_codes_info { struct_size: 12, ..empty_info() };
    assert_eq!(unpack(&bytes, &mut info, null_mut(), 0).0, FQGAN_OK);
    assert_eq!((info.struct_size, info.count, info.codebooks, info.codebook_size), (12, 2, 2, 0));
    assert_eq!(unpack(&bytes, null_mut(), codes.as_mut_ptr(), 24).0, FQGAN_OK);
}

#[test]
fn wrong_arguments_write_nothing() {
    let mut bytes = packed();
    let mut out = vec![0xAA; bytes.len()];
    let mut length = 7;
    let (status, text) = pack(CODES.as_ptr(), out.as_mut_ptr(), bytes.len() - 1, &mut length);
    assert_eq!(status, FQGAN_ERROR_INVALID_ARGUMENT);
    assert!(text.contains(&format!("{} are needed", bytes.len())), "{text}");
    let mut wrong = CODES;
    wrong[14] = 100;
    let (status, text) = pack(wrong.as_ptr(), out.as_mut_ptr(), out.len(), &mut length);
    assert_eq!(status, FQGAN_ERROR_INVALID_ARGUMENT);
    assert!(text.contains("code 100 at image 1, sub-codebook 0, row 0, column 2"), "{text}");
    assert_eq!(pack(null(), out.as_mut_ptr(), out.len(), &mut length).1, "codes is NULL");
    assert_eq!(pack(CODES.as_ptr(), out.as_mut_ptr(), out.len(), null_mut()).1, "length is NULL");
    assert_eq!((length, out.iter().all(|b| *b == 0xAA)), (7, true));

    let mut codes = [7; 24];
    let (status, text) = unpack(&bytes, null_mut(), codes.as_mut_ptr(), 23);
    assert_eq!(status, FQGAN_ERROR_INVALID_ARGUMENT);
    assert!(text.contains("capacity is 23 elements, 24 are needed"), "{text}");
    assert_eq!(unpack(&bytes, null_mut(), null_mut(), 0).0, FQGAN_ERROR_INVALID_ARGUMENT);
    let mut info = fqgan_codes_info { struct_size: 4, ..empty_info() };
    assert_eq!(unpack(&bytes, &mut info, codes.as_mut_ptr(), 24).0, FQGAN_ERROR_INVALID_ARGUMENT);
    bytes[40] ^= 1;
    assert_eq!(unpack(&bytes, null_mut(), codes.as_mut_ptr(), 24).0, FQGAN_ERROR_FORMAT);
    bytes.truncate(20);
    assert_eq!(unpack(&bytes, null_mut(), codes.as_mut_ptr(), 24).0, FQGAN_ERROR_FORMAT);
    assert_eq!(codes, [7; 24]);
    // SAFETY: NULL is checked.
    let (status, _) = call(|error| unsafe {
        fqgan_codes_unpack(null::<c_void>(), 5, null_mut(), codes.as_mut_ptr(), 24, error)
    });
    assert_eq!(status, FQGAN_ERROR_INVALID_ARGUMENT);
}

#[test]
fn impossible_sizes_are_errors() {
    let mut length = 0;
    for (count, k, n, w, h) in [
        (0, 2, 100, 3, 2),
        (2, 0, 100, 3, 2),
        (2, 2, 0, 3, 2),
        (2, 2, 100, 0, 2),
        (2, 2, 100, 3, 0),
        (usize::MAX, 2, 100, 3, 2),
        (1 << 31, u32::MAX, 100, u32::MAX, 2),
    ] {
        // SAFETY: only the length is asked for.
        let (status, text) = call(|error| unsafe {
            fqgan_codes_pack(CODES.as_ptr(), count, k, n, w, h, null_mut(), 0, &mut length, error)
        });
        assert_eq!(status, FQGAN_ERROR_INVALID_ARGUMENT, "{text}");
    }
    assert_eq!(length, 0);
}
