use super::Gaussian;
use crate::error::{Error, Result};
use faer::{Mat, Side};

/// The squared Fréchet distance of two normal distributions, |m - n|^2 + tr(A + B - 2 (A B)^(1/2)) (Dowson and Landau,
/// 1982): FID when they are of Inception's features (Heusel et al., 2017).
///
/// tr (A B)^(1/2) is the sum of the roots of the eigenvalues of the symmetric A^(1/2) B A^(1/2), which A B shares; what
/// rounding makes negative counts as 0.
///
/// # Errors
/// `InvalidArgument` when the sizes differ or the numbers are such that the eigenvalues do not converge.
pub fn frechet(a: &Gaussian, b: &Gaussian) -> Result<f64> {
    let dim = a.mean.len();
    if b.mean.len() != dim {
        return Err(Error::invalid(format!("features of {dim} and of {} numbers", b.mean.len())));
    }
    let failed = |e| Error::invalid(format!("the covariances' eigenvalues were not found: {e:?}"));
    let eigen = a.covariance.self_adjoint_eigen(Side::Lower).map_err(failed)?;
    let vectors = eigen.U();
    let roots: Vec<f64> = eigen.S().column_vector().iter().map(|value| value.max(0.0).sqrt()).collect();
    let scaled = Mat::from_fn(dim, dim, |i, j| vectors[(i, j)] * roots[j]);
    let root = &scaled * vectors.transpose();
    let product = &root * &b.covariance * &root;
    let values = product.self_adjoint_eigenvalues(Side::Lower).map_err(failed)?;
    let trace = |m: &Mat<f64>| (0..dim).map(|i| m[(i, i)]).sum::<f64>();
    let apart: f64 = a.mean.iter().zip(&b.mean).map(|(a, b)| (a - b) * (a - b)).sum();
    let shared: f64 = values.iter().map(|value| value.max(0.0).sqrt()).sum();
    Ok(apart + trace(&a.covariance) + trace(&b.covariance) - 2.0 * shared)
}
