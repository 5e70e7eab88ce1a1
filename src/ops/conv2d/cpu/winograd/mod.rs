//! 3x3 convolutions with fewer products. Tiles of pixels and filters are transformed so that the convolution
//! becomes, for each pair of the scheme's products along the two axes, a product of matrices: tiles x channels times
//! channels x output channels.
//!
//! Two schedules compute the same sums. With few channels, a thread transforms a unit of tiles, multiplies it with
//! all panels and transforms the outputs, all in its own second cache. Where the filters are too large to be
//! read once a unit, or the units are too few, all threads transform a group of units together, then
//! each multiplies all of it with panels of its own.

mod filter;
mod late;
mod plan;
mod rounding;
mod scheme;
mod transform;

use super::weights::elements;
use super::{Job, scratch};
use crate::backend::cpu::simd::{Kernel, Simd};
use crate::backend::cpu::{Cpu, Parts, split};
use crate::error::{Error, Result};
use crate::exec::Cx;
use crate::ops::conv2d::{Geometry, SUMS, Variant};
use crate::ops::tile::{Keep, Operand, PANEL, Taps, panel};
use crate::tensor::{DType, Desc};
use half::bf16;
use plan::{CHUNK, Cut, Plan, Unit, sums};
use scheme::{F2Down, F2Up, F4, F4Up, F6, Scheme};
use std::marker::PhantomData;
use std::ops::Range;
use transform::{Output, Transformed};

pub use late::takes as late_takes;

/// Tiles of a group in the shared schedule.
const GROUP: usize = 64;
/// Channels that a job of the shared input transform has at least.
const SLICE: usize = 32;

/// Something to do with the scheme of a variant.
trait WithScheme {
    type Output;
    fn run<W: Scheme, O: Transformed>(self) -> Self::Output;
}

/// Does it, or answers `None` when the variant has no scheme for operands of this type.
fn with_scheme<T: WithScheme>(variant: Variant, operands: DType, what: T) -> Option<T::Output> {
    Some(match (variant, operands) {
        (Variant::Winograd, DType::F32) => what.run::<F4, f32>(),
        (Variant::Winograd, DType::BF16) => what.run::<F4, bf16>(),
        (Variant::WinogradLate, DType::F32) => what.run::<F4, f32>(),
        (Variant::Winograd6, DType::F32) => what.run::<F6, f32>(),
        (Variant::WinogradUp, DType::F32) => what.run::<F4Up, f32>(),
        (Variant::WinogradUp, DType::BF16) => what.run::<F2Up, bf16>(),
        (Variant::WinogradDown, DType::F32) => what.run::<F2Down, f32>(),
        (Variant::WinogradDown, DType::BF16) => what.run::<F2Down, bf16>(),
        _ => return None,
    })
}

/// Transformed weights a weight of a 3x3 kernel's channel becomes; `None` for a variant without transforms.
pub fn terms(variant: Variant, operands: DType) -> Option<usize> {
    struct Terms;
    impl WithScheme for Terms {
        type Output = usize;
        fn run<W: Scheme, O: Transformed>(self) -> usize {
            W::TERMS * W::TERMS
        }
    }
    with_scheme(variant, operands, Terms)
}

/// Parts of an image that sums are taken over; `None` for a variant without transforms.
pub fn units(variant: Variant, operands: DType, g: &Geometry) -> Option<usize> {
    struct Units<'a>(&'a Geometry);
    impl WithScheme for Units<'_> {
        type Output = usize;
        fn run<W: Scheme, O: Transformed>(self) -> usize {
            Cut::new::<W, O>(self.0).of_image()
        }
    }
    with_scheme(variant, operands, Units(g))
}

/// Transforms the 3x3 filters of one panel, \[k\]\[c\]\[9\], to bytes that hold the operands.
pub fn pack(variant: Variant, operands: DType, cpu: &Cpu, from: &[f32], c: usize, to: &mut [u8]) {
    struct Pack<'a> {
        cpu: &'a Cpu,
        from: &'a [f32],
        c: usize,
        to: &'a mut [u8],
    }
    impl WithScheme for Pack<'_> {
        type Output = ();
        fn run<W: Scheme, O: Transformed>(self) {
            let Pack { cpu, from, c, to } = self;
            let to = elements::<O>(to);
            cpu.isa.dispatch(filter::Transform::<W, O> { from, c, to, scheme: PhantomData });
        }
    }
    let _ = with_scheme(variant, operands, Pack { cpu, from, c, to });
}

/// Runs a convolution by a variant that has a scheme.
pub fn forward(variant: Variant, operands: DType, job: &Job<'_>, cx: Cx<'_>) -> Result<()> {
    if variant == Variant::WinogradLate {
        return late::forward(job, cx);
    }
    struct Forward<'a, 'b> {
        job: &'a Job<'a>,
        cx: Cx<'b>,
    }
    impl WithScheme for Forward<'_, '_> {
        type Output = Result<()>;
        fn run<W: Scheme, O: Transformed>(self) -> Result<()> {
            let plan = Plan::new::<W, O>(self.job);
            let weight = self.job.weights::<O>()?;
            if plan.shared {
                let plan = &plan;
                let each = |tiles| W::PRODUCTS * W::PRODUCTS * sums(tiles);
                shared::<W, O>(self.job, self.cx, plan, each, |Group { units, v, tiles }, index, m| {
                    let panels = index..index + 1;
                    let scheme = PhantomData::<W>;
                    let out = Out { job: self.job, weight, plan, units, panels, v, m, tiles, scheme };
                    self.job.cpu.isa.dispatch(out);
                })
            } else {
                private::<W, O>(self.job, weight, self.cx, &plan)
            }
        }
    }
    with_scheme(variant, operands, Forward { job, cx })
        .unwrap_or_else(|| Err(Error::internal(format!("{variant:?} of {operands} has no scheme"))))
}

/// Floats that hold so many operands.
fn floats<O: Operand>(elements: usize) -> usize {
    (elements * size_of::<O>()).div_ceil(size_of::<f32>())
}

/// Every unit from its pixels to its outputs on one thread.
fn private<W: Scheme, O: Transformed>(job: &Job<'_>, weight: &[O], cx: Cx<'_>, plan: &Plan) -> Result<()> {
    let tiles = plan.cut.most();
    let inputs = floats::<O>(W::INPUTS * W::INPUTS * plan.plane::<O>(tiles));
    let each = plan.patch.next_multiple_of(16) + inputs + W::PRODUCTS * W::PRODUCTS * sums(tiles);
    let mut memory = scratch(cx, job.cpu, each)?;
    let lanes = Parts::new(memory.data_mut::<f32>()?);
    job.cpu.pool.blocks(plan.units, |lane, index| {
        // SAFETY: a lane runs one unit at a time.
        let scratch = unsafe { lanes.slice(lane * each..(lane + 1) * each) };
        let (v, scratch) = scratch.split_at_mut(inputs);
        let (m, patch) = scratch.split_at_mut(W::PRODUCTS * W::PRODUCTS * sums(tiles));
        let v = v.as_mut_ptr().cast::<O>();
        let scheme = PhantomData::<W>;
        let (unit, channels) = (plan.cut.unit(index), 0..job.g.c);
        job.cpu.isa.dispatch(In { job, plan, unit, channels, patch, v, tiles, scheme });
        let (units, panels) = (index..index + 1, 0..plan.panels);
        job.cpu.isa.dispatch(Out { job, weight, plan, units, panels, v, m, tiles, scheme });
    });
    Ok(())
}

/// Transformed units that all threads multiply.
struct Group<O> {
    units: Range<usize>,
    /// The first plane of transformed pixels, of the first unit; nobody writes them now.
    v: *const O,
    /// Tiles of a plane.
    tiles: usize,
}

/// Groups of units: all threads transform one, then each multiplies it with panels of its own. `multiply` gets a group,
/// a panel, and `scratch(tiles)` floats.
fn shared<W: Scheme, O: Transformed>(
    job: &Job<'_>,
    cx: Cx<'_>,
    plan: &Plan,
    scratch_of: impl Fn(usize) -> usize,
    multiply: impl Fn(Group<O>, usize, &mut [f32]) + Sync,
) -> Result<()> {
    let (g, pool) = (&job.g, &job.cpu.pool);
    let together = (GROUP / plan.cut.most()).clamp(1, plan.units);
    let tiles = together * plan.cut.most();
    let inputs = floats::<O>(W::INPUTS * W::INPUTS * plan.plane::<O>(tiles));
    let mut v = cx.workspace.tensor(Desc::plain([inputs], DType::F32))?;
    let v = Parts::new(v.data_mut::<f32>()?);
    let each = plan.patch.max(scratch_of(tiles));
    let mut memory = scratch(cx, job.cpu, each)?;
    let lanes = Parts::new(memory.data_mut::<f32>()?);
    let scheme = PhantomData::<W>;
    for first in (0..plan.units).step_by(together) {
        let units = first..(first + together).min(plan.units);
        let cuts = (4 * pool.threads()).div_ceil(units.len()).min(g.c.div_ceil(SLICE));
        pool.blocks(units.len() * cuts, |lane, index| {
            let (at, cut) = (index / cuts, index % cuts);
            let (unit, channels) = (plan.cut.unit(first + at), split(g.c, cuts, SLICE, cut));
            // SAFETY: a lane runs one job at a time.
            let patch = unsafe { lanes.slice(lane * each..(lane + 1) * each) };
            // SAFETY: a job writes the rows of its unit and the columns of its channels; all lie in the planes.
            let v = unsafe { v.pointer().cast::<O>().add(at * plan.cut.most() * plan.step) };
            job.cpu.isa.dispatch(In { job, plan, unit, channels, patch, v, tiles, scheme });
        });
        pool.blocks(plan.panels, |lane, index| {
            // SAFETY: a lane runs one panel at a time.
            let m = unsafe { lanes.slice(lane * each..(lane + 1) * each) };
            multiply(Group { units: units.clone(), v: v.pointer().cast::<O>(), tiles }, index, m);
        });
    }
    Ok(())
}

/// The input transform of some channels of a unit.
struct In<'a, W, O> {
    job: &'a Job<'a>,
    plan: &'a Plan,
    unit: Unit,
    channels: Range<usize>,
    patch: &'a mut [f32],
    /// The unit's first tile in the first plane.
    v: *mut O,
    /// Tiles of a plane.
    tiles: usize,
    scheme: PhantomData<W>,
}

impl<W: Scheme, O: Transformed> Kernel for In<'_, W, O> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self) {
        if self.unit.rows == 0 {
            return;
        }
        let sizes = [self.plan.plane::<O>(self.tiles), self.plan.step];
        for first in self.channels.clone().step_by(CHUNK) {
            let chunk = [first, CHUNK.min(self.channels.end - first)];
            let patch = self.patch.as_mut_ptr();
            // SAFETY: `Plan` sized the patch and the planes for the largest unit.
            unsafe { transform::input::<S, W, O>(self.job, &self.unit, chunk, patch, self.v, sizes) };
        }
    }
}

/// The products of some units with some panels, and their output transform.
struct Out<'a, W, O> {
    job: &'a Job<'a>,
    weight: &'a [O],
    plan: &'a Plan,
    units: Range<usize>,
    panels: Range<usize>,
    /// The first plane of transformed pixels, of the first unit; nobody writes them now.
    v: *const O,
    m: &'a mut [f32],
    tiles: usize,
    scheme: PhantomData<W>,
}

impl<W: Scheme, O: Transformed> Kernel for Out<'_, W, O> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self) {
        let (job, plan) = (self.job, self.plan);
        let (g, step, plane) = (&job.g, plan.step, plan.plane::<O>(self.tiles));
        let last = plan.cut.unit(self.units.end - 1);
        // Rows of a group are where each unit has its place; only the last may be short.
        let rows = (self.units.len() - 1) * plan.cut.most() + last.rows * last.cols;
        let mut taps = Taps { r: 1, s: 1, c: g.c, row: W::INPUTS * plane, col: plane };
        let mut weight = self.weight[self.panels.start * W::TERMS * W::TERMS * g.c * PANEL..].as_ptr();
        for index in self.panels {
            let first = index * PANEL;
            let output = Output { job, first, width: PANEL.min(g.k - first), far: plan.far };
            for product in 0..W::PRODUCTS * W::PRODUCTS {
                let (i, j) = (product / W::PRODUCTS, product % W::PRODUCTS);
                (taps.r, taps.s) = (W::COUNT[i], W::COUNT[j]);
                let v = self.v.wrapping_add((W::FIRST[i] * W::INPUTS + W::FIRST[j]) * plane);
                let mut keep = Keep { to: self.m[product * sums(self.tiles)..].as_mut_ptr(), width: PANEL };
                for t in split(rows, W::PRODUCTS * W::PRODUCTS, 1, product) {
                    let unit = plan.cut.unit(self.units.start + t / plan.cut.most());
                    output.prefetch::<S, W>(&unit, t % plan.cut.most());
                }
                // SAFETY: the planes hold `tiles` rows of `step` and of PANEL elements, the weight TERMS x TERMS
                // products of c x PANEL for each panel.
                unsafe {
                    panel::<S, O>(rows, &taps, |t| v.wrapping_add(t * step), weight, &mut keep);
                    weight = weight.add(taps.r * taps.s * g.c * PANEL);
                }
            }
            // SAFETY: as above; a unit's outputs in a panel are one job's.
            unsafe { outputs::<S, W>(&output, plan, self.units.clone(), self.m, self.tiles) };
        }
        if plan.far {
            // SAFETY: this runs under the level's dispatch.
            unsafe { S::fence() };
        }
    }
}

/// The output transform of a panel's products of some units.
///
/// # Safety
/// That of [`Simd`]; `m` holds the planes of `tiles`, and the outputs and sums of these units and this panel are nobody
/// else's.
#[inline(always)]
unsafe fn outputs<S: Simd, W: Scheme>(
    output: &Output<'_>,
    plan: &Plan,
    units: Range<usize>,
    m: &[f32],
    tiles: usize,
) {
    let job = output.job;
    for (at, which) in units.enumerate() {
        let unit = plan.cut.unit(which);
        let m = m[at * plan.cut.most() * PANEL..].as_ptr();
        // SAFETY: the caller's.
        unsafe {
            match &job.sums {
                Some(all) => {
                    let to = all.pointer().add(which * SUMS * job.g.k);
                    output.transform::<S, W, true>(&unit, m, sums(tiles), to);
                }
                None => output.transform::<S, W, false>(&unit, m, sums(tiles), std::ptr::null_mut()),
            }
        }
    }
}
