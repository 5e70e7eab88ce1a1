use crate::error::{Error, Result};
use crate::image::Picture;

/// Which squares of a picture are encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Views {
    /// The centre crop.
    Centre,
    /// The centre crop, and its mirror image.
    Flip,
    /// Of the centre crop `int(1.1 * size)` the corners, top left, top right, bottom left, bottom right, and the
    /// middle, then the same of its mirror image: the paper's.
    TenCrop,
}

impl Views {
    /// All there are.
    pub const ALL: [Views; 3] = [Views::Centre, Views::Flip, Views::TenCrop];

    /// The name in files and arguments.
    pub const fn name(self) -> &'static str {
        match self {
            Views::Centre => "centre",
            Views::Flip => "flip",
            Views::TenCrop => "ten-crop",
        }
    }

    /// How many squares.
    pub const fn count(self) -> usize {
        match self {
            Views::Centre => 1,
            Views::Flip => 2,
            Views::TenCrop => 10,
        }
    }

    /// The views of a name.
    ///
    /// # Errors
    /// `InvalidArgument` for a name of none.
    pub fn from_name(name: &str) -> Result<Views> {
        let found = Views::ALL.into_iter().find(|v| v.name() == name);
        found.ok_or_else(|| Error::invalid(format!("views {name:?}: expected centre, flip or ten-crop")))
    }

    /// The squares of a picture, `size` pixels each.
    ///
    /// # Errors
    /// As [`Picture::center_crop`].
    pub fn of(self, picture: &Picture, size: usize) -> Result<Vec<Picture>> {
        let mirrored = |picture: &Picture| {
            let mut other = picture.clone();
            other.mirror();
            other
        };
        let whole = match self {
            Views::Centre => return Ok(vec![picture.center_crop(size)?]),
            Views::Flip => {
                let one = picture.center_crop(size)?;
                let other = mirrored(&one);
                return Ok(vec![one, other]);
            }
            Views::TenCrop => picture.center_crop((1.1 * size as f64) as usize)?,
        };
        let far = whole.width() - size;
        // As torchvision rounds it.
        let middle = (far as f64 / 2.0).round_ties_even() as usize;
        let places = [(0, 0), (far, 0), (0, far), (far, far), (middle, middle)];
        let five = |picture: Picture| places.map(|(x, y)| picture.crop(x, y, size, size));
        let other = mirrored(&whole);
        five(whole).into_iter().chain(five(other)).collect()
    }
}
