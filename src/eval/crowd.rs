use super::{Gaussian, Moments, inception_score};
use crate::error::Result;
use crate::exec::Eager;
use crate::image::Picture;
use crate::teachers::Inception;
use crate::tensor::{DType, Desc, Tensor};

/// What Inception made of pictures that come in parts and are not kept.
#[derive(Clone, Debug)]
pub struct Crowd {
    moments: Moments,
    /// (n, classes)
    probabilities: Vec<f32>,
    classes: usize,
}

impl Crowd {
    /// Of no picture yet.
    ///
    /// # Errors
    /// `InvalidArgument` if ever.
    pub fn new() -> Result<Crowd> {
        let moments = Moments::new(Inception::WIDTH)?;
        Ok(Crowd { moments, probabilities: Vec::new(), classes: Inception::CLASSES })
    }

    /// Looks at pictures of one size.
    ///
    /// # Errors
    /// `InvalidArgument` when the sizes differ; the operations'; `OutOfMemory`.
    pub fn see(&mut self, e: &Eager<'_>, inception: &Inception, pictures: &[Picture]) -> Result<()> {
        if pictures.is_empty() {
            return Ok(());
        }
        let judged = inception.judge(e, &tensor(e, pictures)?)?;
        self.moments.push(judged.features.data::<f32>()?)?;
        for logits in judged.logits.data::<f32>()?.chunks_exact(self.classes) {
            let most = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            let powers = logits.iter().map(|l| f64::from(l - most).exp());
            let sum: f64 = powers.clone().sum();
            self.probabilities.extend(powers.map(|p| (p / sum) as f32));
        }
        Ok(())
    }

    /// Mean and covariance of their features.
    ///
    /// # Errors
    /// As [`Moments::gaussian`].
    pub fn gaussian(&self) -> Result<Gaussian> {
        self.moments.gaussian()
    }

    /// Their inception score, mean and deviation, in splits of so many pictures.
    ///
    /// # Errors
    /// As [`inception_score`].
    pub fn score(&self, split: usize) -> Result<(f64, f64)> {
        inception_score(&self.probabilities, self.classes, split)
    }
}

/// Pictures of one size as a network takes them, (n, H, W, 3) in \[-1, 1\].
pub(super) fn tensor(e: &Eager<'_>, pictures: &[Picture]) -> Result<Tensor> {
    let (width, height) = pictures.first().map_or((0, 0), |p| (p.width(), p.height()));
    let mut all = e.cx().workspace.tensor(Desc::plain([pictures.len(), height, width, 3], DType::F32))?;
    let each = all.data_mut::<f32>()?.chunks_exact_mut((height * width * 3).max(1));
    for (picture, values) in pictures.iter().zip(each) {
        // One of another size has no such rows.
        picture.view().read_into(values, 0..height)?;
    }
    Ok(all)
}
