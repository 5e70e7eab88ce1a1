//! Networks that others trained and that judge ours: the perceptual distance (LPIPS), the discriminator, the frozen
//! towers whose class features the semantic branches learn to predict (CLIP, DINOv2), and Inception, whose features
//! distances of pictures are measured in.
//!
//! Pictures are (n, H, W, 3), in \[-1, 1\], everywhere.

mod clip;
mod dinov2;
mod discriminator;
mod inception;
mod lpips;
mod names;
mod patch_gan;
mod preprocess;
mod style_gan2;
mod vit;

pub use clip::{Clip, ClipShape};
pub use dinov2::DinoV2;
pub use discriminator::Discriminator;
pub use inception::{Inception, Judgement, Variant};
pub use lpips::Lpips;
pub use patch_gan::PatchGan;
pub use style_gan2::StyleGan2;

use crate::error::{Error, Result};
use crate::exec::Exec;
use crate::weights::Source;

/// A frozen tower that gives a picture a class feature.
pub enum Teacher {
    /// CLIP's picture tower (Radford et al., 2021).
    Clip(Clip),
    /// DINOv2 (Oquab et al., 2023).
    DinoV2(DinoV2),
}

impl Teacher {
    /// The tower in a file, known by its names.
    ///
    /// # Errors
    /// `Format` when it is neither, or a weight is missing or has a wrong shape.
    pub fn open(source: &Source) -> Result<Teacher> {
        if Clip::recognizes(source.listing()) {
            return Ok(Teacher::Clip(Clip::open(source)?));
        }
        if DinoV2::recognizes(source.listing()) {
            return Ok(Teacher::DinoV2(DinoV2::open(source)?));
        }
        Err(Error::format(format!(
            "{}: no teacher: expected embeddings.class_embedding (CLIP) or embeddings.cls_token (DINOv2)",
            source.name()
        )))
    }

    /// Elements of a class feature.
    pub fn width(&self) -> usize {
        match self {
            Teacher::Clip(tower) => tower.width(),
            Teacher::DinoV2(tower) => tower.width(),
        }
    }

    /// The class features (n, width) of pictures.
    ///
    /// # Errors
    /// The operations'.
    pub fn class_features<E: Exec>(&self, e: &E, pictures: &E::Value) -> Result<E::Value> {
        match self {
            Teacher::Clip(tower) => tower.class_features(e, pictures),
            Teacher::DinoV2(tower) => tower.class_features(e, pictures),
        }
    }
}
