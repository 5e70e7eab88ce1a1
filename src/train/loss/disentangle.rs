use super::Term;
use crate::error::Result;
use crate::exec::{Exec, Tape, Var};
use crate::ops::add::Add;
use crate::ops::disentangle::Disentangle;
use crate::ops::normalize::Normalize;

/// The mean over all pairs of branches of the mean squared cosine of their embeddings; none of a single branch.
///
/// # Errors
/// The operations'.
pub fn disentangle(tape: &Tape<'_>, ratio: f64, embeddings: &[Var]) -> Result<Option<Term>> {
    let mut units = Vec::new();
    for embedding in embeddings {
        let [unit] = tape.apply(Normalize { eps: 1e-12 }, &[embedding])?;
        units.push(unit);
    }
    let mut sum: Option<Var> = None;
    let mut pairs = 0;
    for (i, a) in units.iter().enumerate() {
        for b in &units[i + 1..] {
            let [square] = tape.apply(Disentangle, &[a, b])?;
            pairs += 1;
            sum = Some(match sum {
                Some(sum) => {
                    let [more] = tape.apply(Add, &[&sum, &square])?;
                    more
                }
                None => square,
            });
        }
    }
    Ok(sum.map(|sum| Term::new("disentangle", sum).times(ratio / f64::from(pairs))))
}
