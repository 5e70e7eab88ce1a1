//! Views of a caller's pixels, resizing as Pillow does, picture files.

mod view;
