//! The one way from a host into the library: errors and panics become a status, and nothing is printed.

use super::error::{self, FQGAN_ERROR_INVALID_ARGUMENT, fqgan_error, fqgan_status};
use super::log;
use super::pointers;
use crate::error::{Error, Result};
use std::any::Any;
use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Once;

thread_local! {
    /// Calls of this thread that are inside the library.
    static DEPTH: Cell<usize> = const { Cell::new(0) };
    /// Where this thread's last panic came from.
    static PLACE: RefCell<String> = const { RefCell::new(String::new()) };
}

/// Says that this thread is inside the library.
pub(super) struct Inside;

impl Inside {
    pub(super) fn enter() -> Inside {
        quieten();
        DEPTH.set(DEPTH.get() + 1);
        Inside
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        DEPTH.set(DEPTH.get() - 1);
    }
}

/// The panic hook is all that would print. Ours keeps still inside the library and on its own threads, where
/// the panic ends up in an error message, and leaves others' panics to the hook that was there.
fn quieten() {
    static ONCE: Once = Once::new();
    // The hook cannot be changed by a thread that unwinds: a host in Rust may give a handle back so.
    if std::thread::panicking() {
        return;
    }
    ONCE.call_once(|| {
        let previous = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            let ours = DEPTH.get() > 0
                || std::thread::current().name().is_some_and(|name| name.starts_with("fqgan-"));
            if !ours {
                return previous(info);
            }
            if let Some(place) = info.location() {
                // Late in a thread's life there is no place to keep it.
                let _ = PLACE.try_with(|last| *last.borrow_mut() = place.to_string());
            }
        }));
    });
}

/// Runs a call of the host.
///
/// # Safety
/// `error` is null or points to `struct_size` writable bytes.
pub(super) unsafe fn call(error: *mut fqgan_error, body: impl FnOnce() -> Result<()>) -> fqgan_status {
    // SAFETY: as the caller promises.
    if let Err(wrong) = unsafe { error::check(error) } {
        log::write(log::FQGAN_LOG_ERROR, format_args!("{}", wrong.message()));
        return FQGAN_ERROR_INVALID_ARGUMENT;
    }
    let result = {
        let _inside = Inside::enter();
        #[cfg(test)]
        let body = || super::faults::strike().and_then(|()| body());
        catch_unwind(AssertUnwindSafe(body)).unwrap_or_else(|cause| Err(describe(cause)))
    };
    // SAFETY: checked above.
    unsafe { error::report(error, result) }
}

/// A call that makes a handle. The host's variable is NULL on every failure.
///
/// # Safety
/// As [`call`]; `out` is null or writable.
pub(super) unsafe fn create<T>(
    out: *mut *mut T,
    name: &str,
    error: *mut fqgan_error,
    make: impl FnOnce() -> Result<T>,
) -> fqgan_status {
    let checked = pointers::check(out, name);
    if checked.is_ok() {
        // SAFETY: not null and aligned; the caller promises the rest.
        unsafe { out.write(std::ptr::null_mut()) };
    }
    let body = || {
        checked?;
        let handle = Box::into_raw(Box::new(make()?));
        // SAFETY: as above.
        unsafe { out.write(handle) };
        Ok(())
    };
    // SAFETY: as the caller promises.
    unsafe { call(error, body) }
}

/// Gives a handle back. NULL is accepted.
///
/// # Safety
/// Null, or made by [`create`] and not used again.
pub(super) unsafe fn destroy<T>(handle: *mut T) {
    if handle.is_null() || !handle.is_aligned() {
        return;
    }
    let _inside = Inside::enter();
    // SAFETY: as the caller promises.
    let give_back = || drop(unsafe { Box::from_raw(handle) });
    #[cfg(test)]
    let give_back = || super::faults::strike().map_or((), |()| give_back());
    let caught = catch_unwind(AssertUnwindSafe(give_back));
    if let Err(cause) = caught {
        log::write(log::FQGAN_LOG_ERROR, format_args!("{}", describe(cause).message()));
    }
}

/// What a panic said. Code below that cannot return an error may carry one by unwinding with it.
pub(super) fn describe(cause: Box<dyn Any + Send>) -> Error {
    let cause = match cause.downcast::<Error>() {
        Ok(error) => return *error,
        Err(cause) => cause,
    };
    let place = PLACE.try_with(RefCell::take).unwrap_or_default();
    let said = match (cause.downcast_ref::<&str>(), cause.downcast_ref::<String>()) {
        (Some(text), _) => (*text).to_string(),
        (_, Some(text)) => text.clone(),
        _ => {
            // Dropping a value of an unknown type could panic again.
            std::mem::forget(cause);
            "a panic without a message".to_string()
        }
    };
    let place = if place.is_empty() { place } else { format!(" at {place}") };
    Error::internal(format!("a bug in libfqgan{place}: {said}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capi::{FQGAN_ERROR_CANCELLED, FQGAN_ERROR_INTERNAL, FQGAN_OK};

    fn run(body: impl FnOnce() -> Result<()>) -> (i32, String) {
        let mut error = fqgan_error { struct_size: 512, status: -1, message: [0; 504] };
        // SAFETY: a whole struct.
        let status = unsafe { call(&mut error, body) };
        assert_eq!(status, error.status);
        let text = error.message.iter().take_while(|c| **c != 0).map(|c| *c as u8).collect();
        (status, String::from_utf8(text).unwrap())
    }

    #[test]
    fn a_panic_becomes_an_error_that_names_its_place() {
        let (status, message) = run(|| panic!("index {} out of range", 7));
        assert_eq!(status, FQGAN_ERROR_INTERNAL);
        assert!(message.starts_with("a bug in libfqgan at src/capi/guard.rs:"), "{message}");
        assert!(message.ends_with(": index 7 out of range"), "{message}");
        let (status, message) = run(|| std::panic::panic_any(5u8));
        assert_eq!((status, message.ends_with("a panic without a message")), (FQGAN_ERROR_INTERNAL, true));
        assert_eq!(run(|| Ok(())), (FQGAN_OK, String::new()));
        assert_eq!(DEPTH.get(), 0);
    }

    #[test]
    fn an_error_may_come_by_unwinding() {
        let (status, message) = run(|| std::panic::resume_unwind(Box::new(Error::cancelled("stop"))));
        assert_eq!((status, message.as_str()), (FQGAN_ERROR_CANCELLED, "stop"));
    }

    #[test]
    fn a_failed_create_leaves_null() {
        let mut out = std::ptr::dangling_mut::<u32>();
        // SAFETY: a writable variable.
        let status = unsafe { create(&mut out, "out", std::ptr::null_mut(), || panic!("no")) };
        assert_eq!((status, out.is_null()), (FQGAN_ERROR_INTERNAL, true));
    }
}
