use super::log;
use super::versioned::{self, versioned};
use crate::error::Error;
use std::ffi::c_char;

/// How a call went: one of the constants below.
pub type fqgan_status = i32;

/// All went well.
pub const FQGAN_OK: i32 = 0;
/// An argument cannot be: NULL, a wrong size, an unknown enum value, too small a capacity.
pub const FQGAN_ERROR_INVALID_ARGUMENT: i32 = 1;
/// The operating system refused to read or write.
pub const FQGAN_ERROR_IO: i32 = 2;
/// A file is not what it should be.
pub const FQGAN_ERROR_FORMAT: i32 = 3;
/// Valid, but not something that this build, device or type can do.
pub const FQGAN_ERROR_UNSUPPORTED: i32 = 4;
/// Memory, or the memory limit that was set, does not suffice.
pub const FQGAN_ERROR_OUT_OF_MEMORY: i32 = 5;
/// No driver, no such GPU, or a launch failed.
pub const FQGAN_ERROR_DEVICE: i32 = 6;
/// The progress function asked to stop.
pub const FQGAN_ERROR_CANCELLED: i32 = 7;
/// A bug of the library. The runtime and its models stay usable.
pub const FQGAN_ERROR_INTERNAL: i32 = 8;

/// The bytes of fqgan_error's message, the closing NUL included.
pub const FQGAN_MESSAGE_SIZE: usize = 504;

/// What went wrong. It is the caller's; set struct_size (or call fqgan_error_init once) and pass it to any
/// number of calls. Each sets status and message, on success to FQGAN_OK and "".
#[derive(Clone, Copy)]
#[repr(C)]
pub struct fqgan_error {
    /// sizeof(fqgan_error).
    pub struct_size: u32,
    /// The status that the call returned.
    pub status: fqgan_status,
    /// UTF-8: what was wrong, where, and what was expected.
    pub message: [c_char; 504],
}
versioned!(fqgan_error { struct_size, status, message });

const _: () = assert!(FQGAN_MESSAGE_SIZE == 504);

/// Clears the struct and sets its struct_size.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fqgan_error_init(error: *mut fqgan_error) {
    // SAFETY: the contract of the interface.
    unsafe { versioned::init(error, 512) }
}

/// The name of a status, as "FQGAN_ERROR_IO"; of an unknown one "FQGAN_ERROR_UNKNOWN". Never NULL.
#[unsafe(no_mangle)]
pub extern "C" fn fqgan_status_name(status: fqgan_status) -> *const c_char {
    let name = match status {
        FQGAN_OK => c"FQGAN_OK",
        FQGAN_ERROR_INVALID_ARGUMENT => c"FQGAN_ERROR_INVALID_ARGUMENT",
        FQGAN_ERROR_IO => c"FQGAN_ERROR_IO",
        FQGAN_ERROR_FORMAT => c"FQGAN_ERROR_FORMAT",
        FQGAN_ERROR_UNSUPPORTED => c"FQGAN_ERROR_UNSUPPORTED",
        FQGAN_ERROR_OUT_OF_MEMORY => c"FQGAN_ERROR_OUT_OF_MEMORY",
        FQGAN_ERROR_DEVICE => c"FQGAN_ERROR_DEVICE",
        FQGAN_ERROR_CANCELLED => c"FQGAN_ERROR_CANCELLED",
        FQGAN_ERROR_INTERNAL => c"FQGAN_ERROR_INTERNAL",
        _ => c"FQGAN_ERROR_UNKNOWN",
    };
    name.as_ptr()
}

/// Whether an error struct can be written to: NULL or a proper one.
///
/// # Safety
/// Null, or `struct_size` writable bytes.
pub(super) unsafe fn check(error: *mut fqgan_error) -> Result<(), Error> {
    // SAFETY: as the caller promises.
    if error.is_null() { Ok(()) } else { unsafe { versioned::check(error) } }
}

/// Tells the caller, as far as its struct goes, and the log.
///
/// # Safety
/// `error` passed [`check`].
pub(super) unsafe fn report(error: *mut fqgan_error, result: Result<(), Error>) -> fqgan_status {
    let (status, message) = match &result {
        Ok(()) => (FQGAN_OK, ""),
        Err(e) => (e.status() as i32, e.message()),
    };
    if status != FQGAN_OK {
        log::write(log::FQGAN_LOG_ERROR, format_args!("{message}"));
    }
    if !error.is_null() {
        let head = std::mem::offset_of!(fqgan_error, message);
        // SAFETY: `check` saw a `struct_size` that covers the status; the message is cut to what is left.
        unsafe {
            let size = ((*error).struct_size as usize).min(size_of::<fqgan_error>());
            (*error).status = status;
            if size > head {
                let to = error.cast::<u8>().add(head);
                let message = cut(message, size - head - 1);
                std::ptr::copy_nonoverlapping(message.as_ptr(), to, message.len());
                to.add(message.len()).write(0);
            }
        }
    }
    status
}

/// The text up to its first NUL, and no more than `room` bytes of it, whole characters only.
pub(super) fn cut(text: &str, room: usize) -> &str {
    let text = &text[..text.find('\0').unwrap_or(text.len())];
    &text[..text.floor_char_boundary(room)]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(error: &fqgan_error) -> Vec<u8> {
        error.message.iter().map(|c| *c as u8).collect()
    }

    #[test]
    fn a_long_message_ends_at_a_character() {
        let mut error = fqgan_error { struct_size: 512, status: -1, message: [0x55; 504] };
        // 251 characters of two bytes and one of three: byte 503 would fall inside the last.
        let long = "é".repeat(251) + "€" + "x";
        // SAFETY: a whole struct.
        let status = unsafe { report(&mut error, Err(Error::format(&long))) };
        assert_eq!((status, error.status), (FQGAN_ERROR_FORMAT, FQGAN_ERROR_FORMAT));
        let text = bytes(&error);
        assert_eq!(&text[..502], "é".repeat(251).as_bytes());
        assert_eq!(&text[502..], [0, 0x55]);
        // SAFETY: as above.
        unsafe { report(&mut error, Err(Error::format("x".repeat(600)))) };
        assert_eq!(bytes(&error), ["x".repeat(503).as_bytes(), &[0]].concat());
    }

    #[test]
    fn a_short_struct_gets_what_fits() {
        for (size, want) in [(8, "UUU"), (9, "\0UU"), (10, "m\0U"), (11, "me\0")] {
            let mut error = fqgan_error { struct_size: size, status: -1, message: [0x55; 504] };
            // SAFETY: a whole struct, said to be shorter.
            unsafe { report(&mut error, Err(Error::internal("message\0hidden"))) };
            assert_eq!(error.status, FQGAN_ERROR_INTERNAL);
            assert_eq!(&bytes(&error)[..3], want.as_bytes());
            assert!(bytes(&error)[3..].iter().all(|b| *b == 0x55));
        }
    }
}
