//! Generators small enough to run many times.

use fqgan::backend::Device;
use fqgan::backend::cpu::{Cpu, Isa, Pool};
use fqgan::far::config::Head;
use fqgan::far::{Config, Generator, Options};
use fqgan::nn::Precision;
use fqgan::tensor::{Shape, Tensor};
use fqgan::weights::Source;
use fqgan::weights::formula::Entry;
use std::sync::Arc;

pub const AR: Head = Head::AutoRegressive { layers: 2 };

/// 5 classes, a grid of 4 x 3, two layers; k sub-codes of 40 codes.
pub fn config(k: usize, head: Head) -> Config {
    Config {
        codebooks: k,
        codebook_size: 40,
        classes: 5,
        grid_width: 4,
        grid_height: 3,
        layers: 2,
        dim: 32,
        heads: 4,
        hidden: 48,
        head,
    }
}

pub fn tensors(config: &Config) -> Vec<(String, Tensor)> {
    let manifest = config.manifest();
    let tensor = |(name, shape): (&str, &[usize])| {
        let entry = Entry::by_rule(name, Shape::try_from_slice(shape).unwrap());
        (name.to_owned(), entry.tensor(11).unwrap())
    };
    manifest.iter().map(tensor).collect()
}

pub fn source(config: &Config) -> Source {
    Source::from_tensors(tensors(config), config.metadata())
}

pub fn device(isa: Isa, threads: usize) -> Device {
    Device::Cpu(Arc::new(Cpu { pool: Pool::new(threads).unwrap(), isa }))
}

pub fn open_with(k: usize, threads: usize, options: &Options) -> Generator {
    Generator::open(&device(Isa::best(), threads), &source(&config(k, AR)), options).unwrap()
}

pub fn open(k: usize) -> Generator {
    open_with(k, 2, &Options::default())
}

/// The precisions that a test goes through.
pub fn precisions() -> impl Iterator<Item = Options> {
    [Precision::F32, Precision::Bf16, Precision::Int8]
        .into_iter()
        .map(|precision| Options { precision, ..Options::default() })
}

/// Some codes of `count` pictures.
pub fn some_codes(config: &Config, count: usize) -> Vec<u32> {
    let len = count * config.codebooks * config.positions();
    (0..len).map(|i| ((i * 7 + i / 5 * 3 + 1) % config.codebook_size) as u32).collect()
}
