//! Layers: weights with a forward of a few operations, written once over [`Exec`](crate::exec::Exec).

mod params;

pub use params::param;
