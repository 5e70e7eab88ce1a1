use super::config::Config;
use crate::error::Result;
use crate::exec::{Exec, Param};
use crate::ops::attention::Attention;
use crate::ops::rotary::Rotary;
use crate::tensor::Tensor;

/// Base of the frequencies.
const BASE: f32 = 10000.0;

/// Cosines and sines of all positions.
///
/// Row 0, the class token's, is all zeros, cosine and sine alike: queries and keys become zero there. Row
/// 1 + y * width + x turns the first half of a head's pairs by y * w_j and the second half by x * w_j, with
/// w_j = 10000^(-2j / (head_dim / 2)), j < head_dim / 4.
pub struct Table {
    values: Param,
}

impl Table {
    /// Rows for the positions of the grid, and for the head's sub-codes where those are more.
    ///
    /// # Errors
    /// `OutOfMemory`.
    pub fn new(config: &Config) -> Result<Table> {
        let rows = config.positions().max(config.codebooks);
        let (pairs, quarter) = (config.head_dim() / 2, config.head_dim() / 4);
        // Rounded to f32 step by step, as the authors' table is.
        let frequency = |j: usize| 1.0 / BASE.powf((2 * j) as f32 / pairs as f32);
        let mut values = Vec::with_capacity(rows * pairs * 2);
        values.resize(pairs * 2, 0.0f32);
        for cell in 0..rows - 1 {
            let (y, x) = (cell / config.grid_width, cell % config.grid_width);
            for pair in 0..pairs {
                let at = if pair < quarter { y } else { x };
                let angle = f64::from(at as f32 * frequency(pair % quarter));
                values.extend([angle.cos() as f32, angle.sin() as f32]);
            }
        }
        let values = Tensor::from_slice([rows, pairs, 2], &values)?;
        Ok(Table { values: Param::new("rotary table", values) })
    }

    /// All rows, (positions, head_dim / 2, 2): cosine and sine.
    ///
    /// # Errors
    /// `OutOfMemory`.
    pub fn values<E: Exec>(&self, e: &E) -> Result<E::Value> {
        e.param(&self.values)
    }

    /// Causal attention of sequences that are there whole, in `heads` heads: packed queries, keys and values
    /// (b, t, 3 * dim), not yet turned, to (b, t, dim).
    ///
    /// # Errors
    /// The operations'.
    pub fn attend<E: Exec>(&self, e: &E, qkv: &E::Value, heads: usize) -> Result<E::Value> {
        let [turned] = e.apply(Rotary { heads, first: 0 }, &[qkv, &self.values(e)?])?;
        let [y] = e.apply(Attention { heads, causal: true }, &[&turned])?;
        Ok(y)
    }
}
