use super::{Gaussian, Moments, inception_score};
use crate::error::{Error, Result};
use crate::exec::Eager;
use crate::image::Picture;
use crate::teachers::Inception;
use crate::tensor::Tensor;

/// What is wanted of pictures beside the mean and covariance of their features.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// The features themselves, for precision and recall: 8 KB a picture.
    pub features: bool,
    /// Mean and covariance of the spatial features, for sFID.
    pub spatial: bool,
    /// The classes' probabilities, for the inception score: 4 KB a picture.
    pub classes: bool,
}

/// What Inception made of pictures that come in parts. A picture is a row of numbers: its feature, then as wanted its
/// spatial feature and its classes' probabilities.
#[derive(Clone, Debug)]
pub struct Crowd {
    wanted: Wanted,
    /// Rows that are not in the moments yet: these take in parts of one size, so that the bits do not depend on the
    /// parts that pictures come in.
    pending: Vec<f32>,
    moments: Moments,
    spatial: Option<Moments>,
    features: Vec<f32>,
    probabilities: Vec<f32>,
}

/// Rows that the moments take in at once.
const PART: usize = 128;

impl Crowd {
    /// Of no picture yet.
    ///
    /// # Errors
    /// `InvalidArgument` if ever.
    pub fn new(wanted: Wanted) -> Result<Crowd> {
        let spatial = wanted.spatial.then(|| Moments::new(Inception::SPATIAL)).transpose()?;
        let moments = Moments::new(Inception::WIDTH)?;
        let (pending, features, probabilities) = (Vec::new(), Vec::new(), Vec::new());
        Ok(Crowd { wanted, pending, moments, spatial, features, probabilities })
    }

    /// Numbers of a row.
    pub fn width(wanted: Wanted) -> usize {
        let optional = |wanted, width| if wanted { width } else { 0 };
        Inception::WIDTH
            + optional(wanted.spatial, Inception::SPATIAL)
            + optional(wanted.classes, Inception::CLASSES)
    }

    /// The rows of pictures, which may differ in size; those of one size that follow each other are looked at together.
    ///
    /// # Errors
    /// `InvalidArgument` when the network makes of one what is no finite number; the operations'; `OutOfMemory`.
    pub fn look(
        e: &Eager<'_>,
        inception: &Inception,
        pictures: &[Picture],
        wanted: Wanted,
    ) -> Result<Vec<f32>> {
        let mut rows = Vec::with_capacity(pictures.len() * Crowd::width(wanted));
        for alike in pictures.chunk_by(|a, b| (a.width(), a.height()) == (b.width(), b.height())) {
            let judged = inception.judge(e, &tensor(e, alike)?)?;
            let [features, spatial, logits] =
                [judged.features.on_host()?, judged.spatial.on_host()?, judged.logits.on_host()?];
            let features = features.data::<f32>()?.chunks_exact(Inception::WIDTH);
            let spatial = spatial.data::<f32>()?.chunks_exact(Inception::SPATIAL);
            let logits = logits.data::<f32>()?.chunks_exact(Inception::CLASSES);
            for ((feature, spatial), logits) in features.zip(spatial).zip(logits) {
                let begin = rows.len();
                rows.extend_from_slice(feature);
                if wanted.spatial {
                    rows.extend_from_slice(spatial);
                }
                if wanted.classes {
                    rows.extend(softmax(logits));
                }
                if let Some(number) = rows[begin..].iter().position(|v| !v.is_finite()) {
                    return Err(Error::invalid(format!(
                        "Inception makes {} of a picture (number {number}): are its weights damaged?",
                        rows[begin + number]
                    )));
                }
            }
        }
        Ok(rows)
    }

    /// Takes in rows.
    ///
    /// # Errors
    /// `InvalidArgument` for part of one, or a number that is not finite.
    pub fn push(&mut self, rows: &[f32]) -> Result<()> {
        let width = Crowd::width(self.wanted);
        super::rows("what Inception made", rows, width)?;
        for row in rows.chunks_exact(width) {
            if self.wanted.features {
                self.features.extend_from_slice(&row[..Inception::WIDTH]);
            }
            if self.wanted.classes {
                self.probabilities.extend_from_slice(&row[width - Inception::CLASSES..]);
            }
            self.pending.extend_from_slice(row);
            if self.pending.len() == PART * width {
                let part = std::mem::take(&mut self.pending);
                take_in(&mut self.moments, &mut self.spatial, &part, width)?;
            }
        }
        Ok(())
    }

    /// Mean and covariance of the features, and of the spatial ones where they are wanted.
    ///
    /// # Errors
    /// As [`Moments::gaussian`].
    pub fn gaussians(&self) -> Result<(Gaussian, Option<Gaussian>)> {
        let (mut moments, mut spatial) = (self.moments.clone(), self.spatial.clone());
        take_in(&mut moments, &mut spatial, &self.pending, Crowd::width(self.wanted))?;
        Ok((moments.gaussian()?, spatial.map(|s| s.gaussian()).transpose()?))
    }

    /// Their inception score, mean and deviation, in splits of so many pictures.
    ///
    /// # Errors
    /// As [`inception_score`].
    pub fn score(&self, split: usize) -> Result<(f64, f64)> {
        inception_score(&self.probabilities, Inception::CLASSES, split)
    }

    /// Of how many pictures each class is the likeliest, where classes are wanted.
    pub fn likeliest(&self) -> Vec<u64> {
        let mut counts = vec![0; Inception::CLASSES];
        for row in self.probabilities.chunks_exact(Inception::CLASSES) {
            let best =
                (1..row.len()).fold(0, |best, class| if row[class] > row[best] { class } else { best });
            counts[best] += 1;
        }
        counts
    }

    /// The features (n, 2048), where they are wanted.
    pub fn features(&self) -> &[f32] {
        &self.features
    }
}

fn take_in(moments: &mut Moments, spatial: &mut Option<Moments>, rows: &[f32], width: usize) -> Result<()> {
    let columns = |first: usize, count: usize| -> Vec<f32> {
        rows.chunks_exact(width).flat_map(|row| &row[first..first + count]).copied().collect()
    };
    moments.push(&columns(0, Inception::WIDTH))?;
    match spatial {
        Some(spatial) => spatial.push(&columns(Inception::WIDTH, Inception::SPATIAL)),
        None => Ok(()),
    }
}

fn softmax(logits: &[f32]) -> impl Iterator<Item = f32> {
    let most = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let powers = logits.iter().map(move |l| f64::from(l - most).exp());
    let sum: f64 = powers.clone().sum();
    powers.map(move |p| (p / sum) as f32)
}

/// Pictures of one size as a network takes them, (n, H, W, 3) in \[-1, 1\].
pub(super) fn tensor(e: &Eager<'_>, pictures: &[Picture]) -> Result<Tensor> {
    let (width, height) = pictures.first().map_or((0, 0), |p| (p.width(), p.height()));
    e.cx().written::<f32>([pictures.len(), height, width, 3], |all| {
        let each = all.chunks_exact_mut((height * width * 3).max(1));
        // One of another size has no such rows.
        pictures
            .iter()
            .zip(each)
            .try_for_each(|(picture, values)| picture.view().read_into(values, 0..height))
    })
}
