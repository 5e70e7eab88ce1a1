use super::Term;
use crate::error::Result;
use crate::exec::{Exec, Tape, Var};
use crate::ops::code_entropy::CodeEntropy;
use crate::ops::mean_error::{MeanError, Power};
use crate::tokenizer::Quantized;
use crate::train::collective::{GatherRows, Group};
use crate::train::recipe::Loss;

/// Keeps the logarithm of an unused code's probability finite.
const EPS: f32 = 1e-5;

/// A branch's three: vq draws the codes to the latents, commit the latents to the codes, entropy makes each latent
/// sure and all together use every code: all of this process, or of the whole group if the recipe says so.
///
/// # Errors
/// The operations'.
pub fn codebook(
    tape: &Tape<'_>,
    loss: &Loss,
    group: &Group,
    branch: &str,
    quantized: &Quantized<Var>,
) -> Result<Vec<Term>> {
    let Quantized { latents, rows, codebook, .. } = quantized;
    let name = |term: &str| if branch.is_empty() { term.to_string() } else { format!("{term}_{branch}") };
    let squared = MeanError(Power::Squared);
    let mut terms = Vec::new();
    let [vq] = tape.apply(squared, &[&tape.detach(latents), rows])?;
    terms.push(Term::new(name("vq"), vq).times(loss.vq_weight));
    let [commit] = tape.apply(squared, &[latents, &tape.detach(rows)])?;
    terms.push(Term::new(name("commit"), commit).times(loss.commit_beta));
    if loss.entropy_ratio != 0.0 {
        let op = CodeEntropy { temperature: loss.entropy_temperature as f32, eps: EPS };
        let [entropy] = match loss.gather && group.size() > 1 {
            true => {
                let [all] = tape.apply(GatherRows(group.clone()), &[latents])?;
                tape.apply(op, &[&all, codebook])?
            }
            false => tape.apply(op, &[latents, codebook])?,
        };
        terms.push(Term::new(name("entropy"), entropy).times(loss.entropy_ratio));
    }
    Ok(terms)
}
