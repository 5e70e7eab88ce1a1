//! A tokenizer of 32-pixel pictures, and a discriminator for it.

use fqgan::backend::Device;
use fqgan::backend::cpu::{Cpu, Isa, Pool};
use fqgan::tensor::Tensor;
use fqgan::train::{Recipe, Teachers, TokenizerNetwork, Trainer, init};
use std::collections::BTreeMap;
use std::sync::Arc;

pub const RECIPE: &str = r#"
[model]
branches = ["vis", "sem"]
codebook_size = 64
code_dim = 4
ch = 32
ch_mult = [1, 1, 2]
num_res_blocks = 1
z_channels = 32
image_size = 32
adapter_layers = 1
adapter_hidden = 64

[loss]
perceptual_weight = 0.0

[adversarial]
start = 0
width = 16
"#;

pub fn recipe(overrides: &[&str]) -> Recipe {
    let overrides: Vec<String> = overrides.iter().map(|s| s.to_string()).collect();
    Recipe::parse(RECIPE, &overrides).unwrap()
}

pub fn trainer(recipe: &Recipe, threads: usize) -> Trainer {
    let device = Device::Cpu(Arc::new(Cpu { pool: Pool::new(threads).unwrap(), isa: Isa::best() }));
    let weights = init::tokenizer(recipe, &BTreeMap::new(), 1).unwrap();
    let discriminator = recipe.adversarial.enabled.then(|| init::discriminator(recipe, 2).unwrap());
    let network =
        TokenizerNetwork::open(recipe, &weights, discriminator.as_ref(), Teachers::default()).unwrap();
    Trainer::new(recipe, &device, network, &weights, discriminator.as_ref()).unwrap()
}

/// Soft shapes in colour, (n, 32, 32, 3).
pub fn pictures(n: usize) -> Tensor {
    let pixel = |i: usize| {
        let (c, x, y, image) = (i % 3, i / 3 % 32, i / 96 % 32, i / 3072);
        let wave = ((x * (image + 1)) as f32 * 0.2 + c as f32).sin() * (y as f32 * 0.15 + image as f32).cos();
        0.8 * wave + if (x / 8 + y / 8) % 2 == 0 { 0.15 } else { -0.15 }
    };
    let values: Vec<f32> = (0..n * 3072).map(pixel).collect();
    Tensor::from_slice([n, 32, 32, 3], &values).unwrap()
}
