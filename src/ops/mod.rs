//! The operations, a folder each: shapes, cost and forward in `mod.rs`, device code beside it. Nothing above
//! this floor names a device. `docs/adding-an-op.md` walks through the smallest one.

mod check;
pub mod conv2d;
pub mod group_norm;
pub mod linear;
pub mod resize_grid;
