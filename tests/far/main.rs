//! What the generator promises beside its numbers (those are in `tests/golden`): any head and any k, the same
//! picture in any batch, on any number of threads and after any pause, limits, refusals.

mod counting;
mod demo;
mod models;
mod oracle;
mod precision;
mod promises;
mod refusals;
