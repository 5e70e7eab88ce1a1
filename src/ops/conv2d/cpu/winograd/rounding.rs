//! Transformed operands in bf16, with a third less error than each rounded for itself.
//!
//! An error e of the transformed pixels (or filters) along an axis costs e^T H e in the outputs, where
//! H = (A^T A) o (G G^T) for pixels and (A^T A) o (B^T R B) for filters: o is element by element, A, B and G the
//! scheme's maps to outputs, from pixels and from filters; filters are taken as white noise, pixels as a picture
//! is, R\[i\]\[j\] = 0.2 + 0.8 * 0.7^|i - j| (channels have a mean, neighbours are alike).
//! H is far from diagonal, so errors can make up for each other: with H = L^T D L, L unit lower triangular, a value
//! is rounded after subtracting the sum of L\[i\]\[j\] e\[j\] over the values that were rounded before it. Over both axes
//! the matrix is the Kronecker product of L with itself. Filters take all of it, once; pixels take one axis, and
//! the large entries only, in the loop.

/// The most values along an axis.
const MOST: usize = 6;

/// What the errors of a scheme make up for.
pub struct Rounding {
    /// Whether they do.
    pub together: bool,
    /// The order of rounding along an axis.
    pub order: [usize; MOST],
    /// L of the pixels, in that order; small entries left out.
    pub pixels: [[f32; MOST]; MOST],
    /// L of the filters, in that order.
    pub filters: [[f32; MOST]; MOST],
}

impl Rounding {
    /// Every value for itself.
    pub const NONE: Rounding = Rounding {
        together: false,
        order: [0, 1, 2, 3, 4, 5],
        pixels: [[0.0; MOST]; MOST],
        filters: [[0.0; MOST]; MOST],
    };

    /// Of [`super::scheme::F4`]: the order is the best of all.
    pub const F4: Rounding = Rounding {
        together: true,
        order: [3, 1, 0, 5, 2, 4],
        pixels: [
            [1.0, 0.0, 0.0, 0.0, 0.0, 0.0],
            [-1.0305, 1.0, 0.0, 0.0, 0.0, 0.0],
            [0.3795, -0.9244, 1.0, 0.0, 0.0, 0.0],
            [1.2298, 0.0, 0.0, 1.0, 0.0, 0.0],
            [0.0, 0.0, -0.8459, -0.3014, 1.0, 0.0],
            [0.0, 0.0, 0.0, -0.3879, -0.3606, 1.0],
        ],
        filters: [
            [1.0, 0.0, 0.0, 0.0, 0.0, 0.0],
            [0.1548, 1.0, 0.0, 0.0, 0.0, 0.0],
            [-0.4458, 1.6683, 1.0, 0.0, 0.0, 0.0],
            [-3.5371, -0.1283, -0.1848, 1.0, 0.0, 0.0],
            [-0.5319, 0.4979, 0.7897, 0.2821, 1.0, 0.0],
            [0.3126, 0.0043, 0.0534, -0.2629, 0.2215, 1.0],
        ],
    };
}
