//! Filters to the points, in numbers exacter than the operands, rounded once.

#![allow(clippy::needless_range_loop)] // The loops transpose.

use super::scheme::{MOST, Real, Scheme};
use super::transform::Transformed;
use crate::backend::cpu::simd::{Kernel, Simd};
use crate::ops::tile::{PANEL, turn};
use std::marker::PhantomData;

/// Input channels whose filters are gathered at once: whole vectors of weights.
const BATCH: usize = 16;
const TAPS: usize = 9;

/// The output channels of a panel, side by side.
type Side<T> = [T; PANEL];

/// Transforms one panel: 3x3 filters \[k\]\[c\]\[9\] to \[products\]\[terms\]\[c / CHANNELS\]\[PANEL\]\[CHANNELS\], zeros past
/// k <= PANEL.
pub struct Transform<'a, W, O> {
    pub from: &'a [f32],
    pub c: usize,
    pub to: &'a mut [O],
    pub scheme: PhantomData<W>,
}

/// Where the term (i, j) of the terms of all products along both axes stands.
fn place<W: Scheme>(i: usize, j: usize) -> usize {
    let (first_i, count_i) = product::<W>(i);
    let (first_j, count_j) = product::<W>(j);
    first_i * W::TERMS + count_i * first_j + (i - first_i) * count_j + (j - first_j)
}

/// The first term of the product that a term belongs to, and how many there are.
fn product<W: Scheme>(term: usize) -> (usize, usize) {
    let mut first = 0;
    for count in W::COUNT {
        if term < first + count {
            return (first, count);
        }
        first += count;
    }
    unreachable!("term {term} of {}", W::TERMS)
}

impl<W: Scheme, O: Transformed> Kernel for Transform<'_, W, O> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self) {
        // The loops over PANEL are over whole vectors: the compiler makes them of this level's.
        let mut gathered = [[[0.0f32; PANEL]; TAPS]; BATCH];
        let mut half = [[[O::Exact::of(0.0); PANEL]; MOST]; 3];
        let mut terms = [[[0.0f32; PANEL]; MOST]; MOST];
        for first in (0..self.c).step_by(BATCH) {
            let batch = BATCH.min(self.c - first);
            if self.from.len() == PANEL * self.c * TAPS {
                let to = gathered.as_flattened_mut().as_flattened_mut();
                turn::<S>(&self.from[first * TAPS..], self.c * TAPS, batch * TAPS, to);
            } else {
                for (k, filter) in self.from.chunks_exact(self.c * TAPS).enumerate() {
                    let filter = &filter[first * TAPS..(first + batch) * TAPS];
                    for (i, &w) in filter.iter().enumerate() {
                        gathered[i / TAPS][i % TAPS][k] = w;
                    }
                }
            }
            for (channel, g) in gathered.iter().enumerate().take(batch) {
                transform::<W, O::Exact>(g, &mut half, &mut terms);
                if O::CHANNELS > 1 && W::ROUNDING.together {
                    round::<W>(&mut terms);
                }
                let channel = first + channel;
                for (i, j) in (0..W::TERMS).flat_map(|i| (0..W::TERMS).map(move |j| (i, j))) {
                    let step = place::<W>(i, j) * self.c / O::CHANNELS + channel / O::CHANNELS;
                    let to = &mut self.to[step * PANEL * O::CHANNELS..][..PANEL * O::CHANNELS];
                    for k in 0..PANEL {
                        to[k * O::CHANNELS + channel % O::CHANNELS] = O::narrow(terms[i][j][k]);
                    }
                }
            }
        }
    }
}

#[inline(always)]
fn transform<W: Scheme, R: Real>(
    g: &[Side<f32>; TAPS],
    half: &mut [[Side<R>; MOST]; 3],
    all: &mut [[Side<f32>; MOST]; MOST],
) {
    for x in 0..3 {
        for k in 0..PANEL {
            let terms = W::filter([0, 3, 6].map(|row| R::weight(g[row + x][k])));
            for i in 0..W::TERMS {
                half[x][i][k] = terms[i];
            }
        }
    }
    for i in 0..W::TERMS {
        for k in 0..PANEL {
            let terms = W::filter([half[0][i][k], half[1][i][k], half[2][i][k]]);
            for j in 0..W::TERMS {
                all[i][j][k] = terms[j].rounded();
            }
        }
    }
}

/// To values of bf16, whose errors make up for each other: see `rounding.rs`.
#[inline(always)]
fn round<W: Scheme>(terms: &mut [[Side<f32>; MOST]; MOST]) {
    let rounding = W::ROUNDING;
    // The errors of the rows before, each weighted along its row as it counts for the value j.
    let mut rows = [[[0.0f32; PANEL]; MOST]; MOST];
    for a in 0..W::TERMS {
        let i = rounding.order[a];
        let mut errors = [[0.0f32; PANEL]; MOST];
        for b in 0..W::TERMS {
            let j = rounding.order[b];
            let exact = terms[i][j];
            let (mut value, mut row) = (exact, [0.0f32; PANEL]);
            for before in 0..a {
                subtract(&mut value, rounding.filters[a][before], &rows[before][b]);
            }
            for before in 0..b {
                subtract(&mut row, -rounding.filters[b][before], &errors[before]);
            }
            for k in 0..PANEL {
                let near = nearest(value[k] - row[k]);
                terms[i][j][k] = near;
                errors[b][k] = near - exact[k];
                rows[a][b][k] = row[k] + errors[b][k];
            }
        }
    }
}

#[inline(always)]
fn subtract(from: &mut Side<f32>, share: f32, errors: &Side<f32>) {
    for k in 0..PANEL {
        from[k] -= share * errors[k];
    }
}

/// The nearest value of bf16. What is not finite stays what it is.
#[inline(always)]
fn nearest(x: f32) -> f32 {
    let bits = x.to_bits();
    let near = f32::from_bits((bits.wrapping_add(0x7FFF + (bits >> 16 & 1))) & 0xFFFF_0000);
    if x.is_finite() { near } else { x }
}
