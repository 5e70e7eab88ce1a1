//! Pixels: views of the caller's memory, and pictures of our own.

mod format;
mod picture;
mod raster;
mod view;

pub use format::PixelFormat;
pub use picture::Picture;
pub use view::{View, ViewMut};
