//! Layers: weights under their checkpoint names, and a `forward` over any executor.

mod conv2d;
mod linear;
mod norms;
mod params;
mod transformer;

pub use conv2d::Conv2d;
pub use linear::Linear;
pub use norms::{GroupNorm, LayerNorm};
pub use params::{Numerics, Params, Precision, param};
pub use transformer::TransformerBlock;

/// The inputs of an operation without the absent ones, in order.
fn present<'a, V, const N: usize>(first: &'a V, rest: [Option<&'a V>; N]) -> (usize, [&'a V; 8]) {
    let mut all = [first; 8];
    let mut count = 1;
    for value in rest.into_iter().flatten() {
        all[count] = value;
        count += 1;
    }
    (count, all)
}
