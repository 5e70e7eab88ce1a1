//! Models small enough to run many times, as files.

use fqgan::far;
use fqgan::tensor::Shape;
use fqgan::tokenizer::config::{Adapter, Branch, Config};
use fqgan::weights::formula::Entry;
use fqgan::weights::{Manifest, Metadata, save};
use std::path::{Path, PathBuf};

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

/// A file of that tokenizer.
pub fn tokenizer(folder: &Path) -> PathBuf {
    write(folder, "tokenizer", &tokenizer_config().manifest(), &Metadata::new())
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
pub fn generator(folder: &Path) -> PathBuf {
    let config = generator_config();
    write(folder, "generator", &config.manifest(), &config.metadata())
}

fn write(folder: &Path, name: &str, manifest: &Manifest, strings: &Metadata) -> PathBuf {
    let tensors: Vec<_> = manifest
        .iter()
        .map(|(name, shape)| {
            (name, Entry::by_rule(name, Shape::try_from_slice(shape).unwrap()).tensor(7).unwrap())
        })
        .collect();
    // Another process may be at it too: the file is replaced whole, and it is the same.
    let path = folder.join(format!("capi-{name}.safetensors"));
    save(&path, &tensors, strings).unwrap();
    path
}
