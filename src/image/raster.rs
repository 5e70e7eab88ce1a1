use super::PixelFormat;
use crate::error::{Error, Result};
use std::ops::Range;

/// Where the pixels of a checked view stand. Every byte that [`Raster::row`] names lies in the memory that the
/// view was made over.
#[derive(Clone, Copy, Debug)]
pub struct Raster {
    pub width: usize,
    pub height: usize,
    /// Bytes from a row to the next.
    pub stride: usize,
    /// Bytes from a plane to the next.
    pub plane: usize,
    pub format: PixelFormat,
}

impl Raster {
    /// Checks the sizes; the second value is the bytes from the first pixel's to the end of the last's.
    pub fn new(
        width: usize,
        height: usize,
        row_stride: usize,
        format: PixelFormat,
    ) -> Result<(Raster, usize)> {
        let what = || format!("{width} x {height} {} image", format.name());
        if width == 0 || height == 0 {
            return Err(Error::invalid(format!("{}: both sides must be at least 1", what())));
        }
        let huge = || Error::invalid(format!("{}, row stride {row_stride}: too large to address", what()));
        let row = width.checked_mul(format.pixel_bytes()).ok_or_else(huge)?;
        let stride = if row_stride == 0 { row } else { row_stride };
        if stride < row {
            return Err(Error::invalid(format!(
                "{}: row stride {stride} is less than the {row} bytes of a row",
                what()
            )));
        }
        let plane = stride.checked_mul(height).ok_or_else(huge)?;
        let total = plane.checked_mul(format.planes()).ok_or_else(huge)?;
        if total > isize::MAX as usize {
            return Err(huge());
        }
        Ok((Raster { width, height, stride, plane, format }, total - (stride - row)))
    }

    /// As [`Raster::new`], over a memory of `have` bytes.
    pub fn over(
        have: usize,
        width: usize,
        height: usize,
        row_stride: usize,
        format: PixelFormat,
    ) -> Result<Raster> {
        let (raster, need) = Raster::new(width, height, row_stride, format)?;
        if have < need {
            return Err(Error::invalid(format!(
                "{width} x {height} {} image, row stride {}: needs {need} bytes, the buffer has {have}",
                format.name(),
                raster.stride
            )));
        }
        Ok(raster)
    }

    /// The rectangle of `width x height` pixels at (x, y), and where its first byte is.
    pub fn crop(&self, x: usize, y: usize, width: usize, height: usize) -> Result<(Raster, usize)> {
        let inside = |at: usize, size: usize, all: usize| size > 0 && at <= all && size <= all - at;
        if !inside(x, width, self.width) || !inside(y, height, self.height) {
            return Err(Error::invalid(format!(
                "the rectangle {width} x {height} at ({x}, {y}) is empty or not inside the image of {} x {}",
                self.width, self.height
            )));
        }
        Ok((Raster { width, height, ..*self }, y * self.stride + x * self.format.pixel_bytes()))
    }

    /// Offset of a row's first byte, and its bytes.
    pub fn row(&self, y: usize, plane: usize) -> (usize, usize) {
        assert!(y < self.height && plane < self.format.planes(), "row outside of the image");
        (plane * self.plane + y * self.stride, self.width * self.format.pixel_bytes())
    }

    /// `rows` must lie inside, and `values` be theirs, (rows, width, 3).
    pub fn check_rows(&self, values: usize, rows: &Range<usize>) -> Result<()> {
        if rows.start > rows.end || rows.end > self.height {
            return Err(Error::invalid(format!("rows {rows:?} of an image of {} rows", self.height)));
        }
        match rows.len().checked_mul(self.width * 3) {
            Some(need) if need == values => Ok(()),
            _ => Err(Error::invalid(format!(
                "{} rows of {} pixels are {} values, the buffer has {values}",
                rows.len(),
                self.width,
                rows.len() as u128 * (self.width * 3) as u128
            ))),
        }
    }
}
