//! The terms of the tokenizer's loss (SPEC of the paper's sections 3.1 and 3.2), a file each, under the names that
//! reports have for them.

mod adversarial;
mod codebook;
mod disentangle;
mod perceptual;
mod reconstruction;
mod semantic;

pub use adversarial::{discriminator, generator};
pub use codebook::codebook;
pub use disentangle::disentangle;
pub use perceptual::perceptual;
pub use reconstruction::reconstruction;
pub use semantic::semantic;

use crate::error::Result;
use crate::exec::{Tape, Var};
use crate::tensor::Tensor;
use crate::train::collective::Reduction;
use crate::train::optim::{Norms, Tensors};
use crate::train::report::Report;

/// One term of a loss.
pub struct Term {
    /// As reports name it: `vq_vis`.
    pub name: String,
    /// What was computed, a number.
    pub value: Var,
    /// What belongs to the term's definition and is reported with it: beta, a ratio.
    pub factor: f64,
    /// What the total counts it with, beyond the factor.
    pub weight: f64,
}

impl Term {
    pub(super) fn new(name: impl Into<String>, value: Var) -> Term {
        Term { name: name.into(), value, factor: 1.0, weight: 1.0 }
    }

    fn times(self, factor: f64) -> Term {
        Term { factor, ..self }
    }

    /// The same term with a weight in the total.
    pub fn weighted(self, weight: f64) -> Term {
        Term { weight, ..self }
    }

    /// The number that is reported.
    ///
    /// # Errors
    /// None that a term can give.
    pub fn reported(&self) -> Result<f64> {
        Ok(self.factor * super::value(self.value.tensor())?)
    }

    /// The gradient of the total by this term's value.
    ///
    /// # Errors
    /// `OutOfMemory`.
    pub fn seed(&self, tape: &Tape<'_>) -> Result<Tensor> {
        super::scalar(tape.eager(), self.factor * self.weight)
    }
}

/// The weighted sum of terms.
///
/// # Errors
/// None that terms can give.
pub fn total(terms: &[Term]) -> Result<f64> {
    terms.iter().try_fold(0.0, |sum, term| Ok(sum + term.weight * term.reported()?))
}

/// The gradients of the total. The report gets the terms, `total`, `grad_norm` and the length of each gradient. With a
/// reduction they go to the other processes as they are made, and here are none; no length is reported then.
///
/// # Errors
/// Those of the rules; those of the exchange.
pub fn gradients(
    tape: Tape<'_>,
    terms: &[Term],
    report: &mut Report,
    reduction: Option<&mut Reduction<'_>>,
) -> Result<Tensors> {
    let seeds = seeds(&tape, terms, report)?;
    if let Some(reduction) = reduction {
        let e = *tape.eager();
        tape.gradients_as_made(&seeds, &mut |name, gradient| reduction.add(&e, name, gradient))?;
        return Ok(Tensors::new());
    }
    let e = *tape.eager();
    let gradients = tape.into_gradients(&seeds)?;
    let norms = Norms::of(&e, &gradients)?;
    report.push("grad_norm", norms.total);
    report.gradients = norms.each;
    Ok(gradients)
}

/// Reports the terms, and where the gradients of those that count begin.
fn seeds<'a>(tape: &Tape<'_>, terms: &'a [Term], report: &mut Report) -> Result<Vec<(&'a Var, Tensor)>> {
    for term in terms {
        report.push(&term.name, term.reported()?);
    }
    report.push("total", total(terms)?);
    let counted = terms.iter().filter(|t| t.weight * t.factor != 0.0);
    counted.map(|term| Ok((&term.value, term.seed(tape)?))).collect()
}
