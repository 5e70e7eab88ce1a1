use super::Term;
use crate::error::Result;
use crate::exec::{Exec, Tape, Var};
use crate::ops::adversarial::{Function, Score};
use crate::train::recipe::Game;

/// What the generator is told: its pictures' logits should be high.
///
/// # Errors
/// The operation's.
pub fn generator(tape: &Tape<'_>, game: Game, fake: &Var) -> Result<Term> {
    let function = match game {
        Game::Hinge => Function::Linear,
        Game::Vanilla | Game::NonSaturating => Function::Softplus,
    };
    let [score] = tape.apply(Score { function, negated: true }, &[fake])?;
    Ok(Term::new("adversarial", score))
}

/// The discriminator's loss: high logits of true pictures, low ones of the generator's.
///
/// # Errors
/// The operations'.
pub fn discriminator(tape: &Tape<'_>, game: Game, real: &Var, fake: &Var) -> Result<[Term; 2]> {
    let function = match game {
        Game::Hinge => Function::Hinge,
        Game::Vanilla | Game::NonSaturating => Function::Softplus,
    };
    let [real] = tape.apply(Score { function, negated: true }, &[real])?;
    let [fake] = tape.apply(Score { function, negated: false }, &[fake])?;
    Ok([Term::new("real", real).times(0.5), Term::new("fake", fake).times(0.5)])
}
