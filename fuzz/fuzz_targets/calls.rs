//! Bytes choose the sequence of C calls and their arguments, on models small enough for thousands of runs a minute.

#![no_main]
#![allow(dead_code)]

#[path = "../../tests/common/calls.rs"]
mod calls;
#[path = "../../tests/common/tiny.rs"]
mod tiny;

use libfuzzer_sys::fuzz_target;
use std::sync::OnceLock;

fn files() -> &'static calls::Files {
    static FILES: OnceLock<calls::Files> = OnceLock::new();
    FILES.get_or_init(|| {
        let folder = std::env::temp_dir().join(format!("fqgan-fuzz-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        calls::Files { tokenizer: tiny::tokenizer(&folder), generator: tiny::generator(&folder) }
    })
}

fuzz_target!(|bytes: &[u8]| {
    calls::run(bytes, files());
});
