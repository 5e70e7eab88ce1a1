//! Every operation against f64 oracles in plain loops: see `table.rs` for what is checked, and a file an
//! operation for its cases.

#![allow(dead_code)] // The benches run what `published` lists.

mod gradients;
mod table;

mod add;
mod attention;
mod code_embedding;
mod conv2d;
mod cross_entropy;
mod embedding;
mod group_norm;
mod kv_attention;
mod layer_norm;
mod linear;
mod matmul;
mod nearest_code;
mod refusals;
mod resize_grid;
mod rms_norm;
mod rotary;
mod sample;
mod sum_rows;
mod upsample;
