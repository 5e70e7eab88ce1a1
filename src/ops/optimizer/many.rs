//! The same of all tensors of a network, in place: on a GPU they share a launch, whatever their number.

use super::{Adam, Average, Length};
use crate::backend::Device;
use crate::error::{Context, Result};
use crate::exec::{Eager, Op};
use crate::ops::elementwise::update;
use crate::tensor::{DType, Tensor};

/// A weight that [`step`] moves. All four are f32 of one shape; the gradient on a GPU may be bf16.
pub struct Moved<'a> {
    /// What is moved.
    pub weight: &'a mut Tensor,
    /// Where to.
    pub gradient: &'a Tensor,
    /// First moment.
    pub first: &'a mut Tensor,
    /// Second moment.
    pub second: &'a mut Tensor,
    /// Weight decay: that of `Adam` is not asked.
    pub decay: f64,
}

/// A step of [`Adam`] on each. The new values are written over the old ones where nobody else holds those, who would
/// see them move.
///
/// # Errors
/// As the operation's. Then some may have moved and others not.
pub fn step(e: &Eager<'_>, op: &Adam, all: &mut [Moved<'_>]) -> Result<()> {
    match e.cx().device {
        #[cfg(feature = "cuda")]
        Device::Cuda(cuda) => {
            for one in all.iter() {
                let inputs = [&*one.weight, one.gradient, &*one.first, &*one.second];
                count(e, op, &inputs)?;
            }
            super::cuda::step(op, e.cx(), cuda, all).context(|| Adam::NAME)
        }
        Device::Cpu(cpu) => all.iter_mut().try_for_each(|one| {
            let op = Adam { decay: one.decay, ..*op };
            count(e, &op, &[&*one.weight, one.gradient, &*one.first, &*one.second])?;
            if one.gradient.dtype() != DType::F32 {
                return Err(e.cx().unsupported(Adam::NAME, one.gradient.desc()));
            }
            let all = [own(one.weight)?, own(one.first)?, own(one.second)?];
            super::cpu::step(&op, cpu, one.gradient.data()?, None, all);
            Ok(())
        }),
    }
}

/// Moves each average towards its weight, as [`Average`] does, in place as [`step`] does.
///
/// # Errors
/// As the operation's. Then some may have moved and others not.
pub fn average(e: &Eager<'_>, op: &Average, all: &mut [(&mut Tensor, &Tensor)]) -> Result<()> {
    match e.cx().device {
        #[cfg(feature = "cuda")]
        Device::Cuda(cuda) => {
            all.iter().try_for_each(|(average, weight)| count(e, op, &[&**average, *weight]))?;
            super::cuda::move_averages(op, e.cx(), cuda, all).context(|| Average::NAME)
        }
        Device::Cpu(cpu) => all.iter_mut().try_for_each(|(average, weight)| {
            count(e, op, &[&**average, *weight])?;
            update(cpu, *op, own(average)?, weight.data()?);
            Ok(())
        }),
    }
}

/// The [`Length`] of each. Waits for them: once for all.
///
/// # Errors
/// As the operation's.
pub fn lengths(e: &Eager<'_>, all: &[&Tensor]) -> Result<Vec<f64>> {
    match e.cx().device {
        #[cfg(feature = "cuda")]
        Device::Cuda(cuda) => {
            all.iter().try_for_each(|x| count(e, &Length, &[*x]))?;
            super::cuda::lengths(e.cx(), cuda, all).context(|| Length::NAME)
        }
        Device::Cpu(_) => {
            let one = |x: &&Tensor| {
                let [length] = e.run(&Length, &[*x])?;
                Ok(f64::from(length.data::<f32>()?[0]))
            };
            all.iter().map(one).collect()
        }
    }
}

/// The elements, to write: of a tensor that somebody else holds, those of a copy that takes its place.
fn own(tensor: &mut Tensor) -> Result<&mut [f32]> {
    if tensor.data_mut::<f32>().is_err() {
        // Not the workspace's memory: it stays.
        *tensor = Tensor::from_slice(*tensor.shape(), tensor.data::<f32>()?)?;
    }
    tensor.data_mut()
}

/// Checks the inputs of an operation and counts its arithmetic.
fn count<O: Op<N>, const N: usize>(e: &Eager<'_>, op: &O, inputs: &[&Tensor]) -> Result<()> {
    let descs: Vec<_> = inputs.iter().map(|input| *input.desc()).collect();
    op.outputs(&descs).context(|| O::NAME)?;
    e.cx().workspace.count(op.cost(&descs).flops);
    Ok(())
}
