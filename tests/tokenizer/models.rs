//! Tokenizers small enough to run many times.

use fqgan::backend::Device;
use fqgan::backend::cpu::{Cpu, Isa, Pool};
use fqgan::tokenizer::config::{Adapter, Branch, Config};
use fqgan::tokenizer::{Options, Tokenizer};
use fqgan::weights::Source;
use fqgan::weights::formula::{self, Entry};
use std::sync::Arc;

/// f = 4, 32-pixel pictures; k sub-codebooks of 64 codes, with adapters where k > 1.
pub fn config(k: usize) -> Config {
    let names: Vec<String> = match k {
        1 => vec![String::new()],
        2 => vec!["vis".into(), "sem".into()],
        _ => std::iter::once("vis".into()).chain((1..k).map(|i| format!("sem_{i}"))).collect(),
    };
    let adapter = |name: &String| {
        let prefix = match name.strip_prefix("sem") {
            Some(rest) => format!("encoder.semantic_head{rest}.0"),
            None => "encoder.visual_head.0".into(),
        };
        Adapter { prefix, layers: 2, heads: 8, hidden: 128 }
    };
    Config {
        branches: names
            .iter()
            .map(|name| Branch { name: name.clone(), adapter: (k > 1).then(|| adapter(name)) })
            .collect(),
        codebook_size: 64,
        code_dim: 4,
        ch: 32,
        ch_mult: vec![1, 1, 2],
        num_res_blocks: 1,
        z_channels: 32,
        image_size: 32,
    }
}

pub fn source(k: usize) -> Source {
    let manifest = config(k).manifest();
    let entries: Vec<Entry> = manifest
        .iter()
        .map(|(name, shape)| Entry::by_rule(name, fqgan::tensor::Shape::try_from_slice(shape).unwrap()))
        .collect();
    formula::source(&entries, 7).unwrap()
}

pub fn device(threads: usize) -> Device {
    Device::Cpu(Arc::new(Cpu { pool: Pool::new(threads).unwrap(), isa: Isa::best() }))
}

pub fn open(k: usize, threads: usize) -> Tokenizer {
    Tokenizer::open(&device(threads), &source(k), &Options::default()).unwrap()
}

pub fn pixels(seed: usize, width: usize, height: usize) -> Vec<u8> {
    // Smooth in places, noisy in others, as pictures are.
    (0..width * height * 3)
        .map(|i| {
            let (x, y) = (i / 3 % width, i / 3 / width);
            let noise = (i + seed).wrapping_mul(2_654_435_761) >> 8;
            (x * 3 + y * 5 + seed * 31 + if x > width / 2 { noise % 64 } else { 0 }) as u8
        })
        .collect()
}
