use super::rows;
use crate::error::{Error, Result};
use faer::linalg::matmul::triangular::{BlockStructure, matmul};
use faer::{Accum, Mat, MatRef, Par};

/// Mean and covariance of features that come in parts and are not kept: in f64, about the mean so far, so that nothing
/// cancels (Chan, Golub, LeVeque, "Updating formulae and a pairwise algorithm for computing sample variances", 1982).
#[derive(Clone, Debug)]
pub struct Moments {
    count: u64,
    mean: Vec<f64>,
    /// Sums of products of what is left without the mean; the lower triangle only.
    scatter: Mat<f64>,
}

/// A normal distribution.
#[derive(Clone, Debug)]
pub struct Gaussian {
    /// How many features it was made of; 0 when that is not known.
    pub count: u64,
    /// (dim)
    pub mean: Vec<f64>,
    /// (dim, dim), symmetric.
    pub covariance: Mat<f64>,
}

impl Moments {
    /// Of nothing yet, of features of `dim` numbers.
    ///
    /// # Errors
    /// `InvalidArgument` for 0, or more than 65536.
    pub fn new(dim: usize) -> Result<Moments> {
        if !(1..=1 << 16).contains(&dim) {
            return Err(Error::invalid(format!("features of {dim} numbers, expected 1 to 65536")));
        }
        Ok(Moments { count: 0, mean: vec![0.0; dim], scatter: Mat::zeros(dim, dim) })
    }

    /// How many features were taken in.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Numbers of a feature.
    pub fn dim(&self) -> usize {
        self.mean.len()
    }

    /// Takes in features (n, dim).
    ///
    /// # Errors
    /// `InvalidArgument` for a part of a row, or a number that is not finite; then nothing was taken in.
    pub fn push(&mut self, features: &[f32]) -> Result<()> {
        let dim = self.dim();
        rows("features", features, dim)?;
        // As many as keep the copy small.
        for part in features.chunks(256 * dim) {
            let n = part.len() / dim;
            let mut block = Mat::from_fn(n, dim, |i, j| f64::from(part[i * dim + j]));
            let mean: Vec<f64> =
                (0..dim).map(|j| (0..n).map(|i| block[(i, j)]).sum::<f64>() / n as f64).collect();
            for (j, mean) in mean.iter().enumerate() {
                block.col_mut(j).iter_mut().for_each(|value| *value -= mean);
            }
            let mut scatter = Mat::zeros(dim, dim);
            add_lower(&mut scatter, block.transpose(), block.as_ref(), 1.0);
            self.merge(&Moments { count: n as u64, mean, scatter })?;
        }
        Ok(())
    }

    /// Takes in all that others did.
    ///
    /// # Errors
    /// `InvalidArgument` when their features are of another size.
    pub fn merge(&mut self, others: &Moments) -> Result<()> {
        if others.dim() != self.dim() {
            return Err(Error::invalid(format!(
                "features of {} numbers, expected {}",
                others.dim(),
                self.dim()
            )));
        }
        if others.count == 0 {
            return Ok(());
        }
        let (n, m) = (self.count as f64, others.count as f64);
        let apart: Vec<f64> =
            others.mean.iter().zip(&self.mean).map(|(theirs, ours)| theirs - ours).collect();
        let apart = MatRef::from_column_major_slice(&apart, self.dim(), 1);
        self.scatter += &others.scatter;
        add_lower(&mut self.scatter, apart, apart.transpose(), n * m / (n + m));
        for (mean, apart) in self.mean.iter_mut().zip(apart.col(0).iter()) {
            *mean += apart * (m / (n + m));
        }
        self.count += others.count;
        Ok(())
    }

    /// Mean and covariance (divided by count - 1).
    ///
    /// # Errors
    /// `InvalidArgument` for less than two features.
    pub fn gaussian(&self) -> Result<Gaussian> {
        if self.count < 2 {
            return Err(Error::invalid(format!(
                "a covariance of {} features, expected at least 2",
                self.count
            )));
        }
        let scale = 1.0 / (self.count - 1) as f64;
        let covariance =
            Mat::from_fn(self.dim(), self.dim(), |i, j| self.scatter[(i.max(j), i.min(j))] * scale);
        Ok(Gaussian { count: self.count, mean: self.mean.clone(), covariance })
    }
}

/// Adds the lower triangle of a product.
fn add_lower(to: &mut Mat<f64>, a: MatRef<'_, f64>, b: MatRef<'_, f64>, scale: f64) {
    use BlockStructure::{Rectangular, TriangularLower};
    matmul(to, TriangularLower, Accum::Add, a, Rectangular, b, Rectangular, scale, Par::Seq);
}

impl Gaussian {
    /// One that was computed elsewhere; `covariance` is (dim, dim).
    ///
    /// # Errors
    /// `InvalidArgument` when the sizes do not fit or a number is not finite.
    pub fn new(mean: Vec<f64>, covariance: &[f64]) -> Result<Gaussian> {
        let dim = mean.len();
        if dim == 0 || dim.checked_mul(dim) != Some(covariance.len()) {
            return Err(Error::invalid(format!("{} numbers are no covariance of {dim}", covariance.len())));
        }
        if !mean.iter().chain(covariance).all(|v| v.is_finite()) {
            return Err(Error::invalid("mean and covariance: expected finite numbers"));
        }
        // Rounding may have told the halves apart.
        let half = |i: usize, j: usize| 0.5 * (covariance[i * dim + j] + covariance[j * dim + i]);
        Ok(Gaussian { count: 0, covariance: Mat::from_fn(dim, dim, half), mean })
    }

    /// Whether there were too few features for the covariance to have full rank, so that distances come out too small
    /// or too large, and depend on the count.
    pub fn is_short(&self) -> bool {
        self.count > 0 && self.count <= self.mean.len() as u64
    }
}
