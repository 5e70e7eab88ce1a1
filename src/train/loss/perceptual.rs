use super::Term;
use crate::error::Result;
use crate::exec::{Exec, Tape, Var};
use crate::ops::mean::Mean;
use crate::teachers::Lpips;
use crate::tensor::Tensor;

/// The mean LPIPS distance of the reconstruction from the pictures. The features of the pictures themselves are not
/// recorded.
///
/// # Errors
/// The operations'.
pub fn perceptual(tape: &Tape<'_>, lpips: &Lpips, reconstruction: &Var, pictures: &Tensor) -> Result<Term> {
    let features = lpips.features(tape.eager(), pictures)?;
    let features: Vec<Var> = features.into_iter().map(|f| tape.constant(f)).collect();
    let distances = lpips.distance(tape, reconstruction, &features)?;
    let [mean] = tape.apply(Mean, &[&distances])?;
    Ok(Term::new("perceptual", mean))
}
