//! NumPy's archives of arrays (`.npz`), as sets of pictures and their statistics are passed on in: read where they lie,
//! and written row by row, so that an array need never be whole in memory.

mod read;
mod rows;
mod write;

pub use read::{Array, Npz};
pub use rows::Rows;
pub use write::Writer;
