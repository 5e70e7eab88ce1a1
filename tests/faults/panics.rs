//! A host's job system that falls over at its n-th use, for each n: the call ends with a status, whatever operation it
//! was in, and the model goes on.

use crate::models::{generator_file, pixels, tokenizer_file};
use fqgan::capi::*;
use std::ffi::{CString, c_void};
use std::ptr::{null, null_mut};
use std::sync::atomic::{AtomicI64, Ordering};

unsafe extern "C-unwind" fn falls(
    user: *mut c_void,
    jobs: usize,
    job: Option<unsafe extern "C" fn(*mut c_void, usize)>,
    context: *mut c_void,
) {
    // SAFETY: the counter that went with it.
    let left = unsafe { &*user.cast::<AtomicI64>() };
    for index in 0..jobs {
        // SAFETY: as the contract says.
        unsafe { job.unwrap()(context, index) };
        // In the middle of the jobs.
        assert!(index != jobs / 2 || left.fetch_sub(1, Ordering::Relaxed) != 0, "the host fell over");
    }
}

#[test]
fn a_panic_in_any_parallel_part_is_a_status() {
    let _alone = crate::alone();
    let left = AtomicI64::new(-1);
    let options = fqgan_runtime_options {
        struct_size: 32,
        device: FQGAN_DEVICE_CPU,
        device_index: 0,
        threads: 3,
        parallel: Some(falls),
        parallel_user: (&raw const left).cast_mut().cast(),
        cuda_context: std::ptr::null_mut(),
        cuda_stream: std::ptr::null_mut(),
    };
    let path = |path: &std::path::Path| CString::new(path.to_str().unwrap()).unwrap();
    let (mut runtime, mut tokenizer, mut generator) = (null_mut(), null_mut(), null_mut());
    // SAFETY: whole arguments.
    unsafe {
        assert_eq!(fqgan_runtime_create(&options, &mut runtime, null_mut()), FQGAN_OK);
        let from = path(tokenizer_file());
        assert_eq!(
            fqgan_tokenizer_open(runtime, from.as_ptr(), null(), &mut tokenizer, null_mut()),
            FQGAN_OK
        );
        let from = path(generator_file());
        assert_eq!(
            fqgan_generator_open(runtime, from.as_ptr(), null(), &mut generator, null_mut()),
            FQGAN_OK
        );
    }
    let mut image = pixels(1, 16, 16);
    let image = fqgan_image {
        pixels: image.as_mut_ptr().cast(),
        width: 16,
        height: 16,
        row_stride: 0,
        format: FQGAN_PIXEL_RGB8,
    };
    let encode = |codes: &mut [u32], error| {
        // SAFETY: whole arguments.
        unsafe { fqgan_encode(tokenizer, &image, 1, codes.as_mut_ptr(), 32, error) }
    };
    let decode = |codes: &mut [u32], error| {
        let back = codes.to_vec();
        let mut pixels = [0u8; 768];
        let image = fqgan_image { pixels: pixels.as_mut_ptr().cast(), ..image };
        // SAFETY: whole arguments.
        let status = unsafe { fqgan_decode(tokenizer, back.as_ptr(), 1, 4, 4, 0, &image, error) };
        if status == FQGAN_OK {
            codes
                .iter_mut()
                .zip(pixels.chunks(24))
                .for_each(|(c, p)| *c = p.iter().map(|b| u32::from(*b)).sum());
        }
        status
    };
    let generate = |codes: &mut [u32], error| {
        // SAFETY: whole arguments.
        unsafe { fqgan_generate(generator, [2].as_ptr(), 1, null(), codes.as_mut_ptr(), 24, error) }
    };
    type Call<'a> = &'a dyn Fn(&mut [u32], *mut fqgan_error) -> fqgan_status;
    let calls: [(&str, Call); 3] = [("encode", &encode), ("decode", &decode), ("generate", &generate)];
    for (name, call) in calls {
        let mut wanted = [1; 32];
        assert_eq!(call(&mut wanted, null_mut()), FQGAN_OK);
        let mut fallen = 0;
        for n in 0.. {
            left.store(n, Ordering::Relaxed);
            let mut codes = [1; 32];
            let mut error = fqgan_error { struct_size: 512, status: 0, message: [0; 504] };
            let status = call(&mut codes, &mut error);
            if left.swap(-1, Ordering::Relaxed) >= 0 {
                assert_eq!((status, codes), (FQGAN_OK, wanted));
                break;
            }
            let text: Vec<u8> = error.message.iter().map(|c| *c as u8).take_while(|c| *c != 0).collect();
            let text = String::from_utf8(text).unwrap();
            assert_eq!((status, codes), (FQGAN_ERROR_INTERNAL, [1; 32]), "{name}: {n}: {text}");
            assert!(text.contains("the host fell over"), "{text}");
            fallen += 1;
            assert_eq!((call(&mut codes, null_mut()), codes), (FQGAN_OK, wanted), "{name} after {n}");
        }
        assert!(fallen > 10, "{name}: {fallen}");
    }
    // SAFETY: opened once.
    unsafe {
        fqgan_tokenizer_close(tokenizer);
        fqgan_generator_close(generator);
        fqgan_runtime_destroy(runtime);
    }
}
