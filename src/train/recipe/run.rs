use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};
use std::f64::consts::PI;

/// How long a run is and what it leaves behind: `[run]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Run {
    /// Of fresh weights, of the data's order, and of all else that is random.
    pub seed: u64,
    /// Steps of the whole run.
    pub steps: u64,
    /// What one step sees.
    pub batch: usize,
    /// In how many parts, one after the other, whose gradients are added up: less memory. The entropy and the
    /// discriminator's norms are of a part, all else is the same but for rounding.
    pub accumulate: usize,
    /// How the learning rates go on after the warm-up.
    pub schedule: Schedule,
    /// Steps in which the rates rise evenly to what the optimisers' tables say.
    pub warmup: u64,
    /// What share of the rate a falling schedule ends at.
    pub floor: f64,
    /// What happens when a loss or a gradient is not finite.
    pub broken: Broken,
    /// Steps between two checkpoints.
    pub save_every: u64,
    /// How many of the last checkpoints are kept.
    pub keep: usize,
    /// Steps between two looks at the held-out pictures.
    pub validate_every: u64,
    /// How many of them are looked at, at most.
    pub validate: usize,
    /// Steps between two pictures of what the network makes.
    pub pictures_every: u64,
}

impl Default for Run {
    fn default() -> Run {
        Run {
            seed: 0,
            steps: 200_000,
            batch: 256,
            accumulate: 1,
            schedule: Schedule::Constant,
            warmup: 0,
            floor: 0.0,
            broken: Broken::Stop,
            save_every: 1000,
            keep: 3,
            validate_every: 1000,
            validate: 512,
            pictures_every: 1000,
        }
    }
}

/// The course of a learning rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Schedule {
    /// It stays.
    Constant,
    /// Half a cosine down to the floor at the last step.
    Cosine,
}

/// What to do about a step that is not finite.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Broken {
    /// Go on with the next batch; the weights stay as they were.
    Skip,
    /// End the run.
    Stop,
}

impl Run {
    /// What the optimisers' rates are multiplied by in the step that `done` others came before.
    pub fn rate(&self, done: u64) -> f64 {
        if done < self.warmup {
            return (done + 1) as f64 / self.warmup as f64;
        }
        match self.schedule {
            Schedule::Constant => 1.0,
            Schedule::Cosine => {
                let whole = self.steps.saturating_sub(self.warmup).max(1) as f64;
                let gone = ((done - self.warmup) as f64 / whole).min(1.0);
                self.floor + (1.0 - self.floor) * 0.5 * (1.0 + (PI * gone).cos())
            }
        }
    }

    /// Whether such a run can be.
    ///
    /// # Errors
    /// `InvalidArgument` that names the key.
    pub fn check(&self) -> Result<()> {
        let positive = [
            ("steps", self.steps),
            ("batch", self.batch as u64),
            ("save_every", self.save_every),
            ("keep", self.keep as u64),
            ("validate_every", self.validate_every),
            ("validate", self.validate as u64),
            ("pictures_every", self.pictures_every),
        ];
        for (key, value) in positive {
            if value == 0 {
                return Err(Error::invalid(format!("recipe: run.{key} is 0, expected at least 1")));
            }
        }
        if self.accumulate == 0 || !self.batch.is_multiple_of(self.accumulate) {
            let Run { batch, accumulate, .. } = self;
            return Err(Error::invalid(format!(
                "recipe: run.accumulate is {accumulate}, expected a divisor of run.batch, {batch}"
            )));
        }
        if !(0.0..=1.0).contains(&self.floor) {
            return Err(Error::invalid(format!("recipe: run.floor is {}, expected 0 to 1", self.floor)));
        }
        Ok(())
    }
}
