use super::error::cut;
use std::cell::Cell;
use std::ffi::{c_char, c_void};
use std::fmt::{self, Write};
use std::sync::{PoisonError, RwLock};

/// A call failed; the message is the one of its fqgan_error.
pub const FQGAN_LOG_ERROR: i32 = 1;
/// Something the host should know: it works, but not as it could.
pub const FQGAN_LOG_WARNING: i32 = 2;
/// What was opened, and how it will run.
pub const FQGAN_LOG_INFO: i32 = 3;
/// For those who debug the library.
pub const FQGAN_LOG_DEBUG: i32 = 4;

/// Takes a line of the log, without a line break. It may come from any thread, several at a time, and must not
/// call fqgan_set_log; messages of calls that it makes itself are dropped.
pub type fqgan_log_fn =
    Option<unsafe extern "C-unwind" fn(user: *mut c_void, level: i32, utf8: *const c_char)>;

struct Sink {
    function: fqgan_log_fn,
    user: *mut c_void,
}

// SAFETY: the host promises that its function may be called from any thread with this pointer.
unsafe impl Send for Sink {}
// SAFETY: as above.
unsafe impl Sync for Sink {}

/// The only mutable global. Lines are written under the read lock, so that after `fqgan_set_log` has returned
/// the previous function is not running and will not be called.
static SINK: RwLock<Sink> = RwLock::new(Sink { function: None, user: std::ptr::null_mut() });

thread_local! {
    static WRITING: Cell<bool> = const { Cell::new(false) };
}

/// Sets the function that takes the log of the whole process; NULL, the default, is silence. When this returns,
/// the function that was set before is not running and is not called again.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fqgan_set_log(function: fqgan_log_fn, user: *mut c_void) {
    if !WRITING.get() {
        *SINK.write().unwrap_or_else(PoisonError::into_inner) = Sink { function, user };
    }
}

/// A line for the host; longer ones than 1 KiB are cut. Allocates nothing.
pub(super) fn write(level: i32, message: fmt::Arguments<'_>) {
    if WRITING.get() {
        return;
    }
    let sink = SINK.read().unwrap_or_else(PoisonError::into_inner);
    let Some(function) = sink.function else { return };
    let mut line = Line { bytes: [0; 1024], len: 0 };
    // A line that is full says so; what fitted is kept.
    let _ = line.write_fmt(message);
    WRITING.set(true);
    let user = sink.user;
    // SAFETY: the host's function, with its pointer and a string that ends with NUL. What it throws ends here.
    let call = || unsafe { function(user, level, line.bytes.as_ptr().cast()) };
    let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(call));
    WRITING.set(false);
}

struct Line {
    bytes: [u8; 1024],
    len: usize,
}

impl Write for Line {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        // One byte stays for the NUL.
        let part = cut(text, self.bytes.len() - 1 - self.len);
        self.bytes[self.len..self.len + part.len()].copy_from_slice(part.as_bytes());
        self.len += part.len();
        if part.len() == text.len() { Ok(()) } else { Err(fmt::Error) }
    }
}
