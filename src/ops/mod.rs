//! The operations, a folder each: shapes, cost and forward in `mod.rs`, device code beside it. Nothing above
//! this floor names a device. `docs/adding-an-op.md` walks through the smallest one.

pub mod add;
pub mod attention;
mod check;
pub mod code_embedding;
pub mod conv2d;
pub mod cross_entropy;
pub mod embedding;
pub mod group_norm;
pub mod kv_attention;
pub mod layer_norm;
pub mod linear;
pub mod matmul;
pub mod nearest_code;
pub mod resize_grid;
pub mod rms_norm;
pub mod rotary;
pub mod sample;
pub mod sum_rows;
mod unit;
pub mod upsample;
