//! Training: the losses, the optimiser, and one step of the tokenizer's. The networks are those that inference runs;
//! a tape records them.

pub mod codes;
pub mod data;
mod feature_head;
pub mod init;
pub mod loss;
mod network;
pub mod optim;
pub mod recipe;
mod report;
mod step;

pub use feature_head::FeatureHead;
pub use network::{Teachers, TokenizerNetwork};
pub use recipe::Recipe;
pub use report::{Report, Scalar};
pub use step::{Gradients, State, Trainer};

use crate::error::Result;
use crate::exec::Eager;
use crate::ops::add::Add;
use crate::tensor::{DType, Desc, Tensor};

/// How a tape adds gradients.
fn add(e: &Eager<'_>, a: &Tensor, b: &Tensor) -> Result<Tensor> {
    let [sum] = e.run(&Add, &[a, b])?;
    Ok(sum)
}

/// A number as a tensor.
fn scalar(e: &Eager<'_>, value: f64) -> Result<Tensor> {
    let mut tensor = e.cx().workspace.tensor(Desc::plain([], DType::F32))?;
    tensor.data_mut::<f32>()?[0] = value as f32;
    Ok(tensor)
}

/// The number that a tensor of one element is.
fn value(tensor: &Tensor) -> Result<f64> {
    Ok(f64::from(tensor.data::<f32>()?[0]))
}
