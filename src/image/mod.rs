//! Pixels: views of the caller's memory, and pictures of our own.

mod font;
mod format;
mod grid;
#[cfg(feature = "pictures")]
mod load;
mod picture;
mod psnr;
mod raster;
mod resize;
#[cfg(feature = "pictures")]
mod save;
mod view;

pub use format::PixelFormat;
pub use grid::{Cell, grid};
#[cfg(feature = "pictures")]
pub use load::Load;
#[cfg(feature = "train")]
pub(crate) use load::MAX_FILE;
pub use picture::Picture;
pub use psnr::psnr;
pub use resize::Filter;
pub use view::{View, ViewMut};
