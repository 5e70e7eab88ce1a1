use super::config::Config;
use crate::backend::Workspace;
use crate::error::{Error, Result};
use crate::ops::sample::Sample;
use crate::tensor::{DType, Desc, Tensor};

/// How codes are drawn.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sampling {
    /// Scale of classifier-free guidance: logits = null + s * (class - null). Up to 1 there is none, and no
    /// null-class row is computed. 2 is the paper's.
    pub guidance: f32,
    /// Divides the logits, after guidance; above 0.
    pub temperature: f32,
    /// How many of the largest logits to draw from, and all that equal the last of them; 0: all. 1 is greedy.
    pub top_k: usize,
    /// Draw from the most probable codes of what top-k left, up to the first that passes this sum; 1: all.
    pub top_p: f32,
    /// Key of the random numbers. A code depends on (seed, image, position, sub-code) and the logits alone, so
    /// an image is the same in any batch, on any number of threads.
    pub seed: u64,
    /// Number of the first image of the call: a set that is made in several calls gives each its own.
    pub first_image: u32,
    /// Positions, row by row, that the result has; 0: the whole grid. The codes of the rest are 0.
    pub steps: usize,
    /// Positions that are there already, kept as they are: the beginning of a picture to finish.
    pub given: usize,
}

impl Default for Sampling {
    fn default() -> Sampling {
        Sampling {
            guidance: 2.0,
            temperature: 1.0,
            top_k: 0,
            top_p: 1.0,
            seed: 0,
            first_image: 0,
            steps: 0,
            given: 0,
        }
    }
}

impl Sampling {
    /// Whether the null class is computed beside each image's own.
    pub fn guided(&self) -> bool {
        self.guidance > 1.0
    }

    /// Sequences that `count` images take.
    pub(super) fn rows(&self, count: usize) -> usize {
        count.saturating_mul(if self.guided() { 2 } else { 1 })
    }

    /// The last position, exclusive, of a model's grid.
    pub(super) fn end(&self, config: &Config) -> usize {
        if self.steps == 0 { config.positions() } else { self.steps }
    }

    pub(super) fn check(&self, config: &Config) -> Result<()> {
        self.draw(0).check()?;
        let positions = config.positions();
        for (what, value) in [("steps", self.steps), ("given positions", self.given)] {
            if value > positions {
                return Err(Error::invalid(format!("{value} {what}: the grid has {positions} positions")));
            }
        }
        Ok(())
    }

    /// How a sub-code is drawn, wherever that is.
    pub(super) fn draw(&self, sub_code: usize) -> Sample {
        Sample {
            guidance: self.guidance,
            temperature: self.temperature,
            top_k: self.top_k,
            top_p: self.top_p,
            seed: self.seed,
            image: self.first_image,
            position: 0,
            sub_code: sub_code as u32,
        }
    }
}

/// Room for indices, that the processor writes.
pub(super) fn indices(workspace: &Workspace, extents: [usize; 3]) -> Result<Tensor> {
    workspace.host_tensor(Desc::plain(extents, DType::U32))
}
