//! Sums of the outputs, for variants that do not gather them as they go.

use crate::backend::cpu::simd::{Kernel, Simd};
use crate::backend::cpu::{Cpu, Parts, Values};
use crate::ops::conv2d::{Geometry, SUMS};
use std::ops::Range;

/// Positions a part: short enough for f32 sums.
const PART: usize = 256;

/// Parts of an image.
pub fn parts(g: &Geometry) -> usize {
    (g.oh * g.ow).div_ceil(PART)
}

/// The sums (n, parts, SUMS, k) of fewer parts; the others are of no position.
pub fn take(g: &Geometry, from: &[f32], sums: &mut [f32]) {
    let [from_each, to_each] = [from.len(), sums.len()].map(|len| len / g.n);
    for (from, to) in from.chunks_exact(from_each).zip(sums.chunks_exact_mut(to_each)) {
        let (there, none) = to.split_at_mut(from_each);
        there.copy_from_slice(from);
        none.fill(0.0);
    }
}

/// Fills the sums (n, parts, SUMS, k) of outputs that are all there.
pub fn fill(g: &Geometry, cpu: &Cpu, out: Values<'_>, sums: &mut [f32]) {
    let (k, positions, parts) = (g.k, g.oh * g.ow, parts(g));
    let each = Parts::new(sums);
    cpu.pool.blocks(g.n * parts, |_, index| {
        let (image, part) = (index / parts, index % parts);
        let rows = image * positions + part * PART..image * positions + positions.min((part + 1) * PART);
        // SAFETY: a part a job.
        let sums = unsafe { each.slice(index * SUMS * k..(index + 1) * SUMS * k) };
        cpu.isa.dispatch(Part { out, rows, k, sums });
    });
}

struct Part<'a> {
    out: Values<'a>,
    rows: Range<usize>,
    k: usize,
    sums: &'a mut [f32],
}

impl Kernel for Part<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self) {
        let k = self.k;
        for first in (0..k).step_by(S::LANES) {
            let n = S::LANES.min(k - first);
            // SAFETY: `first + n <= k`, the length of a row of each, and the rows are there.
            unsafe {
                let pivot = self.out.load_n::<S>(self.rows.start * k + first, n);
                let (mut sum, mut square) = (S::splat(0.0), S::splat(0.0));
                for row in self.rows.clone() {
                    let from_pivot = S::sub(self.out.load_n::<S>(row * k + first, n), pivot);
                    sum = S::add(sum, from_pivot);
                    square = S::fma(from_pivot, from_pivot, square);
                }
                let count = S::splat(self.rows.len() as f32);
                for (row, value) in [count, pivot, sum, square].into_iter().enumerate() {
                    S::store_up_to(self.sums.as_mut_ptr().add(row * k + first), value, n);
                }
            }
        }
    }
}
