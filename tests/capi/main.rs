//! The C interface, as Rust and C programs see it.

mod abi;
mod any;
mod cases;
mod codes;
mod generator;
mod header;
mod models;
mod programs;
mod runtime;
mod support;
mod tokenizer;
