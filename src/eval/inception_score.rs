use super::rows;
use crate::error::{Error, Result};

/// The inception score (Salimans et al., 2016) of probabilities (n, classes): exp of the mean divergence of a picture's
/// classes from those of all pictures, for each run of `split` pictures (the last may be shorter); the mean of these
/// and their deviation.
///
/// # Errors
/// `InvalidArgument` for no picture, a split of 0, or what is no probability.
pub fn inception_score(probabilities: &[f32], classes: usize, split: usize) -> Result<(f64, f64)> {
    let n = rows("probabilities", probabilities, classes)?;
    if n == 0 || split == 0 {
        return Err(Error::invalid(format!("an inception score of {n} pictures in splits of {split}")));
    }
    if let Some(at) = probabilities.iter().position(|p| !(0.0..=1.001).contains(p)) {
        return Err(Error::invalid(format!(
            "probabilities: class {} of picture {} has {}, expected 0 to 1",
            at % classes,
            at / classes,
            probabilities[at]
        )));
    }
    let scores: Vec<f64> =
        probabilities.chunks(split.saturating_mul(classes)).map(|part| score(part, classes)).collect();
    let mean = scores.iter().sum::<f64>() / scores.len() as f64;
    let square = scores.iter().map(|s| (s - mean) * (s - mean)).sum::<f64>() / scores.len() as f64;
    Ok((mean, square.sqrt()))
}

fn score(part: &[f32], classes: usize) -> f64 {
    let n = (part.len() / classes) as f64;
    let mut all = vec![0.0; classes];
    for row in part.chunks_exact(classes) {
        all.iter_mut().zip(row).for_each(|(sum, p)| *sum += f64::from(*p));
    }
    // A class that nothing has tells nothing.
    let term =
        |(&p, sum): (&f32, &f64)| if p > 0.0 { f64::from(p) * (f64::from(p) * n / sum).ln() } else { 0.0 };
    let divergence = |row: &[f32]| row.iter().zip(&all).map(term).sum::<f64>();
    (part.chunks_exact(classes).map(divergence).sum::<f64>() / n).exp()
}
