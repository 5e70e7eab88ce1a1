//! Every operation against f64 oracles in plain loops: see `table.rs` for what is checked, and a file an
//! operation for its cases.

mod table;

mod conv2d;
mod group_norm;
mod linear;
mod resize_grid;
