//! Every operation against f64 oracles in plain loops: see `table.rs` for what is checked, and a file an
//! operation for its cases.

#![allow(dead_code)] // The benches run what `published` lists.

#[cfg(feature = "cuda")]
mod cuda;
mod gradients;
mod table;

mod activation;
mod add;
mod adversarial;
mod attention;
mod batch_deviation;
mod batch_norm;
mod blur;
mod class_token;
mod code_embedding;
mod code_entropy;
mod concat;
mod conv2d;
mod conv2d_gradients;
mod cross_entropy;
mod disentangle;
mod dropout;
mod embedding;
mod gate;
mod group_norm;
mod kv_attention;
mod layer_norm;
mod linear;
mod linear_bits;
mod matmul;
mod max_pool;
mod mean;
mod mean_error;
mod mean_pool;
mod multiply;
mod narrow;
mod nearest_code;
mod normalize;
mod optimizer;
mod perceptual_distance;
mod pool;
mod refusals;
mod resize_bilinear;
mod resize_grid;
mod resize_nearest;
mod rms_norm;
mod rotary;
mod sample;
mod scale;
mod straight_through;
mod sum_rows;
mod upsample;
mod windows;
mod workspace;
