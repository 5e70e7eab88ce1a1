//! What a built program relies on: exported names, sizes, offsets, numbers.

use crate::programs::library;
use fqgan::capi::*;
use std::mem::offset_of;
use std::process::Command;

/// All functions of version 1.
const EXPORTS: &[&str] = &[
    "fqgan_abi_version",
    "fqgan_codes_pack",
    "fqgan_codes_unpack",
    "fqgan_decode",
    "fqgan_encode",
    "fqgan_error_init",
    "fqgan_generate",
    "fqgan_generator_close",
    "fqgan_generator_get_info",
    "fqgan_generator_logits",
    "fqgan_generator_open",
    "fqgan_generator_open_memory",
    "fqgan_latents",
    "fqgan_model_options_init",
    "fqgan_runtime_create",
    "fqgan_runtime_destroy",
    "fqgan_runtime_options_init",
    "fqgan_sampling_init",
    "fqgan_set_log",
    "fqgan_status_name",
    "fqgan_tokenizer_close",
    "fqgan_tokenizer_get_info",
    "fqgan_tokenizer_open",
    "fqgan_tokenizer_open_memory",
    "fqgan_version",
];

#[test]
fn nothing_else_is_exported() {
    let nm = Command::new("nm").args(["-D", "--defined-only", "-P"]).arg(library("so")).output().unwrap();
    assert!(nm.status.success());
    let text = String::from_utf8(nm.stdout).unwrap();
    let mut names: Vec<_> = text.lines().filter_map(|line| line.split_whitespace().next()).collect();
    names.sort_unstable();
    assert_eq!(names, EXPORTS);
}

macro_rules! layout {
    ($name:ident, $size:literal, $($field:ident $offset:literal),+) => {
        assert_eq!(size_of::<$name>(), $size, stringify!($name));
        $(assert_eq!(offset_of!($name, $field), $offset, concat!(stringify!($name), ".", stringify!($field)));)+
    };
}

#[test]
#[cfg(target_pointer_width = "64")]
fn layouts_are_those_of_version_1() {
    layout!(fqgan_error, 512, struct_size 0, status 4, message 8);
    layout!(fqgan_runtime_options, 32,
        struct_size 0, device 4, device_index 8, threads 12, parallel 16, parallel_user 24);
    layout!(fqgan_model_options, 24, struct_size 0, precision 4, map 8, memory_limit 16);
    layout!(fqgan_image, 32, pixels 0, width 8, height 12, row_stride 16, format 24);
    layout!(fqgan_tokenizer_info, 32,
        struct_size 0, codebooks 4, codebook_size 8, code_dim 12, downsample 16, image_size 20, parameters 24);
    layout!(fqgan_generator_info, 48,
        struct_size 0, codebooks 4, codebook_size 8, classes 12, grid_width 16, grid_height 20,
        layers 24, dim 28, heads 32, head_layers 36, parameters 40);
    layout!(fqgan_sampling, 48,
        struct_size 0, top_k 4, seed 8, guidance 16, temperature 20, top_p 24, steps 28,
        progress 32, progress_user 40);
    layout!(fqgan_codes_info, 24,
        struct_size 0, count 4, codebooks 8, codebook_size 12, grid_width 16, grid_height 20);
}

#[test]
fn numbers_are_those_of_version_1() {
    assert_eq!(fqgan_abi_version(), 1);
    let status = [
        FQGAN_OK,
        FQGAN_ERROR_INVALID_ARGUMENT,
        FQGAN_ERROR_IO,
        FQGAN_ERROR_FORMAT,
        FQGAN_ERROR_UNSUPPORTED,
        FQGAN_ERROR_OUT_OF_MEMORY,
        FQGAN_ERROR_DEVICE,
        FQGAN_ERROR_CANCELLED,
        FQGAN_ERROR_INTERNAL,
    ];
    assert_eq!(status, [0, 1, 2, 3, 4, 5, 6, 7, 8]);
    assert_eq!([FQGAN_DEVICE_AUTO, FQGAN_DEVICE_CPU, FQGAN_DEVICE_CUDA], [0, 1, 2]);
    assert_eq!([FQGAN_PRECISION_F32, FQGAN_PRECISION_BF16, FQGAN_PRECISION_INT8], [0, 1, 2]);
    assert_eq!([FQGAN_MAP_ON, FQGAN_MAP_OFF], [0, 1]);
    let bytes = [FQGAN_PIXEL_RGB8, FQGAN_PIXEL_RGBA8, FQGAN_PIXEL_BGRA8];
    assert_eq!((bytes, [FQGAN_PIXEL_RGB_F32, FQGAN_PIXEL_RGB_F32_PLANAR]), ([0, 1, 2], [3, 4]));
}
