//! Views of a caller's pixels, resizing as Pillow does, picture files.
#![cfg(feature = "pictures")]

mod files;
mod grid;
mod resize;
mod view;
