use super::{PixelFormat, View, ViewMut};
use crate::error::{Error, Result};

/// A picture of our own: packed RGB bytes.
#[derive(Clone, PartialEq, Eq)]
pub struct Picture {
    width: usize,
    height: usize,
    pixels: Vec<u8>,
}

impl Picture {
    /// A black picture.
    ///
    /// # Errors
    /// `InvalidArgument` when a side is 0 or the size is not addressable, `OutOfMemory`.
    pub fn new(width: usize, height: usize) -> Result<Picture> {
        let bytes = Picture::bytes(width, height)?;
        let mut pixels = Vec::new();
        pixels
            .try_reserve_exact(bytes)
            .map_err(|_| Error::out_of_memory(format!("no memory for a picture of {width} x {height}")))?;
        pixels.resize(bytes, 0);
        Ok(Picture { width, height, pixels })
    }

    /// A picture of bytes (height, width, 3).
    ///
    /// # Errors
    /// `InvalidArgument` when a side is 0 or the bytes are not as many as the sides say.
    pub fn from_pixels(width: usize, height: usize, pixels: Vec<u8>) -> Result<Picture> {
        let need = Picture::bytes(width, height)?;
        if pixels.len() != need {
            return Err(Error::invalid(format!(
                "a picture of {width} x {height} has {need} bytes, got {}",
                pixels.len()
            )));
        }
        Ok(Picture { width, height, pixels })
    }

    fn bytes(width: usize, height: usize) -> Result<usize> {
        if width == 0 || height == 0 {
            return Err(Error::invalid(format!("a picture of {width} x {height} has no pixels")));
        }
        let bytes = width.checked_mul(height).and_then(|n| n.checked_mul(3));
        bytes
            .filter(|&n| n <= isize::MAX as usize)
            .ok_or_else(|| Error::invalid(format!("a picture of {width} x {height} is too large to address")))
    }

    /// Pixels of a row.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Rows.
    pub fn height(&self) -> usize {
        self.height
    }

    /// The bytes, (height, width, 3), red, green, blue.
    pub fn pixels(&self) -> &[u8] {
        &self.pixels
    }

    /// The bytes, to write.
    pub fn pixels_mut(&mut self) -> &mut [u8] {
        &mut self.pixels
    }

    /// A row's bytes.
    ///
    /// # Panics
    /// When there is no such row.
    pub fn row(&self, y: usize) -> &[u8] {
        &self.pixels[y * self.width * 3..][..self.width * 3]
    }

    /// A row's bytes, to write.
    ///
    /// # Panics
    /// When there is no such row.
    pub fn row_mut(&mut self, y: usize) -> &mut [u8] {
        &mut self.pixels[y * self.width * 3..][..self.width * 3]
    }

    /// Mirrors the picture left to right.
    pub fn mirror(&mut self) {
        for row in self.pixels.chunks_exact_mut(self.width * 3) {
            row.as_chunks_mut::<3>().0.reverse();
        }
    }

    /// A view to encode from.
    pub fn view(&self) -> View<'_> {
        // The sizes were checked when the picture was made.
        View::new(&self.pixels, self.width, self.height, 0, PixelFormat::Rgb8)
            .unwrap_or_else(|_| unreachable!())
    }

    /// A view to decode into.
    pub fn view_mut(&mut self) -> ViewMut<'_> {
        ViewMut::new(&mut self.pixels, self.width, self.height, 0, PixelFormat::Rgb8)
            .unwrap_or_else(|_| unreachable!())
    }
}

impl std::fmt::Debug for Picture {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Picture({} x {})", self.width, self.height)
    }
}
