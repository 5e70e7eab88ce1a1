//! Models small enough to run many times, as files.

use fqgan::far;
use fqgan::tensor::Shape;
use fqgan::tokenizer::config::{Adapter, Branch, Config};
use fqgan::weights::formula::Entry;
use fqgan::weights::{Manifest, Metadata, save};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// Dual, f = 4, for pictures of 32 pixels; 64 codes of 4 elements.
pub fn tokenizer_config() -> Config {
    let branch = |name: &str, prefix: &str| Branch {
        name: name.into(),
        adapter: Some(Adapter { prefix: prefix.into(), layers: 1, heads: 8, hidden: 128 }),
    };
    Config {
        branches: vec![branch("vis", "encoder.visual_head.0"), branch("sem", "encoder.semantic_head.0")],
        codebook_size: 64,
        code_dim: 4,
        ch: 32,
        ch_mult: vec![1, 1, 2],
        num_res_blocks: 1,
        z_channels: 32,
        image_size: 32,
    }
}

/// A file of that tokenizer, made once a process.
pub fn tokenizer_file() -> &'static Path {
    static FILE: OnceLock<PathBuf> = OnceLock::new();
    FILE.get_or_init(|| write("tokenizer", &tokenizer_config().manifest(), &Metadata::new()))
}

/// 5 classes, a grid of 4 x 3, 2 sub-codes of 64 codes: those of the tokenizer.
pub fn generator_config() -> far::Config {
    far::Config {
        codebooks: 2,
        codebook_size: 64,
        classes: 5,
        grid_width: 4,
        grid_height: 3,
        layers: 2,
        dim: 32,
        heads: 4,
        hidden: 48,
        head: far::config::Head::AutoRegressive { layers: 1 },
    }
}

/// A file of that generator.
pub fn generator_file() -> &'static Path {
    static FILE: OnceLock<PathBuf> = OnceLock::new();
    FILE.get_or_init(|| {
        let config = generator_config();
        write("generator", &config.manifest(), &config.metadata())
    })
}

fn write(name: &str, manifest: &Manifest, strings: &Metadata) -> PathBuf {
    let tensors: Vec<_> = manifest
        .iter()
        .map(|(name, shape)| {
            (name, Entry::by_rule(name, Shape::try_from_slice(shape).unwrap()).tensor(7).unwrap())
        })
        .collect();
    // Another process may be at it too: the file is replaced whole, and it is the same.
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("capi-{name}.safetensors"));
    save(&path, &tensors, strings).unwrap();
    path
}

/// Other programs use the file: `scripts/hosts.sh`.
#[test]
fn the_files_are_complete() {
    let source = fqgan::weights::Source::open(tokenizer_file(), fqgan::weights::Map::On).unwrap();
    assert_eq!(Config::infer(&source).unwrap(), tokenizer_config());
    let source = fqgan::weights::Source::open(generator_file(), fqgan::weights::Map::On).unwrap();
    assert_eq!(far::Config::infer(&source).unwrap(), generator_config());
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
