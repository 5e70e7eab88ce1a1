//! A panic in every entry point comes back as a status.

use super::*;
use crate::error::Result;
use std::cell::Cell;
use std::ffi::{CStr, c_char, c_void};
use std::ptr::{null, null_mut};

thread_local! {
    static ARMED: Cell<bool> = const { Cell::new(false) };
}

/// What every call of the interface begins with in these tests.
pub(super) fn strike() -> Result<()> {
    assert!(!ARMED.replace(false), "injected");
    Ok(())
}

type Entry = unsafe fn(*mut fqgan_error) -> fqgan_status;

macro_rules! entries {
    ($($name:ident($($argument:expr),*);)*) => {
        // SAFETY: NULL, or a variable; nothing is looked at before the panic.
        &[$((stringify!($name), |error| unsafe { $name($($argument,)* error) })),*]
    };
}

/// Every function that has a status.
const ENTRIES: &[(&str, Entry)] = entries! {
    fqgan_runtime_create(null(), &mut null_mut());
    fqgan_tokenizer_open(null_mut(), null(), null(), &mut null_mut());
    fqgan_tokenizer_open_memory(null_mut(), null(), 0, null(), &mut null_mut());
    fqgan_tokenizer_get_info(null(), null_mut());
    fqgan_encode(null_mut(), null(), 0, null_mut(), 0);
    fqgan_decode(null_mut(), null(), 0, 0, 0, 0, null());
    fqgan_latents(null_mut(), null(), 0, null_mut(), 0);
    fqgan_generator_open(null_mut(), null(), null(), &mut null_mut());
    fqgan_generator_open_memory(null_mut(), null(), 0, null(), &mut null_mut());
    fqgan_generator_get_info(null(), null_mut());
    fqgan_generate(null_mut(), null(), 0, null(), null_mut(), 0);
    fqgan_generator_logits(null_mut(), null(), null(), 0, null_mut(), 0);
    fqgan_codes_pack(null(), 0, 0, 0, 0, 0, null_mut(), 0, null_mut());
    fqgan_codes_unpack(null(), 0, null_mut(), null_mut(), 0);
};

#[test]
fn a_panic_in_every_entry_point_is_a_status() {
    for (name, entry) in ENTRIES {
        let mut error = fqgan_error { struct_size: 512, status: -1, message: [0; 504] };
        ARMED.set(true);
        // SAFETY: whole arguments or NULL.
        let status = unsafe { entry(&mut error) };
        assert!(!ARMED.get(), "{name} does not go through the guard");
        // SAFETY: messages end with NUL.
        let text = unsafe { CStr::from_ptr(error.message.as_ptr()) }.to_str().unwrap();
        assert_eq!((status, error.status), (FQGAN_ERROR_INTERNAL, FQGAN_ERROR_INTERNAL), "{name}");
        assert!(text.ends_with("injected"), "{name}: {text}");
    }
}

/// The functions of the interface that have a status are those above.
#[test]
fn no_entry_point_is_left_out() {
    let header = include_str!("../../tests/capi/version_1.txt");
    let mut listed: Vec<_> = header
        .lines()
        .filter_map(|line| line.strip_prefix("function fqgan_status "))
        .map(|line| line.split('(').next().unwrap())
        .collect();
    let mut tried: Vec<_> = ENTRIES.iter().map(|(name, _)| *name).collect();
    listed.sort_unstable();
    tried.sort_unstable();
    assert_eq!(tried, listed);
}

unsafe extern "C-unwind" fn keep(user: *mut c_void, level: i32, utf8: *const c_char) {
    // SAFETY: the variable that went with it, and a whole string.
    let (kept, text) = unsafe { (&*user.cast::<std::sync::Mutex<Vec<String>>>(), CStr::from_ptr(utf8)) };
    kept.lock().unwrap().push(format!("{level} {}", text.to_str().unwrap()));
}

#[test]
fn a_panic_while_giving_back_ends_there() {
    let mut runtime = null_mut();
    // SAFETY: whole arguments; the handle leaks, as it does after such a panic.
    unsafe {
        assert_eq!(fqgan_runtime_create(null(), &mut runtime, null_mut()), FQGAN_OK);
        let kept = std::sync::Mutex::new(Vec::<String>::new());
        fqgan_set_log(Some(keep), (&raw const kept).cast_mut().cast());
        ARMED.set(true);
        fqgan_runtime_destroy(runtime);
        fqgan_set_log(None, null_mut());
        let kept = kept.into_inner().unwrap();
        assert!(kept.iter().any(|line| line.starts_with("1 ") && line.ends_with("injected")), "{kept:?}");
        fqgan_runtime_destroy(runtime);
    }
}
