//! The models against outputs of the authors' implementation (`*.safetensors` beside this file), with weights
//! made by formula from `manifests/`.

#[path = "../common/mod.rs"]
mod common;

mod bf16;
mod far;
mod far_step;
#[cfg(feature = "eval")]
mod graph;
#[cfg(feature = "eval")]
mod metrics;
mod teachers;
mod tokenizer;
mod train_step;
