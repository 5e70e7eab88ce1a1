//! For very few output channels, such as the three of a photograph, a panel would be nearly empty. So each
//! pixel is multiplied once with the weights of all taps, and an output is the sum, over the taps, of what the
//! pixels around it have for it.

use super::stage::Patch;
use super::{Job, scratch};
use crate::backend::cpu::Parts;
use crate::backend::cpu::simd::{Kernel, Simd};
use crate::error::Result;
use crate::exec::Cx;
use crate::ops::tile::{Keep, PANEL, Taps, panel};

/// Outputs of a block: the products of a block and its border stay in the second cache.
const ROWS: usize = 16;
const COLS: usize = 64;

pub fn forward(job: &Job<'_>, cx: Cx<'_>) -> Result<()> {
    let g = &job.g;
    let weight = job.weights::<f32>()?;
    let width = (g.r * g.s * g.k).next_multiple_of(PANEL);
    let line = (COLS + g.s - 1) * g.c;
    let products = (ROWS + g.r - 1) * (COLS + g.s - 1) * width;
    let each = line + products;
    let mut memory = scratch(cx, job.cpu, each)?;
    let lanes = Parts::new(memory.data_mut::<f32>()?);
    let (down, across) = (g.oh.div_ceil(ROWS), g.ow.div_ceil(COLS));
    job.cpu.pool.blocks(g.n * down * across, |lane, index| {
        let (image, block) = (index / (down * across), index % (down * across));
        let at = [block / across * ROWS, block % across * COLS];
        let size = [ROWS.min(g.oh - at[0]), COLS.min(g.ow - at[1])];
        // SAFETY: a lane runs one block at a time.
        let scratch = unsafe { lanes.slice(lane * each..(lane + 1) * each) };
        let (line, products) = scratch.split_at_mut(line);
        job.cpu.isa.dispatch(Block { job, weight, image, at, size, width, line, products });
    });
    Ok(())
}

struct Block<'a> {
    job: &'a Job<'a>,
    weight: &'a [f32],
    image: usize,
    at: [usize; 2],
    size: [usize; 2],
    /// Floats of a pixel's products.
    width: usize,
    line: &'a mut [f32],
    products: &'a mut [f32],
}

impl Kernel for Block<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self) {
        let g = &self.job.g;
        let area = self.job.patch(self.image, self.at, self.size);
        let taps = Taps::one(g.c);
        for row in 0..area.rows {
            let patch = Patch { y: area.y + row as isize, rows: 1, ..area };
            // SAFETY: the line and the products hold the largest block.
            unsafe { self.job.stage::<S, f32>(&patch, 0, g.c, self.line.as_mut_ptr(), g.c) };
            let line = self.line.as_ptr();
            let to = &mut self.products[row * area.cols * self.width..][..area.cols * self.width];
            for (first, weight) in (0..self.width).step_by(PANEL).zip(self.weight.chunks_exact(g.c * PANEL)) {
                let mut keep = Keep { to: to[first..].as_mut_ptr(), width: self.width };
                // SAFETY: as above.
                unsafe {
                    panel::<S, f32>(
                        area.cols,
                        &taps,
                        |p| line.wrapping_add(p * g.c),
                        weight.as_ptr(),
                        &mut keep,
                    )
                };
            }
        }
        let [rows, cols] = self.size;
        for y in 0..rows {
            let first = ((self.image * g.oh + self.at[0] + y) * g.ow + self.at[1]) * g.k;
            for x in 0..cols {
                for k in (0..g.k).step_by(S::LANES) {
                    let n = S::LANES.min(g.k - k);
                    let out = first + x * g.k + k;
                    // SAFETY: the taps of an output of this block lie inside the block's products; blocks have no output
                    // in common.
                    unsafe {
                        let mut sum = S::load_n(self.job.bias.as_ptr().add(k), n);
                        for a in 0..g.r {
                            for b in 0..g.s {
                                let pixel = (y + a) * area.cols + x + b;
                                let at = pixel * self.width + (a * g.s + b) * g.k + k;
                                sum = S::add(sum, S::load_n(self.products.as_ptr().add(at), n));
                            }
                        }
                        if let Some(residual) = self.job.residual {
                            sum = S::add(sum, residual.load_n::<S>(out, n));
                        }
                        self.job.out.store_far::<S>(out, sum, n, false);
                    }
                }
            }
        }
    }
}
