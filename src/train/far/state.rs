use crate::error::Result;
use crate::train::checkpoint::{Contents, number, restore, restore_optimizer, tensors};
use crate::train::optim::{Optimizer, Tensors};
use crate::weights::Source;

/// All that a generator's run changes.
pub struct FarState {
    /// Steps that were begun, those that moved nothing included.
    pub steps: u64,
    /// The weights.
    pub weights: Tensors,
    /// Their moments.
    pub optimizer: Optimizer,
    /// Their average, where the recipe wants one.
    pub average: Tensors,
}

/// What names in checkpoints begin with.
const MODEL: &str = "model";
const AVERAGE: &str = "average";
const OPTIMIZER: &str = "optimizer";

impl FarState {
    /// What a checkpoint holds.
    ///
    /// # Errors
    /// `OutOfMemory`.
    pub fn contents(&self) -> Result<Contents> {
        let mut contents = Contents::default();
        contents.add(MODEL, &self.weights);
        contents.add(AVERAGE, &self.average);
        contents.add_optimizer(OPTIMIZER, &self.optimizer);
        contents.number("steps", self.steps);
        Ok(contents)
    }

    /// As it was when [`FarState::contents`] gave what the file has.
    ///
    /// # Errors
    /// `Format` when the file is of another network; the state is then neither the old one nor the file's.
    pub fn restore(&mut self, source: &Source) -> Result<()> {
        restore(source, MODEL, &mut self.weights)?;
        self.average = tensors(source, AVERAGE)?;
        restore_optimizer(source, OPTIMIZER, &self.weights, &mut self.optimizer)?;
        self.steps = number(source, "steps")?;
        Ok(())
    }
}
