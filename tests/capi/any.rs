//! Calls with arguments that bytes choose: each gives a status that fits its message, and writes nothing past
//! a capacity.

use crate::models::tokenizer_file;
use crate::support::{Runtime, call};
use fqgan::backend::Device;
use fqgan::capi::*;
use proptest::prelude::*;
use std::ffi::CString;
use std::ptr::{null, null_mut};

fn size() -> impl Strategy<Value = u32> {
    prop_oneof![12 => (1u32..10).prop_map(|n| 4 * n), 2 => 0u32..40, 1 => Just(u32::MAX), 1 => any::<u32>()]
}

/// Strides that fit the memory below, or that cannot be added up at all.
fn stride() -> impl Strategy<Value = usize> {
    prop_oneof![4 => Just(0), 4 => 0usize..600, 1 => Just(usize::MAX), 1 => Just(usize::MAX / 2)]
}

fn float() -> impl Strategy<Value = f32> {
    prop_oneof![any::<f32>(), 0f32..2.0, Just(0.0), Just(1.0), Just(f32::NAN), Just(f32::INFINITY)]
}

struct Model(*mut fqgan_tokenizer);

// SAFETY: calls from any thread are safe.
unsafe impl Sync for Model {}
// SAFETY: as above.
unsafe impl Send for Model {}

fn model() -> &'static Model {
    static MODEL: std::sync::OnceLock<Model> = std::sync::OnceLock::new();
    MODEL.get_or_init(|| {
        let (runtime, mut model) = (Runtime::new(), null_mut());
        let path = CString::new(tokenizer_file().to_str().unwrap()).unwrap();
        // SAFETY: whole arguments.
        let status =
            unsafe { fqgan_tokenizer_open(runtime.0, path.as_ptr(), null(), &mut model, null_mut()) };
        assert_eq!(status, FQGAN_OK);
        Model(model)
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(300) })]

    #[test]
    fn any_images(
        sizes in prop::collection::vec((size(), size(), stride(), -1i32..6), 0..4),
        same in any::<bool>(),
        capacity in 0usize..300,
        mask in 0u32..5,
    ) {
        // No side that passes the checks is past 40: larger ones need more codes than there is room for.
        let mut memory = vec![0u8; 600 * 40 * 3 + 40 * 12];
        let pixels = memory.as_mut_ptr().cast();
        let image = |&(width, height, row_stride, format): &(u32, u32, usize, i32)| {
            fqgan_image { pixels, width, height, row_stride, format }
        };
        let mut images: Vec<_> = sizes.iter().map(image).collect();
        if let (true, Some(&first)) = (same, images.first()) {
            images.fill(first);
        }
        let mut codes = vec![0xAAAA_AAAA_u32; capacity + 8];
        let (out, count) = (codes.as_mut_ptr(), images.len());
        // SAFETY: the memory holds what passes the checks.
        let (status, text) =
            call(|e| unsafe { fqgan_encode(model().0, images.as_ptr(), count, out, capacity, e) });
        prop_assert!([FQGAN_OK, FQGAN_ERROR_INVALID_ARGUMENT].contains(&status), "{}", text);
        let written = codes.iter().filter(|code| **code != 0xAAAA_AAAA).count();
        if status == FQGAN_OK {
            let (w, h) = (images[0].width as usize / 4, images[0].height as usize / 4);
            prop_assert_eq!(written, count * 2 * w * h);
            // SAFETY: as above; all images have one size.
            let (status, text) = call(|e| unsafe {
                fqgan_decode(model().0, out, count, w as u32, h as u32, mask, images.as_ptr(), e)
            });
            prop_assert_eq!(status == FQGAN_OK, mask < 4, "{}", text);
        } else {
            prop_assert_eq!(written, 0);
        }
    }

    #[test]
    fn any_bytes_as_a_code_file(
        mut bytes in prop::collection::vec(any::<u8>(), 0..200),
        real in any::<bool>(),
        flips in prop::collection::vec((any::<prop::sample::Index>(), 0u8..8), 0..3),
        keep in 0usize..200,
        capacity in 0usize..60,
    ) {
        if real {
            let codes: Vec<u32> = (0..48).map(|i| i * 7 % 64).collect();
            let mut length = 0;
            bytes.resize(200, 0);
            // SAFETY: whole arguments.
            let (status, _) = call(|e| unsafe {
                let (to, room) = (bytes.as_mut_ptr().cast(), bytes.len());
                fqgan_codes_pack(codes.as_ptr(), 2, 2, 64, 4, 3, to, room, &mut length, e)
            });
            prop_assert_eq!(status, FQGAN_OK);
            bytes.truncate(length.min(keep.max(20)));
            for (at, bit) in &flips {
                let at = at.index(bytes.len());
                bytes[at] ^= 1 << bit;
            }
        }
        let mut codes = vec![0xAAAA_AAAA_u32; capacity + 8];
        let mut info: fqgan_codes_info = fqgan_codes_info {
            struct_size: 24, count: 0, codebooks: 0, codebook_size: 0, grid_width: 0, grid_height: 0,
        };
        // SAFETY: whole arguments.
        let (status, text) = call(|e| unsafe {
            fqgan_codes_unpack(bytes.as_ptr().cast(), bytes.len(), &mut info, codes.as_mut_ptr(), capacity, e)
        });
        let written = codes.iter().filter(|code| **code != 0xAAAA_AAAA).count();
        if status == FQGAN_OK {
            prop_assert!(written <= capacity && info.count as usize * 24 == written);
        } else {
            prop_assert_eq!((written, info.count), (0, 0), "{}", text);
        }
    }

    #[test]
    fn any_options(
        struct_size in prop_oneof![0u32..40, any::<u32>()],
        device in -2i32..5,
        device_index in 0u32..2,
        threads in prop_oneof![0u32..4, 1000u32..2000, any::<u32>()].prop_filter(
            "not a thousand real threads", |t| *t < 8 || *t > 1024,
        ),
    ) {
        let options = fqgan_runtime_options {
            struct_size, device, device_index, threads, parallel: None, parallel_user: null_mut(),
            cuda_context: null_mut(), cuda_stream: null_mut(),
        };
        let mut runtime = std::ptr::dangling_mut();
        // SAFETY: a whole struct.
        let (status, text) = call(|e| unsafe { fqgan_runtime_create(&options, &mut runtime, e) });
        prop_assert_eq!(status == FQGAN_OK, !runtime.is_null(), "{}", text);
        // What is not covered by the size does not count.
        let index = if struct_size < 12 { 0 } else { device_index };
        // A build with CUDA, on a machine with a GPU or with the emulated one, has that device too.
        let gpu = || Device::named(&format!("cuda:{index}"), 1).is_ok();
        let there = match device {
            0 => index == 0 || gpu(),
            1 => index == 0,
            2 => gpu(),
            _ => false,
        };
        let fine = struct_size >= 8 && there && (struct_size < 16 || threads <= 1024);
        prop_assert_eq!(status == FQGAN_OK, fine, "{}", text);
        // SAFETY: made just now, or NULL.
        unsafe { fqgan_runtime_destroy(runtime) };
    }

    #[test]
    fn any_sampling(
        (guidance, temperature, top_p) in (float(), float(), float()),
        (top_k, steps, seed) in (prop_oneof![0u32..80, any::<u32>()], 0u32..15, any::<u64>()),
        struct_size in 0u32..60,
        classes in prop::collection::vec(0u32..7, 0..3),
    ) {
        let sampling = fqgan_sampling {
            struct_size, top_k, seed, guidance, temperature, top_p, steps,
            progress: None, progress_user: null_mut(),
        };
        let mut codes = [0xAAAA_AAAA_u32; 60];
        // SAFETY: whole arguments.
        let (status, text) = call(|e| unsafe {
            let generator = crate::generator::shared();
            fqgan_generate(generator, classes.as_ptr(), classes.len(), &sampling, codes.as_mut_ptr(), 48, e)
        });
        let known = [FQGAN_OK, FQGAN_ERROR_INVALID_ARGUMENT, FQGAN_ERROR_FORMAT];
        prop_assert!(known.contains(&status), "{}: {}", status, text);
        let written = codes.iter().filter(|code| **code != 0xAAAA_AAAA).count();
        prop_assert_eq!(written, if status == FQGAN_OK { classes.len() * 24 } else { 0 });
        prop_assert!(status != FQGAN_OK || codes.iter().all(|c| *c < 64 || *c == 0xAAAA_AAAA));
    }
}

#[test]
fn codes_of_a_grid_that_is_not_the_images_are_not_read() {
    let mut pixels = [0xAA; 16 * 16 * 3];
    let image = fqgan_image {
        pixels: pixels.as_mut_ptr().cast(),
        width: 16,
        height: 16,
        row_stride: 0,
        format: FQGAN_PIXEL_RGB8,
    };
    for (columns, rows) in [(4, 5), (1 << 20, 1 << 10), (1 << 31, 1)] {
        // Nothing is at the address of the codes.
        let nowhere = std::ptr::without_provenance(8);
        // SAFETY: codes of such a grid are not looked at.
        let (status, text) =
            call(|e| unsafe { fqgan_decode(model().0, nowhere, 1, columns, rows, 0, &image, e) });
        assert_eq!(status, FQGAN_ERROR_INVALID_ARGUMENT, "{text}");
        assert!(text.contains("images[0] is 16 x 16 pixels"), "{text}");
    }
    assert!(pixels.iter().all(|byte| *byte == 0xAA));
}
