//! Weights that are transformed as they are used. Of the deepest layers there are many, and few pixels: four times as
//! many transformed ones would take longer to read than this takes to compute, and memory besides.

use super::plan::{Plan, odd, sums};
use super::scheme::{A, B, F4, Scheme};
use super::transform::Output;
use super::{Group, outputs, shared};
use crate::backend::cpu::simd::{Kernel, Simd};
use crate::error::Result;
use crate::exec::Cx;
use crate::ops::conv2d::cpu::Job;
use crate::ops::tile::{Add, Keep, PANEL, Taps, panel, turn};

/// Channels whose weights are transformed and multiplied at once: a third of the second cache.
const CHANNELS: usize = 64;
/// The widest vector: rows of weights are turned in blocks of it.
const WIDEST: usize = 16;
const TAPS: usize = 9;
/// Floats of a cache line; the weights of [`CHANNELS`] channels are as many lines as there are products.
const LINE: usize = 16;
const _: () = assert!(CHANNELS * TAPS == PRODUCTS * LINE);
const PRODUCTS: usize = F4::PRODUCTS * F4::PRODUCTS;
/// Elements from the terms of a product to those of the next, so that the terms of a filter do not all want the same
/// set of the first cache.
const TERMS: usize = odd(CHANNELS * PANEL, size_of::<f32>());

/// Whether weights (k, c) can be turned without remainders.
pub fn takes([k, c]: [usize; 2]) -> bool {
    k.is_multiple_of(PANEL) && c.is_multiple_of(WIDEST)
}

pub fn forward(job: &Job<'_>, cx: Cx<'_>) -> Result<()> {
    let plan = &Plan::new::<F4, f32>(job);
    let weight = job.weights::<f32>()?;
    let each = |tiles| PRODUCTS * (sums(tiles) + TERMS) + TAPS * CHANNELS * PANEL;
    shared::<F4, f32>(job, cx, plan, each, |group, index, scratch| {
        let filter = TAPS * job.g.c;
        let weight = &weight[index * PANEL * filter..(index + 1) * PANEL * filter];
        job.cpu.isa.dispatch(Late { job, plan, weight, group, index, scratch });
    })
}

/// A panel's weights, \[PANEL\]\[c\]\[9\], times a group, and the output transform.
struct Late<'a> {
    job: &'a Job<'a>,
    plan: &'a Plan,
    weight: &'a [f32],
    group: Group<f32>,
    index: usize,
    scratch: &'a mut [f32],
}

impl Kernel for Late<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self) {
        let Late { job, plan, weight, group: Group { units, v, tiles }, index, scratch } = self;
        let (c, step, plane) = (job.g.c, plan.step, plan.plane::<f32>(tiles));
        let last = plan.cut.unit(units.end - 1);
        // Rows of a group are where each unit has its place; only the last may be short.
        let rows = (units.len() - 1) * plan.cut.most() + last.rows * last.cols;
        let output = Output { job, first: index * PANEL, width: PANEL, far: plan.far };
        let (m, scratch) = scratch.split_at_mut(PRODUCTS * sums(tiles));
        let (terms, turned) = scratch.split_at_mut(PRODUCTS * TERMS);
        for t in 0..rows {
            let unit = plan.cut.unit(units.start + t / plan.cut.most());
            output.prefetch::<S, F4>(&unit, t % plan.cut.most());
        }
        for first in (0..c).step_by(CHANNELS) {
            let count = CHANNELS.min(c - first);
            turn::<S>(&weight[first * TAPS..], c * TAPS, count * TAPS, turned);
            transform::<S>(turned, count, terms);
            let taps = Taps::one(count);
            for product in 0..PRODUCTS {
                // The next channels' weights, a line of each filter at a time.
                for filter in 0..PANEL {
                    let next =
                        weight.as_ptr().wrapping_add((filter * c + first + CHANNELS) * TAPS + product * LINE);
                    // SAFETY: a prefetch reads nothing, wherever it points.
                    unsafe { S::prefetch_second(next.cast()) };
                }
                let v = v.wrapping_add(product * plane + first);
                let to = m[product * sums(tiles)..].as_mut_ptr();
                let at = |t: usize| v.wrapping_add(t * step);
                let weight = terms[product * TERMS..].as_ptr();
                // SAFETY: the planes hold `tiles` rows of `step` and of PANEL elements, the terms `count` x PANEL a
                // product.
                unsafe {
                    if first == 0 {
                        panel::<S, f32>(rows, &taps, at, weight, &mut Keep { to, width: PANEL });
                    } else {
                        panel::<S, f32>(rows, &taps, at, weight, &mut Add { to, width: PANEL });
                    }
                }
            }
        }
        // SAFETY: a unit's outputs in a panel are one job's.
        unsafe { outputs::<S, F4>(&output, plan, units, m, tiles) };
        if plan.far {
            // SAFETY: this runs under the level's dispatch.
            unsafe { S::fence() };
        }
    }
}

/// Filters \[count\]\[9\]\[PANEL\] to \[products\]\[count\]\[PANEL\], the products [`TERMS`] elements apart.
#[inline(always)]
fn transform<S: Simd>(from: &[f32], count: usize, to: &mut [f32]) {
    assert!(from.len() >= count * TAPS * PANEL && to.len() >= PRODUCTS * TERMS && count <= CHANNELS);
    for channel in 0..count {
        for lane in (0..PANEL).step_by(S::LANES) {
            // SAFETY: the slices are as long as asserted.
            unsafe {
                let tap = |t: usize| S::load(from.as_ptr().add((channel * TAPS + t) * PANEL + lane));
                let mut half = [[S::splat(0.0); 3]; F4::PRODUCTS];
                for x in 0..3 {
                    for (half, v) in half.iter_mut().zip(filter::<S>([tap(x), tap(3 + x), tap(6 + x)])) {
                        half[x] = v;
                    }
                }
                for (i, &half) in half.iter().enumerate() {
                    for (j, v) in filter::<S>(half).into_iter().enumerate() {
                        let at = (i * F4::PRODUCTS + j) * TERMS + channel * PANEL + lane;
                        S::store(to.as_mut_ptr().add(at), v);
                    }
                }
            }
        }
    }
}

/// [`F4`]'s `filter` in f32.
#[inline(always)]
unsafe fn filter<S: Simd>([g0, g1, g2]: [S::V; 3]) -> [S::V; F4::PRODUCTS] {
    const N0: f64 = 1.0 / (A * A * B * B);
    const NA: f64 = 1.0 / (2.0 * A * A * (A * A - B * B));
    const NB: f64 = 1.0 / (2.0 * B * B * (B * B - A * A));
    // SAFETY: the caller's.
    unsafe {
        let times = |x: f64, v: S::V| S::mul(S::splat(x as f32), v);
        let even = |square: f64, n: f64| S::fma(S::splat((square * n) as f32), g2, times(n, g0));
        let (even_a, odd_a) = (even(A * A, NA), times(A * NA, g1));
        let (even_b, odd_b) = (even(B * B, NB), times(B * NB, g1));
        [
            times(N0, g0),
            S::add(even_a, odd_a),
            S::sub(even_a, odd_a),
            S::add(even_b, odd_b),
            S::sub(even_b, odd_b),
            g2,
        ]
    }
}
