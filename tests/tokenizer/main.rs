//! What the tokenizer promises beside its numbers (those are in `tests/golden`): any k, any size, the same
//! codes on any number of threads and from any number of callers, tiles, limits, no allocation in steady state.

mod counting;
mod demo;
mod models;
mod promises;
mod tiles;
