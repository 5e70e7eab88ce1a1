//! What the tests of the interface share.

use fqgan::capi::{
    fqgan_error, fqgan_error_init, fqgan_runtime, fqgan_runtime_create, fqgan_runtime_destroy,
};
use std::mem::MaybeUninit;
use std::ptr::{null, null_mut};

/// A fresh error struct.
pub fn error() -> fqgan_error {
    let mut error = MaybeUninit::uninit();
    // SAFETY: room for one, which the call fills.
    unsafe {
        fqgan_error_init(error.as_mut_ptr());
        error.assume_init()
    }
}

/// The message as text.
pub fn message(error: &fqgan_error) -> String {
    let bytes = error.message.iter().take_while(|c| **c != 0).map(|c| *c as u8).collect();
    String::from_utf8(bytes).expect("messages are UTF-8")
}

/// Runs a call with an error struct; the status and the message must agree.
pub fn call(body: impl FnOnce(*mut fqgan_error) -> i32) -> (i32, String) {
    let mut error = error();
    let status = body(&mut error);
    let text = message(&error);
    assert_eq!(status, error.status, "{text}");
    assert_eq!(status == 0, text.is_empty(), "status {status} with the message {text:?}");
    (status, text)
}

/// A runtime of the defaults that is given back.
pub struct Runtime(pub *mut fqgan_runtime);

impl Runtime {
    pub fn new() -> Runtime {
        let mut runtime = null_mut();
        // SAFETY: a variable to fill.
        let status = unsafe { fqgan_runtime_create(null(), &mut runtime, null_mut()) };
        assert_eq!((status, runtime.is_null()), (0, false));
        Runtime(runtime)
    }
}

impl Drop for Runtime {
    fn drop(&mut self) {
        // SAFETY: made above, given back once.
        unsafe { fqgan_runtime_destroy(self.0) };
    }
}
