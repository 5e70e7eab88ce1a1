//! Training: the losses, the optimiser, and one step of the tokenizer's, of the generator's and of a small teacher's. The
//! networks are those that inference runs; a tape records them.

pub mod checkpoint;
pub mod codes;
pub mod collective;
pub mod data;
pub mod far;
mod feature_head;
mod folder;
pub mod init;
mod learned;
pub mod loss;
mod network;
pub mod optim;
pub mod recipe;
mod report;
pub mod run;
mod step;
pub mod teacher;
mod tokenizer;
mod usage;

pub use feature_head::FeatureHead;
pub use folder::Folder;
pub use learned::Learned;
pub use network::{Teachers, TokenizerNetwork};
pub use recipe::Recipe;
pub use report::{Report, Scalar};
pub use step::{Gradients, State, Trainer};
pub use tokenizer::TokenizerJob;
pub use usage::Usage;

use crate::backend::Device;
use crate::error::{Error, Result};
use crate::exec::Eager;
use crate::ops::add::Add;
use crate::tensor::{Allocate, DType, Desc, HeapAllocator, Shape, Tensor};
use crate::weights::{Info, Source};
use std::collections::BTreeMap;

/// How a tape adds gradients.
fn add(e: &Eager<'_>, a: &Tensor, b: &Tensor) -> Result<Tensor> {
    let [sum] = e.run(&Add, &[a, b])?;
    Ok(sum)
}

/// A number as a tensor.
fn scalar(e: &Eager<'_>, value: f64) -> Result<Tensor> {
    e.cx().written::<f32>([], |to| {
        to[0] = value as f32;
        Ok(())
    })
}

/// The number that a tensor of one element is.
fn value(tensor: &Tensor) -> Result<f64> {
    Ok(f64::from(tensor.on_host()?.data::<f32>()?[0]))
}

/// Tensors as a device has them.
fn keep<'a>(device: &Device, all: impl IntoIterator<Item = &'a mut Tensor>) -> Result<()> {
    all.into_iter().try_for_each(|tensor| {
        *tensor = device.keep(tensor)?;
        Ok(())
    })
}

/// Weights of the same names and shapes, all of them zeros in the same memory: a network whose weights are the trainer's
/// needs none of its own.
fn hollow(weights: &Source) -> Result<Source> {
    let bytes = |info: &Info| info.count().saturating_mul(DType::F32.size());
    let floats = || weights.listing().iter().filter(|(_, info)| info.dtype.is_weight());
    let zeros = HeapAllocator.allocate(floats().map(|(_, info)| bytes(info)).max().unwrap_or(0))?;
    let one = |(name, info): (&str, &Info)| {
        let shape = Shape::try_from_slice(&info.shape).ok_or_else(|| {
            Error::format(format!("{}: tensor {name} is {info}: too many axes", weights.name()))
        })?;
        Ok((name.to_string(), Tensor::new(Desc::plain(shape, DType::F32), zeros.clone())?))
    };
    Ok(Source::from_tensors(floats().map(one).collect::<Result<Vec<_>>>()?, BTreeMap::new()))
}
