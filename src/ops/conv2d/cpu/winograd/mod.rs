//! 3x3 convolutions of stride 1 with fewer products. Tiles of pixels and filters are transformed so that the
//! convolution becomes, for each of the transform's points, a product of matrices: tiles x channels times
//! channels x output channels.
//!
//! Two schedules compute the same sums. With few channels, a thread transforms a unit of tiles, multiplies it with
//! all panels and transforms the outputs, all in its own second cache. Where the filters are too large to be
//! read once a unit, or the units are too few, all threads transform a group of units together, then
//! each multiplies all of it with panels of its own.

mod filter;
mod scheme;
mod transform;

pub use filter::Transform;
pub use scheme::{F4, F4Up, Scheme};

use super::tile::{Keep, PANEL, Taps, panel};
use super::{Job, scratch, streams};
use crate::backend::cpu::simd::{Kernel, Simd};
use crate::backend::cpu::{Parts, split};
use crate::error::Result;
use crate::exec::Cx;
use std::marker::PhantomData;
use std::ops::Range;
use transform::Output;

/// Channels that are staged and transformed at once: their patch of pixels stays in the first cache.
const CHUNK: usize = 128;
/// Tiles of a group in the shared schedule.
const GROUP: usize = 64;
/// Bytes of filters up to which every unit may read them again from the last cache.
const NEAR: usize = 16 << 20;

/// Products of one tile.
pub const fn products<W: Scheme>() -> usize {
    W::POINTS * W::POINTS
}

/// At least so many floats, an odd number of cache lines: what lies at such a distance does not compete for the
/// same places of a cache.
const fn odd(floats: usize) -> usize {
    (floats.div_ceil(16) / 2 * 2 + 1) * 16
}

/// A rectangle of tiles of one image: `rows` x `cols` of them from tile (y, x) on.
#[derive(Clone, Copy)]
struct Unit {
    image: usize,
    y: usize,
    x: usize,
    rows: usize,
    cols: usize,
}

/// How the tiles are cut.
#[derive(Clone, Copy)]
struct Plan {
    /// Tiles of an image, and of a unit.
    tiles: [usize; 2],
    unit: [usize; 2],
    /// Units of an image.
    down: usize,
    across: usize,
    units: usize,
    /// Floats of a tile's channels, of a unit's patch.
    step: usize,
    patch: usize,
    panels: usize,
    shared: bool,
    stream: bool,
}

impl Plan {
    fn new<W: Scheme>(job: &Job<'_>) -> Plan {
        let g = &job.g;
        let tiles = [g.oh.div_ceil(W::OUT), g.ow.div_ceil(W::OUT)];
        // The transformed pixels of a unit and one panel's products stay in the second cache.
        let most: usize = if g.c <= 128 { 32 } else { 16 };
        let cols = tiles[1].min(if most == 32 { 8 } else { 4 });
        let rows = tiles[0].min(most / cols);
        let cols = tiles[1].min(most / rows);
        let (down, across) = (tiles[0].div_ceil(rows), tiles[1].div_ceil(cols));
        let unit = [tiles[0].div_ceil(down), tiles[1].div_ceil(across)];
        let side = |n: usize| (n - 1) * W::STEP + W::PIXELS;
        let units = g.n * down * across;
        let filters = size_of_val(job.weight);
        Plan {
            tiles,
            unit,
            down,
            across,
            units,
            step: odd(g.c),
            patch: side(unit[0]) * side(unit[1]) * CHUNK,
            panels: g.k.div_ceil(PANEL),
            shared: filters > NEAR || units < 2 * job.cpu.pool.threads(),
            stream: streams(g),
        }
    }

    /// The most tiles of a unit.
    fn most(&self) -> usize {
        self.unit[0] * self.unit[1]
    }

    fn unit(&self, index: usize) -> Unit {
        let (image, index) = (index / (self.down * self.across), index % (self.down * self.across));
        let y = (index / self.across * self.unit[0]).min(self.tiles[0]);
        let x = (index % self.across * self.unit[1]).min(self.tiles[1]);
        // The last units may be smaller, or empty when the extents divide badly.
        let (rows, cols) = (self.unit[0].min(self.tiles[0] - y), self.unit[1].min(self.tiles[1] - x));
        if rows * cols == 0 {
            return Unit { image, y, x, rows: 0, cols: 0 };
        }
        Unit { image, y, x, rows, cols }
    }
}

pub fn forward<W: Scheme>(job: &Job<'_>, cx: Cx<'_>) -> Result<()> {
    let plan = Plan::new::<W>(job);
    if plan.shared { shared::<W>(job, cx, &plan) } else { private::<W>(job, cx, &plan) }
}

/// Every unit from its pixels to its outputs on one thread.
fn private<W: Scheme>(job: &Job<'_>, cx: Cx<'_>, plan: &Plan) -> Result<()> {
    let inputs = W::INPUTS * W::INPUTS * odd(plan.most() * plan.step);
    let sums = products::<W>() * odd(plan.most() * PANEL);
    let each = plan.patch + inputs + sums;
    let mut memory = scratch(cx, job.cpu, each)?;
    let lanes = Parts::new(memory.data_mut::<f32>()?);
    job.cpu.pool.blocks(plan.units, |lane, index| {
        let unit = plan.unit(index);
        // SAFETY: a lane runs one unit at a time.
        let scratch = unsafe { lanes.slice(lane * each..(lane + 1) * each) };
        let (patch, scratch) = scratch.split_at_mut(plan.patch);
        let (v, m) = scratch.split_at_mut(inputs);
        let tiles = plan.most();
        let channels = 0..job.g.c;
        job.cpu.isa.dispatch(In::<W> {
            job,
            plan,
            unit,
            channels,
            patch,
            v: v.as_mut_ptr(),
            tiles,
            scheme: PhantomData,
        });
        let units = index..index + 1;
        job.cpu.isa.dispatch(Out::<W> {
            job,
            plan,
            units,
            panels: 0..plan.panels,
            v,
            m,
            tiles,
            scheme: PhantomData,
        });
    });
    Ok(())
}

/// Groups of units: all threads transform one, then each multiplies it with panels of its own.
fn shared<W: Scheme>(job: &Job<'_>, cx: Cx<'_>, plan: &Plan) -> Result<()> {
    let (g, pool) = (&job.g, &job.cpu.pool);
    let together = (GROUP / plan.most()).clamp(1, plan.units);
    let tiles = together * plan.most();
    let mut v = cx.workspace.tensor(crate::tensor::Desc::plain(
        [W::INPUTS * W::INPUTS, odd(tiles * plan.step)],
        crate::tensor::DType::F32,
    ))?;
    let each = plan.patch.max(products::<W>() * odd(tiles * PANEL));
    let mut memory = scratch(cx, job.cpu, each)?;
    let lanes = Parts::new(memory.data_mut::<f32>()?);
    let v = Parts::new(v.data_mut::<f32>()?);
    let chunks = g.c.div_ceil(CHUNK);
    for first in (0..plan.units).step_by(together) {
        let units = first..(first + together).min(plan.units);
        let cuts = (4 * pool.threads()).div_ceil(units.len()).min(chunks);
        pool.blocks(units.len() * cuts, |lane, index| {
            let (at, cut) = (index / cuts, index % cuts);
            let unit = plan.unit(first + at);
            let channels = split(g.c, cuts, CHUNK, cut);
            // SAFETY: a lane runs one job at a time.
            let patch = unsafe { lanes.slice(lane * each..(lane + 1) * each) };
            // SAFETY: a job writes the rows of its unit and the columns of its channels; all lie in the planes.
            let v = unsafe { v.pointer().add(at * plan.most() * plan.step) };
            job.cpu.isa.dispatch(In::<W> { job, plan, unit, channels, patch, v, tiles, scheme: PhantomData });
        });
        // SAFETY: the transforms are done, and nobody writes before the next group.
        let v = unsafe { v.slice(0..v.len()) };
        pool.blocks(plan.panels, |lane, index| {
            // SAFETY: a lane runs one panel at a time.
            let m = unsafe { lanes.slice(lane * each..(lane + 1) * each) };
            let units = units.clone();
            job.cpu.isa.dispatch(Out::<W> {
                job,
                plan,
                units,
                panels: index..index + 1,
                v,
                m,
                tiles,
                scheme: PhantomData,
            });
        });
    }
    Ok(())
}

/// The input transform of some channels of a unit.
struct In<'a, W> {
    job: &'a Job<'a>,
    plan: &'a Plan,
    unit: Unit,
    channels: Range<usize>,
    patch: &'a mut [f32],
    /// The unit's first tile in the first plane.
    v: *mut f32,
    /// Tiles of a plane.
    tiles: usize,
    scheme: PhantomData<W>,
}

impl<W: Scheme> Kernel for In<'_, W> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self) {
        if self.unit.rows == 0 {
            return;
        }
        let sizes = [odd(self.tiles * self.plan.step), self.plan.step];
        for first in self.channels.clone().step_by(CHUNK) {
            let chunk = [first, CHUNK.min(self.channels.end - first)];
            // SAFETY: `Plan` sized the patch and the planes for the largest unit.
            unsafe {
                transform::input::<S, W>(self.job, &self.unit, chunk, self.patch.as_mut_ptr(), self.v, sizes)
            };
        }
    }
}

/// The products of some units with some panels, and their output transform.
struct Out<'a, W> {
    job: &'a Job<'a>,
    plan: &'a Plan,
    units: Range<usize>,
    panels: Range<usize>,
    v: &'a [f32],
    m: &'a mut [f32],
    tiles: usize,
    scheme: PhantomData<W>,
}

impl<W: Scheme> Kernel for Out<'_, W> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self) {
        let (job, plan) = (self.job, self.plan);
        let (g, step) = (&job.g, plan.step);
        let last = plan.unit(self.units.end - 1);
        // Rows of a group are where each unit has its place; only the last may be short.
        let rows = (self.units.len() - 1) * plan.most() + last.rows * last.cols;
        let taps = Taps::one(g.c);
        for index in self.panels {
            let first = index * PANEL;
            let output = Output { job, first, width: PANEL.min(g.k - first), stream: plan.stream };
            for product in 0..products::<W>() {
                let (i, j) = (W::SOURCE[product / W::POINTS], W::SOURCE[product % W::POINTS]);
                let v = self.v[(i * W::INPUTS + j) * odd(self.tiles * step)..].as_ptr();
                let weight = &job.weight[(index * products::<W>() + product) * g.c * PANEL..][..g.c * PANEL];
                let mut keep =
                    Keep { to: self.m[product * odd(self.tiles * PANEL)..].as_mut_ptr(), width: PANEL };
                for t in split(rows, products::<W>(), 1, product) {
                    let unit = plan.unit(self.units.start + t / plan.most());
                    output.prefetch::<S, W>(&unit, t % plan.most());
                }
                // SAFETY: the planes hold `tiles` rows of `step` and of PANEL floats.
                unsafe { panel::<S>(rows, &taps, |t| v.wrapping_add(t * step), weight.as_ptr(), &mut keep) };
            }
            for (at, unit) in self.units.clone().enumerate() {
                let unit = plan.unit(unit);
                let m = self.m[at * plan.most() * PANEL..].as_ptr();
                // SAFETY: as above; a unit's outputs in a panel are one job's.
                unsafe { output.transform::<S, W>(&unit, m, odd(self.tiles * PANEL)) };
            }
        }
        if plan.stream {
            // SAFETY: this runs under the level's dispatch.
            unsafe { S::fence() };
        }
    }
}
