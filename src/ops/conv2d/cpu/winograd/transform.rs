//! Pixels to the products' operands, and products to outputs.

#![allow(clippy::needless_range_loop)] // The loops transpose.

use super::plan::{CHUNK, Unit};
use super::scheme::{MOST, Real, Scheme};
use crate::backend::cpu::simd::{Lanes, Simd};
use crate::ops::conv2d::cpu::Job;
use crate::ops::conv2d::cpu::stage::Patch;
use crate::ops::tile::{Operand, PANEL};
use half::bf16;
use std::mem::MaybeUninit;

/// Stages and transforms the channels `first..first + count`, at most [`CHUNK`], of a unit's tiles. Input (i, j) of
/// the unit's t-th tile goes to `v + (i * INPUTS + j) * plane + t * step + first`.
///
/// # Safety
/// That of [`Simd`]; `patch` holds the unit's pixels of one chunk, `v` all planes, `step` whole vectors.
#[inline(always)]
pub unsafe fn input<S: Simd, W: Scheme, O: Transformed>(
    job: &Job<'_>,
    unit: &Unit,
    [first, count]: [usize; 2],
    patch: *mut f32,
    v: *mut O,
    [plane, step]: [usize; 2],
) {
    let g = &job.g;
    // Up-sampled pictures are padded by one large pixel: one pixel of x, of which the tile sees half.
    let (top, left) = if W::UP { (1, 1) } else { (g.top, g.left) };
    let area = Patch {
        image: unit.image,
        y: (unit.y * W::STEP) as isize - top as isize,
        x: (unit.x * W::STEP) as isize - left as isize,
        rows: (unit.rows - 1) * W::STEP + W::PIXELS,
        cols: (unit.cols - 1) * W::STEP + W::PIXELS,
        up: if W::UP { 0 } else { g.up },
    };
    // SAFETY: the caller's.
    unsafe {
        job.stage::<S, f32>(&area, first, count, patch, CHUNK);
        for t in 0..unit.rows * unit.cols {
            let at = (t / unit.cols * area.cols + t % unit.cols) * W::STEP * CHUNK;
            for lane in (0..count).step_by(S::LANES) {
                let from = patch.add(at + lane);
                let to = v.add(t * step + first + lane);
                // In groups, which the registers hold; what a group does not need of a column is not computed.
                rows::<S, W, O, 0>(from, area.cols * CHUNK, to, plane);
                rows::<S, W, O, GROUP>(from, area.cols * CHUNK, to, plane);
                rows::<S, W, O, { 2 * GROUP }>(from, area.cols * CHUNK, to, plane);
            }
        }
    }
}

/// Rows of transformed pixels at once.
const GROUP: usize = 3;

/// The inputs (i, j) of one tile and vector of channels for i in FIRST..FIRST + GROUP.
#[inline(always)]
unsafe fn rows<S: Simd, W: Scheme, O: Transformed, const FIRST: usize>(
    from: *const f32,
    line: usize,
    to: *mut O,
    plane: usize,
) {
    // SAFETY: the caller's.
    unsafe {
        let zero = S::splat(0.0);
        let mut columns = Rows::<S::V, GROUP>::new();
        for x in 0..W::PIXELS {
            let mut d = [zero; MOST];
            for (y, d) in d.iter_mut().enumerate().take(W::PIXELS) {
                *d = S::load(from.add(y * line + x * CHUNK));
            }
            let d = W::input::<S>(d);
            for i in 0..GROUP.min(MOST - FIRST) {
                columns.put(i, x, d[FIRST + i]);
            }
        }
        for i in 0..GROUP.min(W::INPUTS.saturating_sub(FIRST)) {
            let row = W::input::<S>(columns.row(i, W::PIXELS, zero));
            O::put::<S, W>(to.add((FIRST + i) * W::INPUTS * plane), plane, row);
        }
    }
}

/// Some rows of vectors between the two axes of a transform: memory that nobody clears.
struct Rows<V, const N: usize>([[MaybeUninit<V>; MOST]; N]);

impl<V: Copy, const N: usize> Rows<V, N> {
    #[inline(always)]
    fn new() -> Rows<V, N> {
        Rows([const { [const { MaybeUninit::uninit() }; MOST] }; N])
    }

    #[inline(always)]
    fn put(&mut self, i: usize, j: usize, v: V) {
        self.0[i][j].write(v);
    }

    /// A row of `count` vectors, `rest` past them.
    ///
    /// # Safety
    /// These were put.
    #[inline(always)]
    unsafe fn row(&self, i: usize, count: usize, rest: V) -> [V; MOST] {
        let mut row = [rest; MOST];
        for (to, from) in row.iter_mut().zip(&self.0[i]).take(count) {
            // SAFETY: the caller's.
            *to = unsafe { from.assume_init() };
        }
        row
    }
}

/// Operands that are made of transformed pixels.
pub trait Transformed: Operand {
    /// What filters are transformed in.
    type Exact: Real;

    /// Writes a row of them, `plane` elements apart.
    ///
    /// # Safety
    /// That of [`Simd`].
    unsafe fn put<S: Simd, W: Scheme>(to: *mut Self, plane: usize, row: [S::V; MOST]);
}

impl Transformed for f32 {
    type Exact = f64;

    #[inline(always)]
    unsafe fn put<S: Simd, W: Scheme>(to: *mut f32, plane: usize, row: [S::V; MOST]) {
        for (j, &value) in row.iter().enumerate().take(W::INPUTS) {
            // SAFETY: the caller's.
            unsafe { S::store(to.add(j * plane), value) };
        }
    }
}

impl Transformed for bf16 {
    type Exact = f32;

    #[inline(always)]
    unsafe fn put<S: Simd, W: Scheme>(to: *mut bf16, plane: usize, row: [S::V; MOST]) {
        // SAFETY: the caller's.
        unsafe {
            let mut errors = [S::splat(0.0); MOST];
            for i in 0..W::INPUTS {
                let j = W::ROUNDING.order[i];
                let mut value = row[j];
                for before in 0..i {
                    let share = W::ROUNDING.pixels[i][before];
                    if share != 0.0 {
                        value = S::fma(S::splat(-share), errors[before], value);
                    }
                }
                errors[i] = S::sub(S::near_bf16(value), row[j]);
                <bf16 as Lanes>::store::<S>(to.add(j * plane), value);
            }
        }
    }
}

/// Where a panel's outputs go.
pub struct Output<'a> {
    pub job: &'a Job<'a>,
    /// The panel's first output channel, and how many it has.
    pub first: usize,
    pub width: usize,
    /// Past the caches.
    pub far: bool,
}

impl Output<'_> {
    /// Brings the residual of a unit's t-th tile near, while the products are computed: to the output transform,
    /// a wait for each pixel would cost more than its arithmetic.
    #[inline(always)]
    pub fn prefetch<S: Simd, W: Scheme>(&self, unit: &Unit, t: usize) {
        let Some(residual) = self.job.residual else { return };
        let g = &self.job.g;
        if unit.cols == 0 {
            return;
        }
        let (y, x) = ((unit.y + t / unit.cols) * W::OUT, (unit.x + t % unit.cols) * W::OUT);
        for (y, x) in (0..W::OUT * W::OUT).map(|i| (y + i / W::OUT, x + i % W::OUT)) {
            let at = ((unit.image * g.oh + y) * g.ow + x) * g.k + self.first;
            for line in (0..PANEL).step_by(16) {
                // SAFETY: a prefetch reads nothing, wherever it points.
                unsafe { S::prefetch_second(residual.address(at + line)) };
            }
        }
    }

    /// Transforms the products of a unit's tiles, product (i, j) of the t-th at
    /// `m + (i * PRODUCTS + j) * plane + t * PANEL`, and adds bias and residual. With SUMS it writes the unit's sums.
    ///
    /// # Safety
    /// That of [`Simd`]; `m` holds all planes, and the outputs and sums of this unit and panel are nobody else's.
    #[inline(always)]
    pub unsafe fn transform<S: Simd, W: Scheme, const SUMS: bool>(
        &self,
        unit: &Unit,
        m: *const f32,
        plane: usize,
        sums: *mut f32,
    ) {
        for column in (0..self.width).step_by(S::LANES) {
            // SAFETY: the caller's.
            unsafe {
                let zero = S::splat(0.0);
                let mut found = Sums::<S::V> { count: 0, pivot: zero, sum: zero, square: zero };
                for t in 0..unit.rows * unit.cols {
                    let at = [(unit.y + t / unit.cols) * W::OUT, (unit.x + t % unit.cols) * W::OUT];
                    let m = m.add(t * PANEL + column);
                    // In groups, as with the pixels.
                    let output = OneTile { image: unit.image, at, column, m, plane };
                    self.rows::<S, W, SUMS, 0>(&output, &mut found);
                    self.rows::<S, W, SUMS, 1>(&output, &mut found);
                }
                if SUMS {
                    let n = S::LANES.min(self.width - column);
                    let k = self.job.g.k;
                    let to = sums.add(self.first + column);
                    for (row, value) in [S::splat(found.count as f32), found.pivot, found.sum, found.square]
                        .into_iter()
                        .enumerate()
                    {
                        S::store_up_to(to.add(row * k), value, n);
                    }
                }
            }
        }
    }

    /// The outputs of one tile and vector of channels that lie inside the picture, of the rows of a group.
    #[inline(always)]
    unsafe fn rows<S: Simd, W: Scheme, const SUMS: bool, const WHICH: usize>(
        &self,
        tile: &OneTile,
        found: &mut Sums<S::V>,
    ) {
        let g = &self.job.g;
        let &OneTile { image, at: [y0, x0], column, m, plane } = tile;
        let each = if W::OUT > ROWS { GROUP } else { ROWS };
        let first = WHICH * each;
        let last = W::OUT.min(first + each);
        if first >= last || y0 + first >= g.oh {
            return;
        }
        let channel = self.first + column;
        let n = S::LANES.min(self.width - column);
        // SAFETY: only outputs inside the picture, and `n` channels that exist; the rest is the caller's.
        unsafe {
            let zero = S::splat(0.0);
            let mut rows = Rows::<S::V, ROWS>::new();
            for j in 0..W::PRODUCTS {
                let mut products = [zero; MOST];
                for (i, product) in products.iter_mut().enumerate().take(W::PRODUCTS) {
                    *product = S::load(m.add((i * W::PRODUCTS + j) * plane));
                }
                let products = W::output::<S>(products);
                for y in first..last {
                    rows.put(y - first, j, products[y]);
                }
            }
            let bias = S::load_up_to(self.job.bias.as_ptr().add(channel), n);
            for y in first..last {
                if y0 + y >= g.oh {
                    return;
                }
                let row = W::output::<S>(rows.row(y - first, W::PRODUCTS, zero));
                let first = ((image * g.oh + y0 + y) * g.ow + x0) * g.k + channel;
                for (x, &value) in row.iter().enumerate().take(W::OUT.min(g.ow - x0)) {
                    let at = first + x * g.k;
                    let mut value = S::add(value, bias);
                    if let Some(residual) = self.job.residual {
                        value = S::add(value, residual.load_n::<S>(at, n));
                    }
                    self.job.out.store_far::<S>(at, value, n, self.far);
                    if SUMS {
                        if found.count == 0 {
                            found.pivot = value;
                        }
                        let from_pivot = S::sub(value, found.pivot);
                        found.count += 1;
                        found.sum = S::add(found.sum, from_pivot);
                        found.square = S::fma(from_pivot, from_pivot, found.square);
                    }
                }
            }
        }
    }
}

/// Rows of outputs at once, at most.
const ROWS: usize = 4;

/// A vector of channels of one tile.
struct OneTile {
    image: usize,
    /// Its first output.
    at: [usize; 2],
    column: usize,
    /// Its first product, and elements to the next.
    m: *const f32,
    plane: usize,
}

/// Sums over some outputs of a vector of channels, of what they differ from the first of them.
struct Sums<V> {
    count: usize,
    pivot: V,
    sum: V,
    square: V,
}
