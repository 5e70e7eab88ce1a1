//! The gradient of a filter from or to very few channels, such as the three of a photograph. What has few of them is
//! copied side by side for all taps, so that the sum over positions is one product with what has many, not one of few
//! columns for each tap.

use super::filter::FilterGradient;
use crate::backend::cpu::simd::{Kernel, Simd};
use crate::backend::cpu::{Cpu, Parts, Values};
use crate::error::Result;
use crate::exec::Cx;
use crate::ops::check::dims;
use crate::ops::fill::converted;
use crate::ops::matmul::Product;
use crate::tensor::{DType, Desc, Tensor};
use std::ops::Range;

/// Columns of the product up to which it pays.
const WIDE: usize = 64;
/// Positions whose sums are kept apart, at least, and how many such runs there are at most: a cut that does not depend
/// on the threads.
const RUN: usize = 2048;
const MOST: usize = 64;
/// Positions that are copied before they are multiplied.
const CHUNK: usize = 256;

/// Whether it can compute this gradient, and pays.
pub(super) fn takes(rule: &FilterGradient, c: usize, k: usize) -> bool {
    let few = c.min(k);
    few < 16 && few * rule.kernel[0] * rule.kernel[1] <= WIDE
}

pub(super) fn run(
    rule: &FilterGradient,
    cx: Cx<'_>,
    cpu: &Cpu,
    u: &Tensor,
    dy: &Tensor,
    out: &mut Tensor,
) -> Result<()> {
    let [n, h, w, c] = dims("x", u.desc())?;
    let [_, oh, ow, k] = dims("gradient", dy.desc())?;
    // Positions are those of what has many channels: outputs, or pixels.
    let of_outputs = c <= k;
    let (few, many, positions) = if of_outputs { (u, dy, n * oh * ow) } else { (dy, u, n * h * w) };
    let few = converted(cx, few, DType::F32)?;
    let job = Job {
        rule,
        pixels: [h, w],
        outputs: [oh, ow],
        of_outputs,
        few: few.data()?,
        channels: [c.min(k), c.max(k)],
        many: Values::of(many)?,
    };
    let [columns, rows] = [job.columns(), c.max(k)];
    let runs = positions.div_ceil(RUN).clamp(1, MOST);
    let run = positions.div_ceil(runs);
    let each = CHUNK * (columns + rows);
    let mut memory = cx.workspace.tensor(Desc::plain([cpu.pool.threads(), each], DType::F32))?;
    let mut sums = cx.workspace.tensor(Desc::plain([runs, rows, columns], DType::F32))?;
    let (lanes, parts) = (Parts::new(memory.data_mut::<f32>()?), Parts::new(sums.data_mut::<f32>()?));
    cpu.pool.blocks(runs, |lane, index| {
        // SAFETY: a lane runs one job at a time, and each has sums of its own.
        let (scratch, sums) = unsafe {
            let size = rows * columns;
            (lanes.slice(lane * each..(lane + 1) * each), parts.slice(index * size..(index + 1) * size))
        };
        let positions = (index * run).min(positions)..((index + 1) * run).min(positions);
        cpu.isa.dispatch(Run { job: &job, positions, scratch, sums });
    });
    let (sums, taps) = (sums.data::<f32>()?, rule.kernel[0] * rule.kernel[1]);
    for (i, out) in out.data_mut::<f32>()?.iter_mut().enumerate() {
        let (to, from, tap) = (i / (c * taps), i / taps % c, i % taps);
        let (row, channel) = if of_outputs { (to, from) } else { (from, to) };
        let at = row * columns + tap * job.channels[0] + channel;
        *out = sums.iter().skip(at).step_by(rows * columns).map(|&s| f64::from(s)).sum::<f64>() as f32;
    }
    Ok(())
}

/// What all runs share.
struct Job<'a> {
    rule: &'a FilterGradient,
    /// Rows and columns of pixels, and of outputs.
    pixels: [usize; 2],
    outputs: [usize; 2],
    /// Whether positions are outputs.
    of_outputs: bool,
    few: &'a [f32],
    /// How many `few` has, and how many `many` has.
    channels: [usize; 2],
    many: Values<'a>,
}

impl Job<'_> {
    /// Of the product.
    fn columns(&self) -> usize {
        self.rule.kernel[0] * self.rule.kernel[1] * self.channels[0]
    }

    /// What has few channels at all taps of a position, zeros where there is nothing.
    fn copy(&self, position: usize, to: &mut [f32]) {
        let [stride, few] = [self.rule.stride, self.channels[0]];
        let ([h, w], [fh, fw]) = match self.of_outputs {
            true => (self.outputs, self.pixels),
            false => (self.pixels, self.outputs),
        };
        let (image, y, x) = (position / (h * w), position / w % h, position % w);
        // The other side's row, or column, for a tap.
        let other = |at: usize, tap: usize, before: usize, size: usize| {
            let other = match self.of_outputs {
                true => (at * stride + tap).checked_sub(before)?,
                false if stride == 1 => (at + before).checked_sub(tap)?,
                false => {
                    let apart = (at + before).checked_sub(tap)?;
                    apart.is_multiple_of(stride).then_some(apart / stride)?
                }
            };
            (other < size).then_some(other)
        };
        let mut to = to.chunks_exact_mut(few);
        for a in 0..self.rule.kernel[0] {
            let row = other(y, a, self.rule.top, fh);
            for b in 0..self.rule.kernel[1] {
                let Some(to) = to.next() else { return };
                match row.zip(other(x, b, self.rule.left, fw)) {
                    Some((row, column)) => {
                        to.copy_from_slice(&self.few[((image * fh + row) * fw + column) * few..][..few]);
                    }
                    None => to.fill(0.0),
                }
            }
        }
    }
}

/// The sums [many][taps][few] over some positions.
struct Run<'a> {
    job: &'a Job<'a>,
    positions: Range<usize>,
    scratch: &'a mut [f32],
    sums: &'a mut [f32],
}

impl Kernel for Run<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self) {
        let (columns, rows) = (self.job.columns(), self.job.channels[1]);
        let (beside, wide) = self.scratch.split_at_mut(CHUNK * columns);
        self.sums.fill(0.0);
        for first in self.positions.clone().step_by(CHUNK) {
            let count = CHUNK.min(self.positions.end - first);
            for (i, to) in beside.chunks_exact_mut(columns).enumerate().take(count) {
                self.job.copy(first + i, to);
            }
            for i in (0..count * rows).step_by(S::LANES) {
                let n = S::LANES.min(count * rows - i);
                // SAFETY: the positions are there, and the scratch holds a chunk of them.
                unsafe {
                    S::store_up_to(
                        wide.as_mut_ptr().add(i),
                        self.job.many.load_n::<S>(first * rows + i, n),
                        n,
                    );
                }
            }
            let product = Product {
                m: rows,
                n: columns,
                k: count,
                a: wide.as_ptr(),
                a_row: 1,
                a_depth: rows,
                b: beside.as_ptr(),
                b_row: columns,
                c: self.sums.as_mut_ptr(),
                c_row: columns,
                add: true,
            };
            product.run::<S>();
        }
    }
}
