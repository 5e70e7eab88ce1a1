//! What tells how good pictures are: figures of one picture beside another, and distances of two sets of features.

mod crew;
mod crowd;
mod distance;
mod embedding;
mod inception_score;
mod journal;
mod moments;
mod neighbours;
mod reconstruction;
mod samples;
mod ssim;
mod study;

pub use crew::{Alone, Crew};
pub use crowd::{Crowd, Wanted};
pub use distance::frechet;
pub use embedding::{embed, silhouette};
pub use inception_score::inception_score;
pub use journal::Journal;
pub use moments::{Gaussian, Moments};
pub use neighbours::{Neighbours, precision_recall};
pub use reconstruction::{Judges, Measuring, Reconstruction};
pub use samples::{Reference, Standing, Watching, standing};
pub use ssim::ssim;
pub use study::{Seen, Study, study};

use crate::error::{Error, Result};

/// How many rows of `dim` numbers there are.
///
/// # Errors
/// `InvalidArgument` for a part of a row, or a number that is not finite.
fn rows(what: &str, values: &[f32], dim: usize) -> Result<usize> {
    if dim == 0 || !values.len().is_multiple_of(dim) {
        return Err(Error::invalid(format!("{what}: {} numbers are no rows of {dim}", values.len())));
    }
    match values.iter().position(|v| !v.is_finite()) {
        Some(at) => Err(Error::invalid(format!(
            "{what}: number {} of row {} is {}, expected a finite one",
            at % dim,
            at / dim,
            values[at]
        ))),
        None => Ok(values.len() / dim),
    }
}
