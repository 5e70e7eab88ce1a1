use super::Term;
use crate::error::Result;
use crate::exec::{Exec, Tape, Var};
use crate::ops::cross_entropy::CrossEntropy;
use crate::ops::linear::Linear;
use crate::ops::mean::Mean;
use crate::ops::normalize::Normalize;
use crate::tensor::Tensor;

/// Each predicted class feature should be nearer to its own picture's than to those of the batch's others: cross
/// entropy of the cosines, no temperature. `features` are the teacher's, (n, width), not recorded.
///
/// # Errors
/// The operations'; `InvalidArgument` when the widths differ.
pub fn semantic(tape: &Tape<'_>, teacher: &str, predicted: &Var, features: &Tensor) -> Result<Term> {
    let unit = Normalize { eps: 0.0 };
    let [features] = tape.apply(unit, &[&tape.constant(features.clone())])?;
    let [predicted] = tape.apply(unit, &[predicted])?;
    let [logits] = tape.apply(Linear::default(), &[&predicted, &features])?;
    let count = tape.desc(&predicted).shape[0];
    let own = tape.cx().written::<u32>([count], |all| {
        all.iter_mut().zip(0..).for_each(|(target, i)| *target = i);
        Ok(())
    })?;
    let [each] = tape.apply(CrossEntropy, &[&logits, &tape.constant(own)])?;
    let [mean] = tape.apply(Mean, &[&each])?;
    Ok(Term::new(format!("semantic_{teacher}"), mean))
}
