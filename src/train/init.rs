//! The weights that a run begins with: PyTorch's defaults, and the paper's where they differ. A weight is a function
//! of the seed and its name, so it does not depend on which others there are.

use super::feature_head;
use super::recipe::{Judge, Recipe};
use crate::error::{Error, Result};
use crate::far;
use crate::rng::Stream;
use crate::teachers::StyleGan2;
use crate::tensor::{Shape, Tensor};
use crate::weights::{Manifest, Source};
use std::collections::BTreeMap;

/// The distribution of a weight's elements.
#[derive(Clone, Copy)]
enum Law {
    Constant(f32),
    /// Between -x and x.
    Uniform(f64),
    /// Mean and deviation.
    Normal(f64, f64),
}

/// A tokenizer's weights and its prediction heads'. `widths` gives the class feature of a teacher by its name.
///
/// # Errors
/// `InvalidArgument` for a recipe that no network can have, or a teacher without a width; `OutOfMemory`.
pub fn tokenizer(recipe: &Recipe, widths: &BTreeMap<String, usize>, seed: u64) -> Result<Source> {
    let config = recipe.model.config()?;
    let mut manifest = config.manifest();
    for semantic in &recipe.loss.semantic {
        let width = widths.get(&semantic.teacher).ok_or_else(|| {
            Error::invalid(format!("the width of the teacher {} is not known", semantic.teacher))
        })?;
        let grid = config.image_size / config.downsample();
        feature_head::manifest(&mut manifest, &semantic.head, config.code_dim, *width, grid * grid);
    }
    let shapes: BTreeMap<&str, &[usize]> = manifest.iter().collect();
    let law = |name: &str, shape: &[usize]| -> Law {
        let leaf = name.rsplit('.').next().unwrap_or(name);
        match leaf {
            _ if name.starts_with("quantize") => Law::Uniform(1.0 / shape[0] as f64),
            "positional_embedding" | "class_embedding" => {
                Law::Normal(0.0, (*shape.last().unwrap_or(&1) as f64).powf(-0.5))
            }
            // Xavier's, over the packed matrix.
            "in_proj_weight" => Law::Uniform((6.0 / (shape[0] + shape[1]) as f64).sqrt()),
            "in_proj_bias" => Law::Constant(0.0),
            _ if name.ends_with("attn.out_proj.bias") => Law::Constant(0.0),
            _ => by_fan(name, shape, &shapes),
        }
    };
    let made = made(&manifest, seed, law)?;
    let rows = |(name, tensor): (String, Tensor)| -> Result<(String, Tensor)> {
        if !name.starts_with("quantize") {
            return Ok((name, tensor));
        }
        let unit = crate::ops::code_embedding::table(&[&tensor])?;
        Ok((name, unit.reshape(*tensor.shape())?))
    };
    let all = made.into_iter().map(rows).collect::<Result<Vec<_>>>()?;
    Ok(Source::from_tensors(all, BTreeMap::new()))
}

/// The weights of a recipe's discriminator.
///
/// # Errors
/// As [`StyleGan2::manifest`]; `OutOfMemory`.
pub fn discriminator(recipe: &Recipe, seed: u64) -> Result<Source> {
    let width = recipe.adversarial.width;
    match recipe.adversarial.network {
        Judge::PatchGan => patch_gan(width, seed),
        Judge::StyleGan2 => {
            let law = |name: &str, _: &[usize]| match name.ends_with(".bias") {
                true => Law::Constant(0.0),
                false => Law::Normal(0.0, 1.0),
            };
            let manifest = StyleGan2::manifest(recipe.model.image_size, width)?;
            Ok(Source::from_tensors(made(&manifest, seed, law)?, BTreeMap::new()))
        }
    }
}

/// A PatchGAN's weights, `width` channels after its first convolution (published: 64).
fn patch_gan(width: usize, seed: u64) -> Result<Source> {
    let mut manifest = Manifest::default();
    manifest.layer("main.0", &[width, 3, 4, 4]);
    let mut from = width;
    for (number, times) in [(2, 2), (5, 4), (8, 8)] {
        let to = width * times;
        manifest.tensor(format!("main.{number}.weight"), &[to, from, 4, 4]);
        let norm = format!("main.{}", number + 1);
        manifest.layer(&norm, &[to]);
        manifest.tensor(format!("{norm}.running_mean"), &[to]);
        manifest.tensor(format!("{norm}.running_var"), &[to]);
        from = to;
    }
    manifest.layer("main.11", &[1, from, 4, 4]);
    let shapes: BTreeMap<&str, &[usize]> = manifest.iter().collect();
    let law = |name: &str, shape: &[usize]| match (name.rsplit('.').next(), shape.len()) {
        (Some("weight"), 4) => Law::Normal(0.0, 0.02),
        (Some("weight"), _) => Law::Normal(1.0, 0.02),
        (Some("running_mean"), _) => Law::Constant(0.0),
        (Some("running_var"), _) => Law::Constant(1.0),
        _ => by_fan(name, shape, &shapes),
    };
    Ok(Source::from_tensors(made(&manifest, seed, law)?, BTreeMap::new()))
}

/// A generator's weights: normal of deviation 0.02, the output heads zero, so that it begins with no opinion.
///
/// # Errors
/// `OutOfMemory`.
pub fn far(config: &far::Config, seed: u64) -> Result<Source> {
    // The classifiers themselves, not the layers before them in the head of two.
    let last = match config.head {
        far::config::Head::Mlp { .. } => ".2.weight",
        _ => ".weight",
    };
    let law = |name: &str, shape: &[usize]| match shape.len() {
        _ if name.starts_with("output_") && name.ends_with(last) => Law::Constant(0.0),
        1 if name.ends_with(".bias") => Law::Constant(0.0),
        1 => Law::Constant(1.0),
        _ => Law::Normal(0.0, 0.02),
    };
    Ok(Source::from_tensors(made(&config.manifest(), seed, law)?, config.metadata()))
}

/// A teacher's weights, those of its classifier included: normal of deviation 0.02, biases zero, as towers have it.
///
/// # Errors
/// `OutOfMemory`.
pub fn teacher(manifest: &Manifest, seed: u64) -> Result<Source> {
    let law = |name: &str, shape: &[usize]| match shape.len() {
        1 if name.ends_with(".bias") => Law::Constant(0.0),
        1 if name.contains("norm") => Law::Constant(1.0),
        _ => Law::Normal(0.0, 0.02),
    };
    Ok(Source::from_tensors(made(manifest, seed, law)?, BTreeMap::new()))
}

/// PyTorch's default of a convolution or linear layer: uniform within 1 / sqrt(inputs of an output), bias likewise;
/// of a norm: 1 and 0.
fn by_fan(name: &str, shape: &[usize], shapes: &BTreeMap<&str, &[usize]>) -> Law {
    let weight = match name.strip_suffix(".bias") {
        Some(layer) => shapes.get(format!("{layer}.weight").as_str()).copied().unwrap_or(shape),
        None => shape,
    };
    match (weight.len(), name.ends_with(".bias")) {
        (0 | 1, true) => Law::Constant(0.0),
        (0 | 1, false) => Law::Constant(1.0),
        _ => Law::Uniform((weight[1..].iter().product::<usize>() as f64).powf(-0.5)),
    }
}

fn made(
    manifest: &Manifest,
    seed: u64,
    law: impl Fn(&str, &[usize]) -> Law,
) -> Result<Vec<(String, Tensor)>> {
    let one = |(name, shape): (&str, &[usize])| {
        let extents = Shape::try_from_slice(shape).ok_or_else(|| Error::internal("too many axes"))?;
        let count = extents.checked_count().ok_or_else(|| Error::invalid(format!("{name} is too large")))?;
        let place = place(name);
        let mut values = vec![0.0f32; count];
        let law = law(name, shape);
        // A stream is finite, and one word a number would be slow to find a place in.
        for (chunk, values) in values.chunks_mut(1 << 16).enumerate() {
            let mut stream = Stream::new(seed, [place[0], place[1], chunk as u32]);
            values.iter_mut().for_each(|value| {
                *value = match law {
                    Law::Constant(x) => x,
                    Law::Uniform(x) => ((2.0 * f64::from(stream.uniform()) - 1.0) * x) as f32,
                    Law::Normal(mean, deviation) => (mean + deviation * f64::from(stream.normal())) as f32,
                }
            });
        }
        Ok((name.to_string(), Tensor::from_slice(extents, &values)?))
    };
    manifest.iter().map(one).collect()
}

/// A name's place among the streams: FNV-1a, 64 bits.
fn place(name: &str) -> [u32; 2] {
    let hash = name
        .bytes()
        .fold(0xCBF2_9CE4_8422_2325u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01B3));
    [hash as u32, (hash >> 32) as u32]
}
