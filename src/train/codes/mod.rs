//! Codes of pictures, stored for a generator's training: several views of each picture, and its class
//! (`docs/formats.md`).

mod about;
mod batches;
mod import;
mod make;
mod stored;
mod views;
mod writer;

pub use about::About;
pub use batches::{Batch, Batches};
pub use import::Numpy;
pub use make::{Making, make};
pub use stored::Stored;
pub use views::Views;
pub use writer::Writer;
