//! Filters to the points, in f64, rounded once.

#![allow(clippy::needless_range_loop)] // The loops transpose.

use super::scheme::{MOST, Scheme};
use crate::backend::cpu::simd::{Kernel, Simd};
use crate::ops::conv2d::cpu::tile::PANEL;
use std::marker::PhantomData;

/// Input channels whose filters are gathered at once.
const BATCH: usize = 8;

/// Transforms one panel: 3x3 filters \[k\]\[c\]\[9\] to \[products\]\[c\]\[PANEL\], zeros past k <= PANEL.
pub struct Transform<'a, W> {
    pub from: &'a [f32],
    pub c: usize,
    pub to: &'a mut [f32],
    pub scheme: PhantomData<W>,
}

impl<W: Scheme> Kernel for Transform<'_, W> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self) {
        // The loops over PANEL are over whole vectors: the compiler makes them of this level's.
        let mut gathered = [[[0.0f32; PANEL]; 9]; BATCH];
        for first in (0..self.c).step_by(BATCH) {
            let batch = BATCH.min(self.c - first);
            for (k, filter) in self.from.chunks_exact(self.c * 9).enumerate() {
                for (channel, taps) in filter[first * 9..(first + batch) * 9].chunks_exact(9).enumerate() {
                    for (t, &w) in taps.iter().enumerate() {
                        gathered[channel][t][k] = w;
                    }
                }
            }
            for (channel, g) in gathered.iter().enumerate().take(batch) {
                let mut half = [[[0.0f64; PANEL]; MOST]; 3];
                for x in 0..3 {
                    for k in 0..PANEL {
                        let points =
                            W::filter([f64::from(g[x][k]), f64::from(g[3 + x][k]), f64::from(g[6 + x][k])]);
                        for i in 0..W::POINTS {
                            half[x][i][k] = points[i];
                        }
                    }
                }
                for i in 0..W::POINTS {
                    let mut out = [[0.0f32; PANEL]; MOST];
                    for k in 0..PANEL {
                        let points = W::filter([half[0][i][k], half[1][i][k], half[2][i][k]]);
                        for j in 0..W::POINTS {
                            out[j][k] = points[j] as f32;
                        }
                    }
                    for (j, out) in out.iter().enumerate().take(W::POINTS) {
                        let at = ((i * W::POINTS + j) * self.c + first + channel) * PANEL;
                        self.to[at..at + PANEL].copy_from_slice(out);
                    }
                }
            }
        }
    }
}
