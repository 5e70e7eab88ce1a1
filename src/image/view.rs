use super::PixelFormat;
use super::format::{to_byte, to_float};
use super::raster::Raster;
use crate::error::{Error, Result};
use std::marker::PhantomData;
use std::ops::Range;

/// Pixels of the caller's, to read.
#[derive(Clone, Copy)]
pub struct View<'a> {
    pixels: *const u8,
    raster: Raster,
    life: PhantomData<&'a [u8]>,
}

// SAFETY: a View is a shared borrow of plain bytes, like `&[u8]`.
unsafe impl Send for View<'_> {}
// SAFETY: as above.
unsafe impl Sync for View<'_> {}

impl<'a> View<'a> {
    /// A view of an image whose rows are `row_stride` bytes apart (0: packed). For
    /// [`PixelFormat::RgbF32Planar`] that is the stride in a plane, and a plane has `height` rows. Bytes after
    /// the last row's last pixel need not be there. Floats need no alignment.
    ///
    /// # Errors
    /// `InvalidArgument` when a side is 0, the stride is less than a row, or `pixels` is too short.
    pub fn new(
        pixels: &'a [u8],
        width: usize,
        height: usize,
        row_stride: usize,
        format: PixelFormat,
    ) -> Result<View<'a>> {
        let raster = Raster::over(pixels.len(), width, height, row_stride, format)?;
        Ok(View { pixels: pixels.as_ptr(), raster, life: PhantomData })
    }

    /// A view of packed RGB bytes.
    ///
    /// # Errors
    /// As [`View::new`].
    pub fn rgb8(pixels: &'a [u8], width: usize, height: usize) -> Result<View<'a>> {
        View::new(pixels, width, height, 0, PixelFormat::Rgb8)
    }

    /// As [`View::new`] over floats; `row_stride` still counts bytes.
    ///
    /// # Errors
    /// As [`View::new`], and `InvalidArgument` when `format` has no floats.
    pub fn floats(
        pixels: &'a [f32],
        width: usize,
        height: usize,
        row_stride: usize,
        format: PixelFormat,
    ) -> Result<View<'a>> {
        floats_only(format)?;
        let raster = Raster::over(std::mem::size_of_val(pixels), width, height, row_stride, format)?;
        Ok(View { pixels: pixels.as_ptr().cast(), raster, life: PhantomData })
    }

    /// As [`View::new`] over memory that only the caller knows the size of.
    ///
    /// # Safety
    /// For as long as `'a` lasts, the bytes that the sizes describe must be readable and nobody may write them.
    ///
    /// # Errors
    /// `InvalidArgument` when `pixels` is null, a side is 0, or the stride is less than a row.
    pub unsafe fn from_raw(
        pixels: *const u8,
        width: usize,
        height: usize,
        row_stride: usize,
        format: PixelFormat,
    ) -> Result<View<'a>> {
        if pixels.is_null() {
            return Err(Error::invalid("pixels is NULL"));
        }
        let (raster, _) = Raster::new(width, height, row_stride, format)?;
        Ok(View { pixels, raster, life: PhantomData })
    }

    /// Pixels of a row.
    pub fn width(&self) -> usize {
        self.raster.width
    }

    /// Rows.
    pub fn height(&self) -> usize {
        self.raster.height
    }

    /// How a pixel stands in memory.
    pub fn format(&self) -> PixelFormat {
        self.raster.format
    }

    /// The rectangle of `width x height` pixels whose upper left one is (x, y).
    ///
    /// # Errors
    /// `InvalidArgument` when it is empty or not inside.
    pub fn crop(&self, x: usize, y: usize, width: usize, height: usize) -> Result<View<'a>> {
        let (raster, offset) = self.raster.crop(x, y, width, height)?;
        // SAFETY: the rectangle lies inside, so its first byte does.
        Ok(View { pixels: unsafe { self.pixels.add(offset) }, raster, life: PhantomData })
    }

    /// Writes the values of some rows to `out`, (rows, width, 3), red, green, blue, in [-1, 1]: bytes become
    /// `(b / 255 - 0.5) / 0.5`, floats stay as they are. Allocates nothing.
    ///
    /// # Errors
    /// `InvalidArgument` when the rows are not inside, `out` has another length than they, or a value is NaN
    /// or infinite; the message names the pixel, counted from the upper left one of this view.
    pub fn read_into(&self, out: &mut [f32], rows: Range<usize>) -> Result<()> {
        self.raster.check_rows(out.len(), &rows)?;
        for (y, out) in rows.zip(out.chunks_exact_mut(self.raster.width * 3)) {
            match self.raster.format {
                PixelFormat::Rgb8 => {
                    out.iter_mut().zip(self.row(y, 0)).for_each(|(to, from)| *to = to_float(*from));
                }
                PixelFormat::Rgba8 => read_bytes::<0, 2>(out, self.row(y, 0)),
                PixelFormat::Bgra8 => read_bytes::<2, 0>(out, self.row(y, 0)),
                PixelFormat::RgbF32 => {
                    out.iter_mut().zip(floats_of(self.row(y, 0))).for_each(|(to, from)| *to = from);
                    check_finite(out, y)?;
                }
                PixelFormat::RgbF32Planar => {
                    for channel in 0..3 {
                        let to = out[channel..].iter_mut().step_by(3);
                        to.zip(floats_of(self.row(y, channel))).for_each(|(to, from)| *to = from);
                    }
                    check_finite(out, y)?;
                }
            }
        }
        Ok(())
    }

    /// Checks that every value is finite, which [`View::read_into`] will ask of those it reads.
    ///
    /// # Errors
    /// `InvalidArgument`, as there.
    pub fn check_finite(&self) -> Result<()> {
        let channels = match self.raster.format {
            PixelFormat::Rgb8 | PixelFormat::Rgba8 | PixelFormat::Bgra8 => return Ok(()),
            PixelFormat::RgbF32 => 3,
            PixelFormat::RgbF32Planar => 1,
        };
        for plane in 0..3 / channels {
            for y in 0..self.raster.height {
                let values = || floats_of(self.row(y, plane));
                if !values().fold(true, |finite, v| finite & v.is_finite()) {
                    let (at, value) = values().enumerate().find(|(_, v)| !v.is_finite()).unwrap_or((0, 0.0));
                    return Err(not_finite(at / channels, y, plane + at % channels, value));
                }
            }
        }
        Ok(())
    }

    fn row(&self, y: usize, plane: usize) -> &'a [u8] {
        let (offset, len) = self.raster.row(y, plane);
        // SAFETY: the row is one of the view, whose constructor saw to its memory.
        unsafe { std::slice::from_raw_parts(self.pixels.add(offset), len) }
    }
}

/// Pixels of the caller's, to write.
pub struct ViewMut<'a> {
    pixels: *mut u8,
    raster: Raster,
    life: PhantomData<&'a mut [u8]>,
}

// SAFETY: a ViewMut is an exclusive borrow of plain bytes, like `&mut [u8]`.
unsafe impl Send for ViewMut<'_> {}
// SAFETY: a shared one gives its sizes only.
unsafe impl Sync for ViewMut<'_> {}

impl<'a> ViewMut<'a> {
    /// As [`View::new`].
    ///
    /// # Errors
    /// As [`View::new`].
    pub fn new(
        pixels: &'a mut [u8],
        width: usize,
        height: usize,
        row_stride: usize,
        format: PixelFormat,
    ) -> Result<ViewMut<'a>> {
        let raster = Raster::over(pixels.len(), width, height, row_stride, format)?;
        Ok(ViewMut { pixels: pixels.as_mut_ptr(), raster, life: PhantomData })
    }

    /// A view of packed RGB bytes.
    ///
    /// # Errors
    /// As [`View::new`].
    pub fn rgb8(pixels: &'a mut [u8], width: usize, height: usize) -> Result<ViewMut<'a>> {
        ViewMut::new(pixels, width, height, 0, PixelFormat::Rgb8)
    }

    /// As [`View::floats`].
    ///
    /// # Errors
    /// As [`View::floats`].
    pub fn floats(
        pixels: &'a mut [f32],
        width: usize,
        height: usize,
        row_stride: usize,
        format: PixelFormat,
    ) -> Result<ViewMut<'a>> {
        floats_only(format)?;
        let raster = Raster::over(std::mem::size_of_val(pixels), width, height, row_stride, format)?;
        Ok(ViewMut { pixels: pixels.as_mut_ptr().cast(), raster, life: PhantomData })
    }

    /// As [`View::from_raw`].
    ///
    /// # Safety
    /// For as long as `'a` lasts, the bytes of the pixels that the sizes describe must be writable, and nobody
    /// else may read or write them.
    ///
    /// # Errors
    /// As [`View::from_raw`].
    pub unsafe fn from_raw(
        pixels: *mut u8,
        width: usize,
        height: usize,
        row_stride: usize,
        format: PixelFormat,
    ) -> Result<ViewMut<'a>> {
        if pixels.is_null() {
            return Err(Error::invalid("pixels is NULL"));
        }
        let (raster, _) = Raster::new(width, height, row_stride, format)?;
        Ok(ViewMut { pixels, raster, life: PhantomData })
    }

    /// Pixels of a row.
    pub fn width(&self) -> usize {
        self.raster.width
    }

    /// Rows.
    pub fn height(&self) -> usize {
        self.raster.height
    }

    /// How a pixel stands in memory.
    pub fn format(&self) -> PixelFormat {
        self.raster.format
    }

    /// The same pixels, to read.
    pub fn as_view(&self) -> View<'_> {
        View { pixels: self.pixels, raster: self.raster, life: PhantomData }
    }

    /// The same pixels, borrowed for a while.
    pub fn reborrow(&mut self) -> ViewMut<'_> {
        ViewMut { pixels: self.pixels, raster: self.raster, life: PhantomData }
    }

    /// As [`View::crop`].
    ///
    /// # Errors
    /// As [`View::crop`].
    pub fn crop(&mut self, x: usize, y: usize, width: usize, height: usize) -> Result<ViewMut<'_>> {
        let (raster, offset) = self.raster.crop(x, y, width, height)?;
        // SAFETY: the rectangle lies inside, so its first byte does.
        Ok(ViewMut { pixels: unsafe { self.pixels.add(offset) }, raster, life: PhantomData })
    }

    /// Writes the whole image from `values`, (height, width, 3), red, green, blue, in [-1, 1]: bytes are
    /// `trunc(clamp(127.5 y + 128, 0, 255))` with alpha 255, floats are written as they are. Allocates nothing.
    ///
    /// # Errors
    /// `InvalidArgument` when `values` has another length.
    pub fn write_from(&mut self, values: &[f32]) -> Result<()> {
        self.write_rows(values, 0..self.raster.height)
    }

    /// As [`ViewMut::write_from`] for some rows, (rows, width, 3).
    ///
    /// # Errors
    /// `InvalidArgument` when the rows are not inside or `values` has another length than they.
    pub fn write_rows(&mut self, values: &[f32], rows: Range<usize>) -> Result<()> {
        self.raster.check_rows(values.len(), &rows)?;
        for (y, values) in rows.zip(values.chunks_exact(self.raster.width * 3)) {
            match self.raster.format {
                PixelFormat::Rgb8 => {
                    self.row(y, 0).iter_mut().zip(values).for_each(|(to, from)| *to = to_byte(*from));
                }
                PixelFormat::Rgba8 => write_bytes::<0, 2>(self.row(y, 0), values),
                PixelFormat::Bgra8 => write_bytes::<2, 0>(self.row(y, 0), values),
                PixelFormat::RgbF32 => write_floats(self.row(y, 0), values.iter()),
                PixelFormat::RgbF32Planar => {
                    for channel in 0..3 {
                        write_floats(self.row(y, channel), values[channel..].iter().step_by(3));
                    }
                }
            }
        }
        Ok(())
    }

    fn row(&mut self, y: usize, plane: usize) -> &mut [u8] {
        let (offset, len) = self.raster.row(y, plane);
        // SAFETY: the row is one of the view, whose constructor saw to its memory; `self` is borrowed alone.
        unsafe { std::slice::from_raw_parts_mut(self.pixels.add(offset), len) }
    }
}

fn floats_only(format: PixelFormat) -> Result<()> {
    match format {
        PixelFormat::RgbF32 | PixelFormat::RgbF32Planar => Ok(()),
        _ => Err(Error::invalid(format!("floats cannot be seen as {} pixels", format.name()))),
    }
}

fn floats_of(row: &[u8]) -> impl Iterator<Item = f32> {
    row.as_chunks::<4>().0.iter().map(|bytes| f32::from_ne_bytes(*bytes))
}

fn read_bytes<const RED: usize, const BLUE: usize>(out: &mut [f32], row: &[u8]) {
    for (to, from) in out.as_chunks_mut::<3>().0.iter_mut().zip(row.as_chunks::<4>().0) {
        *to = [to_float(from[RED]), to_float(from[1]), to_float(from[BLUE])];
    }
}

fn write_bytes<const RED: usize, const BLUE: usize>(row: &mut [u8], values: &[f32]) {
    for (to, from) in row.as_chunks_mut::<4>().0.iter_mut().zip(values.as_chunks::<3>().0) {
        to[RED] = to_byte(from[0]);
        to[1] = to_byte(from[1]);
        to[BLUE] = to_byte(from[2]);
        to[3] = 255;
    }
}

fn write_floats<'a>(row: &mut [u8], values: impl Iterator<Item = &'a f32>) {
    row.as_chunks_mut::<4>().0.iter_mut().zip(values).for_each(|(to, from)| *to = from.to_ne_bytes());
}

fn check_finite(row: &[f32], y: usize) -> Result<()> {
    // No early exit: this vectorises, where a search does not.
    if row.iter().fold(true, |finite, v| finite & v.is_finite()) {
        return Ok(());
    }
    let at = row.iter().position(|v| !v.is_finite()).unwrap_or(0);
    Err(not_finite(at / 3, y, at % 3, row[at]))
}

fn not_finite(x: usize, y: usize, channel: usize, value: f32) -> Error {
    let channel = ["red", "green", "blue"][channel];
    Error::invalid(format!(
        "pixel ({x}, {y}), {channel}: the value is {value}, expected a finite one in [-1, 1]"
    ))
}
