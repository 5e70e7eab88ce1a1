use super::Term;
use crate::error::Result;
use crate::exec::{Exec, Tape, Var};
use crate::ops::mean_error::{MeanError, Power};

/// The mean error of the pixels, squared or absolute.
///
/// # Errors
/// The operation's.
pub fn reconstruction(tape: &Tape<'_>, power: Power, reconstruction: &Var, pictures: &Var) -> Result<Term> {
    let [error] = tape.apply(MeanError(power), &[reconstruction, pictures])?;
    Ok(Term::new("reconstruction", error))
}
