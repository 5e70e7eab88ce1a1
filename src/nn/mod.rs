//! Layers: weights under their checkpoint names, and a `forward` over any executor.

mod batch_norm;
mod conv2d;
mod linear;
mod norms;
mod params;
mod transformer;

pub use batch_norm::{BatchNorm, Own, Statistics};
pub use conv2d::Conv2d;
pub use linear::Linear;
pub use norms::{GroupNorm, LayerNorm};
pub use params::{Numerics, Params, Precision, param};
pub use transformer::TransformerBlock;

/// Activations (n, h, w, c), and with them what a GroupNorm needs of them where their producer gathered it.
#[derive(Clone)]
pub struct Activation<V> {
    /// The activations.
    pub x: V,
    /// See [`crate::ops::conv2d::WithSums`].
    pub sums: Option<V>,
}

impl<V> From<V> for Activation<V> {
    fn from(x: V) -> Activation<V> {
        Activation { x, sums: None }
    }
}

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
