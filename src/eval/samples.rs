use super::study::{Study, bytes_of, numbers_of};
use super::{Crowd, Gaussian, Neighbours, Wanted, frechet, precision_recall};
use crate::backend::Device;
use crate::error::{Error, Result};
use crate::exec::Eager;
use crate::image::Picture;
use crate::npz::Npz;
use crate::teachers::Inception;

/// What Inception makes of pictures: a [`Study`] whose entries are the rows of a [`Crowd`].
pub struct Watching<'a> {
    device: &'a Device,
    inception: &'a Inception,
    size: Option<usize>,
    wanted: Wanted,
    crowd: Crowd,
}

impl<'a> Watching<'a> {
    /// Of pictures as they are, or of their centre crops of `size` pixels a side.
    ///
    /// # Errors
    /// As [`Crowd::new`].
    pub fn new(
        device: &'a Device,
        inception: &'a Inception,
        size: Option<usize>,
        wanted: Wanted,
    ) -> Result<Watching<'a>> {
        Ok(Watching { device, inception, size, wanted, crowd: Crowd::new(wanted)? })
    }

    /// All that was taken in.
    pub fn finish(self) -> Crowd {
        self.crowd
    }
}

impl Study for Watching<'_> {
    fn width(&self) -> usize {
        4 * Crowd::width(self.wanted)
    }

    fn at_once(&self) -> usize {
        // Inception sees all pictures at one size.
        8
    }

    fn prepare(&self, picture: Picture) -> Result<Picture> {
        match self.size {
            Some(size) => picture.center_crop(size),
            None => Ok(picture),
        }
    }

    fn look(&self, pictures: &[Picture]) -> Result<Vec<u8>> {
        let workspace = self.device.workspace(None);
        let e = Eager::new(self.device, &workspace);
        let rows = Crowd::look(&e, self.inception, pictures, self.wanted)?;
        Ok(bytes_of(&rows).collect())
    }

    fn take(&mut self, entry: &[u8]) -> Result<()> {
        self.crowd.push(&numbers_of(entry))
    }
}

/// Pictures that others are held against: their normal distributions, and their features where they are known.
#[derive(Clone, Debug)]
pub struct Reference {
    /// Of the features.
    pub features: Gaussian,
    /// Of the spatial features.
    pub spatial: Option<Gaussian>,
    /// Each picture's feature, (n, 2048), for precision and recall.
    pub each: Option<Vec<f32>>,
}

impl Reference {
    /// Of pictures that were looked at with all wanted.
    ///
    /// # Errors
    /// As [`Crowd::gaussians`].
    pub fn of(crowd: &Crowd) -> Result<Reference> {
        let (features, spatial) = crowd.gaussians()?;
        let each = Some(crowd.features().to_vec()).filter(|each| !each.is_empty());
        Ok(Reference { features, spatial, each })
    }

    /// The distributions that a file of the ADM protocol has: `mu`, `sigma`, `mu_s` and `sigma_s`; `None` when it has no
    /// `mu`.
    ///
    /// # Errors
    /// `Format` when one is missing beside the other or is of another size; `Io`.
    pub fn stored(npz: &Npz) -> Result<Option<Reference>> {
        let gaussian = |mu: &str, sigma: &str, dim: usize| -> Result<Option<Gaussian>> {
            let shown = npz.path().display();
            let (mean, covariance) = match (npz.floats(mu)?, npz.floats(sigma)?) {
                (None, None) => return Ok(None),
                (Some(mean), Some(covariance)) => (mean, covariance),
                _ => {
                    return Err(Error::format(format!(
                        "{shown}: {mu} and {sigma} belong together, one is missing"
                    )));
                }
            };
            if mean.len() != dim || covariance.len() != dim * dim {
                return Err(Error::format(format!(
                    "{shown}: {mu} of {} and {sigma} of {} numbers, expected {dim} and {dim} x {dim}",
                    mean.len(),
                    covariance.len()
                )));
            }
            Gaussian::new(mean, &covariance).map(Some)
        };
        let spatial = gaussian("mu_s", "sigma_s", Inception::SPATIAL)?;
        let features = gaussian("mu", "sigma", Inception::WIDTH)?;
        Ok(features.map(|features| Reference { features, spatial, each: None }))
    }
}

/// How made pictures stand beside real ones.
#[derive(Clone, Debug)]
pub struct Standing {
    /// The Fréchet distance of the features.
    pub fid: f64,
    /// That of the spatial features, where the reference has them.
    pub sfid: Option<f64>,
    /// Mean and deviation over the splits.
    pub inception_score: (f64, f64),
    /// Where the reference has features.
    pub neighbours: Option<Neighbours>,
    /// Whether either side has fewer pictures than features have numbers, so that the distances say little.
    pub too_few: bool,
}

/// The neighbour that precision and recall go by.
const NEIGHBOUR: usize = 3;

/// Holds made pictures, looked at with all wanted, against a reference; the inception score in splits of `split`.
///
/// # Errors
/// As [`frechet`], [`precision_recall`] and [`Crowd::score`].
pub fn standing(made: &Crowd, reference: &Reference, split: usize, threads: usize) -> Result<Standing> {
    let (features, spatial) = made.gaussians()?;
    let sfid = match (&spatial, &reference.spatial) {
        (Some(made), Some(real)) => Some(frechet(made, real)?),
        _ => None,
    };
    let neighbours = match &reference.each {
        Some(each) if each.len().min(made.features().len()) > NEIGHBOUR * Inception::WIDTH => {
            Some(precision_recall(each, made.features(), Inception::WIDTH, NEIGHBOUR, threads)?)
        }
        _ => None,
    };
    Ok(Standing {
        fid: frechet(&features, &reference.features)?,
        sfid,
        inception_score: made.score(split)?,
        neighbours,
        too_few: features.is_short() || reference.features.is_short(),
    })
}
