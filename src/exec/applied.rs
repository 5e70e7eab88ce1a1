//! What a tape remembers.

use super::{Backward, Op, Sums, Tape, Var};
use crate::error::{Context, Result};
use crate::tensor::Tensor;

/// One remembered piece of work.
pub(super) trait Step<'a> {
    /// The place of its first output.
    fn first(&self) -> usize;

    /// Adds the gradients of the step's inputs to `grads`, which has those of its outputs.
    fn backward(&self, tape: &Tape<'a>, grads: &mut [Option<Tensor>]) -> Result<()>;
}

/// A remembered operation.
pub(super) struct Applied<O, const N: usize> {
    pub op: O,
    pub inputs: Vec<Var>,
    /// Place of the first output; the others follow.
    pub first: usize,
}

impl<'a, O: Op<N>, const N: usize> Step<'a> for Applied<O, N> {
    fn first(&self) -> usize {
        self.first
    }

    fn backward(&self, tape: &Tape<'a>, grads: &mut [Option<Tensor>]) -> Result<()> {
        let outputs: [Option<Tensor>; N] = std::array::from_fn(|i| grads[self.first + i].take());
        if outputs.iter().all(Option::is_none) {
            return Ok(());
        }
        let inputs: Vec<&Tensor> = self.inputs.iter().map(Var::tensor).collect();
        let wanted: Vec<bool> = self.inputs.iter().map(|v| v.place.is_some()).collect();
        // Of a value that is an input twice, the first has the sum.
        let places: Vec<Option<usize>> = self.inputs.iter().map(|v| v.place).collect();
        let sums = Sums::of(places.iter().map(|&place| grads[place?].take()));
        let pass = Backward { inputs: &inputs, grads: &outputs, wanted: &wanted, sums: &sums };
        let found = self.op.backward(tape.eager(), &pass).context(|| format!("gradient of {}", O::NAME))?;
        for (place, left) in places.iter().zip(sums.left()) {
            if let (Some(place), Some(left)) = (place, left) {
                grads[*place] = Some(left);
            }
        }
        for (input, grad) in self.inputs.iter().zip(found) {
            if let (Some(place), Some(grad)) = (input.place, grad) {
                tape.accumulate(&mut grads[place], grad, input.tensor.desc())?;
            }
        }
        Ok(())
    }
}

/// The same elements under another shape.
pub(super) struct Reshaped {
    pub input: Var,
    pub place: usize,
}

impl<'a> Step<'a> for Reshaped {
    fn first(&self) -> usize {
        self.place
    }

    fn backward(&self, tape: &Tape<'a>, grads: &mut [Option<Tensor>]) -> Result<()> {
        let (Some(grad), Some(place)) = (grads[self.place].take(), self.input.place) else { return Ok(()) };
        let grad = grad.reshape(*self.input.tensor.shape())?;
        tape.accumulate(&mut grads[place], grad, self.input.tensor.desc())
    }
}
