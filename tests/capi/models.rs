//! The tiny models in the tests' folder, and pictures for them.

#[path = "../common/tiny.rs"]
mod tiny;

use std::path::{Path, PathBuf};
use std::sync::OnceLock;
#[allow(unused_imports, reason = "each test binary uses a part")]
pub use tiny::{generator_config, tokenizer_config};

fn folder() -> &'static Path {
    Path::new(env!("CARGO_TARGET_TMPDIR"))
}

/// A tokenizer's file, made once a process.
pub fn tokenizer_file() -> &'static Path {
    static FILE: OnceLock<PathBuf> = OnceLock::new();
    FILE.get_or_init(|| tiny::tokenizer(folder()))
}

/// A generator's file, made once a process.
pub fn generator_file() -> &'static Path {
    static FILE: OnceLock<PathBuf> = OnceLock::new();
    FILE.get_or_init(|| tiny::generator(folder()))
}

/// Pixels of an image, smooth in places and noisy in others.
pub fn pixels(seed: usize, width: usize, height: usize) -> Vec<u8> {
    (0..width * height * 3)
        .map(|i| {
            let (x, y) = (i / 3 % width, i / 3 / width);
            let noise = (i + seed).wrapping_mul(2_654_435_761) >> 8;
            (x * 3 + y * 5 + seed * 31 + if x > width / 2 { noise % 64 } else { 0 }) as u8
        })
        .collect()
}
