//! Implicit GEMM: a block of outputs is computed from a staged patch of pixels, whose taps are reached by an
//! offset from each output's own first pixel. Nothing is unrolled, but where the channels are too few to
//! fill a loop (the three of a photograph), and then in scratch.

use super::stage::Patch;
use super::{Geometry, Job, scratch};
use crate::backend::cpu::simd::{Kernel, Simd};
use crate::backend::cpu::{Parts, split};
use crate::error::Result;
use crate::exec::Cx;
use crate::ops::tile::{Operand, PANEL, Sink, Taps, panel};
use std::ops::Range;

/// Below this many channels the taps of a pixel are copied side by side.
const FEW: usize = 16;

/// The most outputs of a block.
const MOST: usize = 512;

/// Division by the outputs in a row of a block, without a division.
#[derive(Clone, Copy)]
struct Rows {
    cols: usize,
    inverse: usize,
}

impl Rows {
    fn new(cols: usize) -> Rows {
        // Exact for numbers below 2^16: the rounding up of the inverse adds less than 2^16 / 2^32 to the quotient.
        Rows { cols, inverse: ((1u64 << 32).div_ceil(cols as u64)) as usize }
    }

    /// Row and column of the output.
    #[inline(always)]
    fn of(self, index: usize) -> (usize, usize) {
        let row = ((index as u64 * self.inverse as u64) >> 32) as usize;
        (row, index - row * self.cols)
    }
}

/// How a convolution is cut. The cut changes no sum, so it may depend on the threads.
struct Plan {
    /// Outputs of a block.
    rows: usize,
    cols: usize,
    /// Blocks of an image.
    down: usize,
    across: usize,
    /// Parts that the panels are divided in.
    groups: usize,
    /// Elements of a block's patch, and of its unrolled taps.
    patch: usize,
    unrolled: usize,
    /// Whether pixels are read where they are.
    in_place: bool,
}

impl Plan {
    fn new(g: &Geometry, threads: usize, in_place: bool) -> Plan {
        let panels = g.k.div_ceil(PANEL);
        let wanted = 3 * threads;
        // A patch of about 256 KiB stays in the second cache.
        let step = g.stride.min(g.r).min(g.s);
        let mut pixels = (65536 / g.c / (step * step)).clamp(64, MOST);
        loop {
            let rows = (pixels / g.ow.min(32)).clamp(1, g.oh);
            let cols = (pixels / rows).clamp(1, g.ow);
            // Blocks of one size, rather than a last one that is nearly empty.
            let (down, across) = (g.oh.div_ceil(rows), g.ow.div_ceil(cols));
            let (rows, cols) = (g.oh.div_ceil(down), g.ow.div_ceil(across));
            let blocks = g.n * down * across;
            if blocks * panels < wanted && pixels > 16 {
                pixels /= 2;
                continue;
            }
            let few = g.c < FEW && g.r * g.s > 1;
            return Plan {
                rows,
                cols,
                down,
                across,
                groups: wanted.div_ceil(blocks).min(panels),
                patch: ((rows - 1) * g.stride + g.r) * ((cols - 1) * g.stride + g.s) * g.c,
                unrolled: if few { rows * cols * g.r * g.s * g.c } else { 0 },
                in_place,
            };
        }
    }
}

pub fn forward<O: Operand>(job: &Job<'_>, cx: Cx<'_>) -> Result<()> {
    let g = &job.g;
    let weight = job.weights::<O>()?;
    // A 1x1 convolution of plain pixels is a product of matrices: one long row of pixels.
    let in_place = O::of(job.x).is_some()
        && g.r * g.s == 1
        && g.stride == 1
        && g.up == 0
        && (g.oh, g.ow) == (g.h, g.w)
        && job.coefficients.is_none();
    let pixels = g.n * g.h * g.w;
    let flat = Geometry { n: 1, h: 1, w: pixels, oh: 1, ow: pixels, ..*g };
    let g = if in_place { &flat } else { g };

    let plan = Plan::new(g, job.cpu.pool.threads(), in_place);
    let operands = if in_place { 0 } else { plan.patch + plan.unrolled };
    let each = (operands * size_of::<O>()).div_ceil(size_of::<f32>());
    let mut memory = scratch(cx, job.cpu, each)?;
    let lanes = Parts::new(memory.data_mut::<f32>()?);
    let panels = g.k.div_ceil(PANEL);
    job.cpu.pool.blocks(g.n * plan.down * plan.across * plan.groups, |lane, index| {
        let (block, group) = (index / plan.groups, index % plan.groups);
        let (image, block) = (block / (plan.down * plan.across), block % (plan.down * plan.across));
        let (y, x) = (block / plan.across * plan.rows, block % plan.across * plan.cols);
        // The last blocks may begin past the end when the extents divide badly.
        if y >= g.oh || x >= g.ow {
            return;
        }
        // SAFETY: a lane runs one block at a time.
        let scratch = unsafe { lanes.slice(lane * each..(lane + 1) * each) };
        job.cpu.isa.dispatch(Block::<O> {
            job,
            weight,
            g,
            plan: &plan,
            image,
            at: [y, x],
            size: [plan.rows.min(g.oh - y), plan.cols.min(g.ow - x)],
            panels: split(panels, plan.groups, 1, group),
            scratch,
        });
    });
    Ok(())
}

struct Block<'a, O> {
    job: &'a Job<'a>,
    weight: &'a [O],
    g: &'a Geometry,
    plan: &'a Plan,
    image: usize,
    at: [usize; 2],
    size: [usize; 2],
    panels: Range<usize>,
    scratch: &'a mut [f32],
}

impl<O: Operand> Kernel for Block<'_, O> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self) {
        let (job, g) = (self.job, self.g);
        let [rows, cols] = self.size;
        let mut taps = Taps { r: g.r, s: g.s, c: g.c, row: 0, col: g.c };
        let (mut base, mut down, mut right);
        if let Some(x) = O::of(job.x).filter(|_| self.plan.in_place) {
            base = x[self.at[1] * g.c..].as_ptr();
            (down, right) = (0, g.c);
        } else {
            // SAFETY: every bit pattern is an operand.
            let (_, operands, _) = unsafe { self.scratch.align_to_mut::<O>() };
            let (patch, unrolled) = operands.split_at_mut(self.plan.patch);
            let unrolled = &mut unrolled[..self.plan.unrolled];
            let area: Patch = job.patch(self.image, self.at, self.size);
            // SAFETY: `Plan` sized the scratch for the largest block.
            unsafe { job.stage::<S, O>(&area, 0, g.c, patch.as_mut_ptr(), g.c) };
            base = patch.as_ptr();
            taps.row = area.cols * g.c;
            (down, right) = (g.stride * taps.row, g.stride * g.c);
            if !unrolled.is_empty() {
                let run = g.s * g.c;
                for y in 0..rows {
                    for x in 0..cols {
                        for a in 0..g.r {
                            let from = &patch[y * down + x * right + a * taps.row..][..run];
                            unrolled[((y * cols + x) * g.r + a) * run..][..run].copy_from_slice(from);
                        }
                    }
                }
                base = unrolled.as_ptr();
                taps = Taps::one(g.r * run);
                (down, right) = (cols * taps.c, taps.c);
            }
        }
        let in_row = Rows::new(cols);
        let far = g.far();
        let panel_elements = g.r * g.s * g.c * PANEL;
        for index in self.panels {
            let first = index * PANEL;
            let width = PANEL.min(g.k - first);
            let pixel = (self.image * g.oh + self.at[0]) * g.ow + self.at[1];
            let mut store = Store { job, first, width, in_row, pixel, ow: g.ow, far };
            let weight = &self.weight[index * panel_elements..][..panel_elements];
            let at = |index: usize| {
                let (row, col) = in_row.of(index);
                base.wrapping_add(row * down + col * right)
            };
            // SAFETY: every output's taps lie inside the patch, or inside x.
            unsafe { panel::<S, O>(rows * cols, &taps, at, weight.as_ptr(), &mut store) };
        }
        if far {
            // SAFETY: this runs under the level's dispatch.
            unsafe { S::fence() };
        }
    }
}

/// Adds bias and residual to a panel's sums.
struct Store<'a> {
    job: &'a Job<'a>,
    /// The panel's first output channel, and how many it has.
    first: usize,
    width: usize,
    /// Of the block; the block's first output, counted over all images; outputs in a row.
    in_row: Rows,
    pixel: usize,
    ow: usize,
    far: bool,
}

impl<S: Simd> Sink<S> for Store<'_> {
    #[inline(always)]
    unsafe fn put(&mut self, row: usize, column: usize, v: &[S::V]) {
        if column >= self.width {
            return;
        }
        let k = self.job.g.k;
        let channel = self.first + column;
        let count = (v.len() * S::LANES).min(self.width - column);
        let (y, x) = self.in_row.of(row);
        let at = (self.pixel + y * self.ow + x) * k + channel;
        let bias = &self.job.bias[channel..channel + count];
        for (i, &v) in v.iter().enumerate() {
            let first = i * S::LANES;
            if first >= count {
                return;
            }
            let n = S::LANES.min(count - first);
            // SAFETY: `first + n <= count`; each output belongs to one block, and a block's panels are its own.
            unsafe {
                let mut v = S::add(v, S::load_up_to(bias.as_ptr().add(first), n));
                if let Some(residual) = self.job.residual {
                    v = S::add(v, residual.load_n::<S>(at + first, n));
                }
                self.job.out.store_far::<S>(at + first, v, n, self.far);
            }
        }
    }
}
