//! Errors, options, runtimes and the log.

use crate::support::{Runtime, call};
use fqgan::capi::*;
use std::ffi::{CStr, c_char, c_void};
use std::mem::MaybeUninit;
use std::ptr::{null, null_mut};
use std::sync::Mutex;

fn options() -> fqgan_runtime_options {
    let mut options = MaybeUninit::zeroed();
    // SAFETY: room for one, of which the call fills what version 1 has; zero is a value of all that follows.
    unsafe {
        fqgan_runtime_options_init(options.as_mut_ptr());
        options.assume_init()
    }
}

/// The outcome of a create with these options; the runtime, if there is one, is given back.
fn create(options: *const fqgan_runtime_options) -> (i32, String) {
    let mut runtime = std::ptr::dangling_mut();
    // SAFETY: whole structs or NULL, and a variable to fill.
    let outcome = call(|error| unsafe { fqgan_runtime_create(options, &mut runtime, error) });
    assert_eq!(outcome.0 == FQGAN_OK, !runtime.is_null(), "NULL on failure and only then");
    // SAFETY: made just now.
    unsafe { fqgan_runtime_destroy(runtime) };
    outcome
}

#[test]
fn names_and_versions_are_strings() {
    // SAFETY: strings that live for ever.
    let text = |p: *const c_char| unsafe { CStr::from_ptr(p) }.to_str().unwrap();
    assert_eq!(text(fqgan_version()), env!("CARGO_PKG_VERSION"));
    assert_eq!(text(fqgan_status_name(FQGAN_OK)), "FQGAN_OK");
    assert_eq!(text(fqgan_status_name(FQGAN_ERROR_IO)), "FQGAN_ERROR_IO");
    for unknown in [-1, 9, i32::MIN, i32::MAX] {
        assert_eq!(text(fqgan_status_name(unknown)), "FQGAN_ERROR_UNKNOWN");
    }
}

#[test]
fn defaults_make_a_runtime() {
    assert_eq!(create(null()).0, FQGAN_OK);
    assert_eq!(create(&options()).0, FQGAN_OK);
    for threads in [1, 2, 5] {
        assert_eq!(create(&fqgan_runtime_options { threads, ..options() }).0, FQGAN_OK);
    }
    assert_eq!(create(&fqgan_runtime_options { device: FQGAN_DEVICE_CPU, ..options() }).0, FQGAN_OK);
    // SAFETY: NULL is accepted.
    unsafe { fqgan_runtime_destroy(null_mut()) };
}

#[test]
fn wrong_options_are_named() {
    let cases = [
        (
            fqgan_runtime_options { device: 3, ..options() },
            "device is 3, expected one of FQGAN_DEVICE_AUTO (0)",
        ),
        (fqgan_runtime_options { device: -1, ..options() }, "device is -1"),
        (fqgan_runtime_options { threads: 1025, ..options() }, "threads is 1025, expected 0"),
        (fqgan_runtime_options { threads: u32::MAX, ..options() }, "threads is 4294967295"),
        (fqgan_runtime_options { struct_size: 0, ..options() }, "struct_size is 0"),
        (fqgan_runtime_options { struct_size: 7, ..options() }, "struct_size is 7"),
    ];
    for (options, want) in cases {
        let (status, text) = create(&options);
        assert_eq!(status, FQGAN_ERROR_INVALID_ARGUMENT);
        assert!(text.contains(want), "{text:?} has not {want:?}");
    }
    let (status, text) = create(&fqgan_runtime_options { device_index: 1, ..options() });
    assert_eq!(status, FQGAN_ERROR_DEVICE, "{text}");
}

#[test]
fn fields_past_struct_size_are_not_read() {
    for (size, fine) in [(8, true), (12, true), (15, true), (16, false), (u32::MAX, false)] {
        let options = fqgan_runtime_options { struct_size: size, threads: 5000, ..options() };
        assert_eq!(create(&options).0 == FQGAN_OK, fine, "{size}");
    }
    // A struct of an older host, right before memory that must not be touched.
    let old: Box<[u32; 2]> = Box::new([8, FQGAN_DEVICE_CPU as u32]);
    let aligned = Box::new([u64::from(old[0]) | u64::from(old[1]) << 32]);
    assert_eq!(create(std::ptr::from_ref(&*aligned).cast()).0, FQGAN_OK);
}

#[test]
fn null_and_misaligned_pointers_are_errors() {
    // SAFETY: NULL is checked.
    let (status, text) = call(|error| unsafe { fqgan_runtime_create(null(), null_mut(), error) });
    assert_eq!((status, text.as_str()), (FQGAN_ERROR_INVALID_ARGUMENT, "runtime is NULL"));
    let room = [0u64; 80];
    let odd = room.as_ptr().cast::<u8>().wrapping_add(1);
    let (status, text) = create(odd.cast());
    assert_eq!(status, FQGAN_ERROR_INVALID_ARGUMENT);
    assert!(text.contains("not aligned to 8 bytes"), "{text}");
    let mut runtime = std::ptr::dangling_mut();
    // SAFETY: the error is checked before it is written.
    let status = unsafe { fqgan_runtime_create(null(), &mut runtime, odd.cast_mut().cast()) };
    assert_eq!((status, runtime.is_null()), (FQGAN_ERROR_INVALID_ARGUMENT, true));
    assert_eq!(room, [0; 80]);
    // SAFETY: NULL is ignored.
    unsafe {
        fqgan_error_init(null_mut());
        fqgan_runtime_options_init(null_mut());
    }
}

#[test]
fn an_error_struct_of_no_size_fails_the_call() {
    for struct_size in [0, 4, 7] {
        let mut error = fqgan_error { struct_size, status: 77, message: [7; 504] };
        let mut runtime = std::ptr::dangling_mut();
        // SAFETY: whole structs.
        let status = unsafe { fqgan_runtime_create(null(), &mut runtime, &mut error) };
        assert_eq!((status, runtime.is_null()), (FQGAN_ERROR_INVALID_ARGUMENT, true));
        assert_eq!((error.struct_size, error.status, error.message), (struct_size, 77, [7; 504]));
    }
}

/// With the device feature absent, the message says so rather than that there is no such GPU.
#[cfg(not(feature = "cuda"))]
#[test]
fn cuda_is_a_device_error_here() {
    let (status, text) = create(&fqgan_runtime_options { device: FQGAN_DEVICE_CUDA, ..options() });
    assert_eq!(status, FQGAN_ERROR_DEVICE);
    assert!(text.contains("built without CUDA"), "{text}");
}

unsafe extern "C-unwind" fn keep(user: *mut c_void, level: i32, utf8: *const c_char) {
    // SAFETY: the list that the test passed, and a string.
    let (list, text) = unsafe { (&*user.cast::<Mutex<Vec<(i32, String)>>>(), CStr::from_ptr(utf8)) };
    list.lock().unwrap().push((level, text.to_str().unwrap().to_string()));
    // A call from within: it works, and does not log again.
    assert_eq!(create(null()).0, FQGAN_OK);
}

#[test]
fn the_log_tells_what_is_made_and_what_fails() {
    let lines: Mutex<Vec<(i32, String)>> = Mutex::default();
    let user = std::ptr::from_ref(&lines).cast_mut().cast();
    // SAFETY: the list outlives its use.
    unsafe { fqgan_set_log(Some(keep), user) };
    drop(Runtime::new());
    create(&fqgan_runtime_options { device: 99, ..options() });
    // SAFETY: silence again.
    unsafe { fqgan_set_log(None, null_mut()) };
    let lines = lines.into_inner().unwrap();
    // Tests beside this one write to the log too.
    let has = |level, part: &str| lines.iter().any(|(l, text)| *l == level && text.contains(part));
    assert!(has(FQGAN_LOG_INFO, "runtime: cpu, "), "{lines:?}");
    assert!(has(FQGAN_LOG_ERROR, "device is 99"), "{lines:?}");
}
