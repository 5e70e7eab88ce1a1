use super::pointers;
use crate::error::{Context, Error, Result};
use crate::image::{PixelFormat, View, ViewMut};
use std::ffi::c_void;
use std::mem::MaybeUninit;

/// Bytes red, green, blue.
pub const FQGAN_PIXEL_RGB8: i32 = 0;
/// Bytes red, green, blue, alpha. Alpha is ignored when read and written as 255.
pub const FQGAN_PIXEL_RGBA8: i32 = 1;
/// Bytes blue, green, red, alpha. Alpha is ignored when read and written as 255.
pub const FQGAN_PIXEL_BGRA8: i32 = 2;
/// Floats red, green, blue, in [-1, 1].
pub const FQGAN_PIXEL_RGB_F32: i32 = 3;
/// A plane of floats for each of red, green and blue, in [-1, 1]; the planes follow each other.
pub const FQGAN_PIXEL_RGB_F32_PLANAR: i32 = 4;

/// A view of the caller's pixels.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct fqgan_image {
    /// The upper left pixel. Floats need no alignment.
    pub pixels: *mut c_void,
    /// Pixels of a row.
    pub width: u32,
    /// Rows.
    pub height: u32,
    /// Bytes from one row to the next; 0: rows are packed. For FQGAN_PIXEL_RGB_F32_PLANAR it is the stride in
    /// a plane, of which the next begins height * row_stride after it.
    pub row_stride: usize,
    /// One of FQGAN_PIXEL_.
    pub format: i32,
}

impl fqgan_image {
    fn format(&self) -> Result<PixelFormat> {
        pointers::choose(
            self.format,
            "format",
            &[
                (FQGAN_PIXEL_RGB8, "FQGAN_PIXEL_RGB8", PixelFormat::Rgb8),
                (FQGAN_PIXEL_RGBA8, "FQGAN_PIXEL_RGBA8", PixelFormat::Rgba8),
                (FQGAN_PIXEL_BGRA8, "FQGAN_PIXEL_BGRA8", PixelFormat::Bgra8),
                (FQGAN_PIXEL_RGB_F32, "FQGAN_PIXEL_RGB_F32", PixelFormat::RgbF32),
                (FQGAN_PIXEL_RGB_F32_PLANAR, "FQGAN_PIXEL_RGB_F32_PLANAR", PixelFormat::RgbF32Planar),
            ],
        )
    }

    /// # Safety
    /// The contract of the interface, for as long as the view lives.
    unsafe fn view<'a>(&self) -> Result<View<'a>> {
        let (width, height) = (self.width as usize, self.height as usize);
        // SAFETY: as the caller promises.
        unsafe { View::from_raw(self.pixels.cast(), width, height, self.row_stride, self.format()?) }
    }

    /// # Safety
    /// As [`fqgan_image::view`].
    unsafe fn view_mut<'a>(&self) -> Result<ViewMut<'a>> {
        let (width, height) = (self.width as usize, self.height as usize);
        // SAFETY: as the caller promises.
        unsafe { ViewMut::from_raw(self.pixels.cast(), width, height, self.row_stride, self.format()?) }
    }
}

/// The caller's images, at least one.
///
/// # Safety
/// The contract of the interface.
pub(super) unsafe fn images<'a>(images: *const fqgan_image, count: usize) -> Result<&'a [fqgan_image]> {
    if count == 0 {
        return Err(Error::invalid("count is 0, expected at least one image"));
    }
    // SAFETY: as the caller promises.
    unsafe { pointers::slice(images, count, "images") }
}

/// Reads images; the index stands before a message about one.
///
/// # Safety
/// The contract of the interface.
pub(super) unsafe fn with_views<R>(
    images: &[fqgan_image],
    body: impl FnOnce(&[View<'_>]) -> Result<R>,
) -> Result<R> {
    // SAFETY: as the caller promises; the views do not leave `body`.
    collect(images, |image| unsafe { image.view() }, |views| body(views))
}

/// Writes images.
///
/// # Safety
/// The contract of the interface.
pub(super) unsafe fn with_views_mut<R>(
    images: &[fqgan_image],
    body: impl FnOnce(&mut [ViewMut<'_>]) -> Result<R>,
) -> Result<R> {
    // SAFETY: as the caller promises; the views do not leave `body`.
    collect(images, |image| unsafe { image.view_mut() }, body)
}

/// Checks that all have the size of the first, and only then that all values are finite: nothing is read of an
/// image whose size is wrong, and nothing is encoded before a bad value in a later one.
pub(super) fn check(views: &[View<'_>]) -> Result<()> {
    let size = |view: &View<'_>| (view.width(), view.height());
    let (width, height) = size(&views[0]);
    if let Some(i) = views.iter().position(|view| size(view) != (width, height)) {
        let (other_width, other_height) = size(&views[i]);
        return Err(Error::invalid(format!(
            "images[{i}] is {other_width} x {other_height} pixels, the first is {width} x {height}: expected one \
             size a call"
        )));
    }
    for (i, view) in views.iter().enumerate() {
        view.check_finite().context(|| format!("images[{i}]"))?;
    }
    Ok(())
}

/// Checks that images to write have a size.
pub(super) fn check_sizes(views: &[ViewMut<'_>], width: usize, height: usize) -> Result<()> {
    match views.iter().position(|view| (view.width(), view.height()) != (width, height)) {
        None => Ok(()),
        Some(i) => Err(Error::invalid(format!(
            "images[{i}] is {} x {} pixels, expected {width} x {height}, as the codes have it",
            views[i].width(),
            views[i].height()
        ))),
    }
}

/// Few views stand on the stack, so that a usual call allocates nothing.
const FEW: usize = 16;

fn collect<T, R>(
    images: &[fqgan_image],
    view: impl Fn(&fqgan_image) -> Result<T>,
    body: impl FnOnce(&mut [T]) -> Result<R>,
) -> Result<R> {
    const { assert!(!std::mem::needs_drop::<T>()) };
    let named = |i: usize| view(&images[i]).context(|| format!("images[{i}]"));
    if images.len() > FEW {
        let mut views = Vec::new();
        views
            .try_reserve_exact(images.len())
            .map_err(|_| Error::out_of_memory(format!("no memory for {} views", images.len())))?;
        for i in 0..images.len() {
            views.push(named(i)?);
        }
        return body(&mut views);
    }
    let mut views = [const { MaybeUninit::<T>::uninit() }; FEW];
    for (i, slot) in views.iter_mut().enumerate().take(images.len()) {
        slot.write(named(i)?);
    }
    // SAFETY: the first `images.len()` slots were written, and nothing needs to be dropped.
    body(unsafe { std::slice::from_raw_parts_mut(views.as_mut_ptr().cast::<T>(), images.len()) })
}
