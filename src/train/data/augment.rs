use super::Purpose;
use crate::error::{Error, Result};
use crate::image::Picture;
use crate::rng::Stream;
use serde::{Deserialize, Serialize};

/// What becomes of a picture before the network sees it; a recipe's `[data]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Augment {
    /// Side of the squares that come out, in pixels.
    pub side: usize,
    /// Which square of the picture.
    pub crop: Crop,
    /// Whether every other one, by chance, is mirrored left to right.
    pub flip: bool,
}

/// Which square of a picture is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Crop {
    /// The shorter side is made a uniform integer in [side, ceil(side / 0.8)] and a square of it cut out anywhere.
    Random,
    /// The shorter side is made `side`, and the middle cut out.
    Centre,
}

impl Default for Augment {
    /// The paper's: 256 pixels, random crops, flips.
    fn default() -> Augment {
        Augment { side: 256, crop: Crop::Random, flip: true }
    }
}

/// How many times as long as the shorter the longer side may be. Resizing keeps the proportions, so that a line of
/// pixels would else become a picture that fills the memory.
const LONGEST: usize = 64;

impl Augment {
    /// The square of a picture in an epoch. The stream of (seed, epoch, index) gives, in this order, what is needed of:
    /// the shorter side, the square's y, its x, the flip.
    ///
    /// # Errors
    /// `Unsupported` for a picture more than 64 times as long as wide; those of [`Augment::check`] and
    /// [`Picture::resize`].
    pub fn apply(&self, picture: &Picture, seed: u64, epoch: u32, index: u32) -> Result<Picture> {
        self.check()?;
        let (width, height) = (picture.width(), picture.height());
        if width.max(height) / LONGEST > width.min(height) {
            return Err(Error::unsupported(format!(
                "a picture of {width} x {height}, expected no side more than {LONGEST} times the other"
            )));
        }
        let mut stream = Stream::new(seed, [index, epoch, Purpose::Augment as u32]);
        let mut square = match self.crop {
            Crop::Centre => picture.center_crop(self.side)?,
            Crop::Random => {
                let most = (self.side * 5).div_ceil(4);
                let resized = picture.resize_shorter(self.side + below(&mut stream, most - self.side + 1))?;
                let y = below(&mut stream, resized.height() - self.side + 1);
                let x = below(&mut stream, resized.width() - self.side + 1);
                resized.crop(x, y, self.side, self.side)?
            }
        };
        if self.flip && stream.below(2) == 1 {
            square.mirror();
        }
        Ok(square)
    }

    /// Takes the side of a model's pictures where none was asked for.
    ///
    /// # Errors
    /// `InvalidArgument` when another one was.
    pub(in crate::train) fn fit(&mut self, side: usize) -> Result<()> {
        if self.side == Augment::default().side {
            self.side = side;
        }
        if self.side != side {
            return Err(Error::invalid(format!(
                "recipe: data.side is {}, expected model.image_size, {side}",
                self.side
            )));
        }
        Ok(())
    }

    /// Whether such squares can be.
    ///
    /// # Errors
    /// `InvalidArgument` for a side of 0 or more than 16384.
    pub fn check(&self) -> Result<()> {
        match self.side {
            1..=16384 => Ok(()),
            side => Err(Error::invalid(format!("data.side is {side}, expected 1 to 16384 pixels"))),
        }
    }
}

fn below(stream: &mut Stream, n: usize) -> usize {
    stream.below(n as u32) as usize
}
