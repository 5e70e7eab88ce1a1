//! Weight files: reading, writing, inferring, and what hostile files may not do.

#[path = "../common/mod.rs"]
mod common;

mod checkpoint;
mod config;
mod convert;
mod faults;
mod formula;
mod int8;
mod legacy;
mod params;
mod pickling;
mod safetensors;
