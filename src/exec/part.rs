//! Activation checkpoints: a part of a model that a tape runs twice instead of keeping its inner values.

use super::applied::Step;
use super::tape::{Tape, Var};
use crate::error::{Error, Result};
use crate::tensor::Tensor;

/// A remembered part: what went in, and which weights it read.
struct Part<F, const N: usize, const M: usize> {
    part: F,
    inputs: [Var; N],
    weights: Vec<(String, Var)>,
    /// Place of the first output; the others follow.
    first: usize,
}

/// The name of an input among the weights, which none of them has.
fn input(i: usize) -> String {
    format!("\0{i}")
}

/// Runs a part without recording it, and remembers that it was run.
pub(super) fn run<'a, F, const N: usize, const M: usize>(
    tape: &Tape<'a>,
    inputs: [&Var; N],
    part: F,
) -> Result<[Var; M]>
where
    F: Fn(&Tape<'a>, [&Var; N]) -> Result<[Var; M]> + 'static,
{
    let constants = inputs.map(|v| tape.constant(v.tensor.clone()));
    let (outputs, met) = tape.dry(|dry| part(dry, constants.each_ref()))?;
    let outputs = outputs.map(|v| v.tensor);
    if met.is_empty() && inputs.iter().all(|v| v.place.is_none()) {
        return Ok(outputs.map(|tensor| tape.constant(tensor)));
    }
    let weights = met.into_iter().filter_map(|name| tape.trained(&name).map(|var| (name, var))).collect();
    let inputs = inputs.map(Var::clone);
    Ok(tape.push(outputs, |first| Box::new(Part { part, inputs, weights, first })))
}

impl<'a, F, const N: usize, const M: usize> Step<'a> for Part<F, N, M>
where
    F: Fn(&Tape<'a>, [&Var; N]) -> Result<[Var; M]>,
{
    fn first(&self) -> usize {
        self.first
    }

    fn backward(&self, tape: &Tape<'a>, grads: &mut [Option<Tensor>]) -> Result<()> {
        let seeds: [Option<Tensor>; M] = std::array::from_fn(|i| grads[self.first + i].take());
        if seeds.iter().all(Option::is_none) {
            return Ok(());
        }
        let again = tape.fresh();
        let mut i = 0;
        let leaves = self.inputs.each_ref().map(|v| {
            i += 1;
            match v.place {
                Some(_) => again.leaf(&input(i - 1), v.tensor.clone()),
                None => again.constant(v.tensor.clone()),
            }
        });
        // What comes out, and what went in, need not live through the walk for our sake.
        let places = (self.part)(&again, leaves.each_ref())?.map(|v| v.place);
        drop(leaves);
        let seeds = places.into_iter().zip(seeds).filter_map(|(place, seed)| Some((place, seed?)));
        let mut found = again.into_gradients_at(seeds)?;
        let inputs = self.inputs.iter().enumerate().map(|(i, v)| (input(i), v));
        for (name, var) in inputs.chain(self.weights.iter().map(|(name, v)| (name.clone(), v))) {
            if let (Some(place), Some(grad)) = (var.place, found.remove(&name)) {
                tape.accumulate(&mut grads[place], grad, var.tensor.desc())?;
            }
        }
        match found.keys().next() {
            None => Ok(()),
            Some(name) => Err(Error::internal(format!("a part read {name} in its second run only"))),
        }
    }
}
