use super::super::Activation;
use crate::backend::cpu::Parts;
use crate::backend::cpu::simd::{Kernel, Simd, math};
use std::mem::MaybeUninit;
use std::ops::Range;

/// Outputs a block.
pub const COLUMNS: usize = 64;
/// Rows of x a block: a multiple of every level's row tile.
pub const ROWS: usize = 48;
/// Outputs that all rows of a block pass before the next: their weights stay in the second cache meanwhile.
pub const GROUP: usize = 16;
/// Outputs of a register tile.
pub const TILE: usize = 4;
/// The most rows of a register tile.
const TALL: usize = 6;

/// What a call of [`Products::rows_of`] is about.
pub struct Tile {
    /// The first row.
    pub row: usize,
    /// Up to [`GROUP`] outputs.
    pub columns: Range<usize>,
    /// How many tiles of rows pass these weights, and which of them this is.
    pub passes: usize,
    pub pass: usize,
    /// The weights that come next, if they should be brought near.
    pub ahead: Option<*const u8>,
}

/// Rows of a register tile: as many as the level has registers for TILE sums each.
const fn tall<S: Simd>() -> usize {
    match S::REGISTERS {
        32.. => TALL,
        16.. => 3,
        _ => 1,
    }
}

/// How a block's products are computed.
pub trait Products: Sync {
    /// Those of some rows of x and some outputs.
    fn part(&self, rows: Range<usize>, columns: Range<usize>) -> Self;

    /// The products of R rows: `sums[r][c]` is that of the tile's row r and output c of the block. `sums` has at
    /// least R rows, and what it holds at the columns that fill up the last four is of no use.
    ///
    /// # Safety
    /// That of [`Simd`]; the rows and columns must be there.
    unsafe fn rows_of<S: Simd, const R: usize>(&self, tile: &Tile, sums: &mut [[f32; COLUMNS]]);

    /// Where the weights of an output of the block begin; past its last one, those of the next block.
    fn weights_of(&self, column: usize) -> *const u8;

    /// Asks for what the first tiles read: x, and weights up to where each tile asks for those that follow.
    ///
    /// # Safety
    /// That of [`Simd`].
    unsafe fn fetch<S: Simd>(&self);
}

/// A block of the product, with what follows it.
pub struct Block<'a, P> {
    pub products: P,
    /// SwiGLU's other factor: then the result is SiLU(products) * these.
    pub gated: Option<P>,
    pub activation: Activation,
    /// `columns` of them.
    pub bias: Option<&'a [f32]>,
    /// All of it, laid out as `out`.
    pub residual: Option<&'a [f32]>,
    pub out: &'a Parts<'a, f32>,
    /// Outputs of a row of `out`.
    pub n: usize,
    /// Where in `out` this block begins.
    pub first: usize,
    pub rows: usize,
    pub columns: usize,
    /// There are so few rows in all that reading the weights is what takes time.
    pub few: bool,
    /// Nothing was read here before, also by a thread that brings near what comes next.
    pub fresh: bool,
}

impl<P: Products> Kernel for Block<'_, P> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self) {
        if self.few && self.fresh {
            // SAFETY: each level is in a kernel it dispatched.
            unsafe { self.products.fetch::<S>() };
        }
        let mut room = MaybeUninit::uninit();
        let sums = zeros(&mut room, self.rows);
        let next = self.products.weights_of(self.columns);
        let first = self.gated.as_ref().map_or(next, |gated| gated.weights_of(0));
        // SAFETY: as above.
        unsafe { self.all::<S>(&self.products, first, sums) };
        if let Some(gated) = &self.gated {
            let mut room = MaybeUninit::uninit();
            let factors = zeros(&mut room, self.rows);
            // SAFETY: as above.
            unsafe { self.all::<S>(gated, next, factors) };
            for (sums, factors) in sums.iter_mut().zip(factors) {
                gate::<S>(sums, factors);
            }
        }
        for (row, sums) in sums.iter().enumerate() {
            self.finish::<S>(row, sums);
        }
    }
}

/// So many rows of zeros; the rest of the room is not touched, since a block is often of two rows.
#[inline(always)]
fn zeros(room: &mut MaybeUninit<[[f32; COLUMNS]; ROWS]>, rows: usize) -> &mut [[f32; COLUMNS]] {
    let first = room.as_mut_ptr().cast::<[f32; COLUMNS]>();
    let rows = rows.min(ROWS);
    // SAFETY: `rows` rows lie inside the room, and are written before they are read.
    unsafe {
        for row in 0..rows {
            first.add(row).write([0.0; COLUMNS]);
        }
        std::slice::from_raw_parts_mut(first, rows)
    }
}

/// sums = SiLU(sums) * factors.
#[inline(always)]
fn gate<S: Simd>(sums: &mut [f32; COLUMNS], factors: &[f32; COLUMNS]) {
    for first in (0..COLUMNS).step_by(S::LANES) {
        // SAFETY: COLUMNS is a multiple of LANES.
        unsafe {
            let p = sums.as_mut_ptr().add(first);
            S::store(p, S::mul(math::silu::<S>(S::load(p)), S::load(factors.as_ptr().add(first))));
        }
    }
}

/// The activation of each lane.
///
/// # Safety
/// That of [`Simd`].
#[inline(always)]
pub unsafe fn activate<S: Simd>(activation: Activation, v: S::V) -> S::V {
    // SAFETY: the caller's.
    unsafe {
        match activation {
            Activation::None => v,
            // NaN is the second operand, so it stays.
            Activation::Relu => S::max(S::splat(0.0), v),
            Activation::Silu => math::silu::<S>(v),
            Activation::Gelu => math::gelu::<S>(v),
            Activation::QuickGelu => S::mul(v, math::sigmoid::<S>(S::mul(v, S::splat(1.702)))),
        }
    }
}

impl<P: Products> Block<'_, P> {
    /// The products of all rows with all columns, and what is read `next`.
    #[inline(always)]
    unsafe fn all<S: Simd>(&self, products: &P, next: *const u8, sums: &mut [[f32; COLUMNS]]) {
        let passes = self.rows.div_ceil(tall::<S>());
        for first in (0..self.columns).step_by(GROUP) {
            let end = self.columns.min(first + GROUP);
            for (pass, row) in (0..self.rows).step_by(tall::<S>()).enumerate() {
                let ahead = if end < self.columns { products.weights_of(end) } else { next };
                let ahead = self.few.then_some(ahead);
                let tile = &Tile { row, columns: first..end, passes, pass, ahead };
                let sums = &mut sums[row..];
                // SAFETY: the caller's. A level's tile has no more rows than `tall`, so the rest is not compiled
                // for it.
                unsafe {
                    match tall::<S>().min(self.rows - row) {
                        1 => products.rows_of::<S, 1>(tile, sums),
                        2 if tall::<S>() > 1 => products.rows_of::<S, 2>(tile, sums),
                        3 if tall::<S>() > 1 => products.rows_of::<S, 3>(tile, sums),
                        4 if tall::<S>() > 3 => products.rows_of::<S, 4>(tile, sums),
                        5 if tall::<S>() > 3 => products.rows_of::<S, 5>(tile, sums),
                        _ if tall::<S>() > 3 => products.rows_of::<S, 6>(tile, sums),
                        _ => unreachable!(),
                    }
                }
            }
        }
    }

    /// Bias, activation and residual over a row's sums, and the store.
    #[inline(always)]
    fn finish<S: Simd>(&self, row: usize, sums: &[f32; COLUMNS]) {
        let at = self.first + row * self.n;
        // SAFETY: blocks are disjoint, and so are the rows of a block.
        let out = unsafe { self.out.slice(at..at + self.columns) };
        let residual = self.residual.map(|r| &r[at..at + self.columns]);
        for first in (0..self.columns).step_by(S::LANES) {
            let n = S::LANES.min(self.columns - first);
            // SAFETY: `first + n <= columns <= COLUMNS`, the lengths of all of them.
            unsafe {
                let mut v = S::load_n(sums.as_ptr().add(first), n);
                if let Some(bias) = self.bias {
                    v = S::add(v, S::load_n(bias.as_ptr().add(first), n));
                }
                v = activate::<S>(self.activation, v);
                if let Some(residual) = residual {
                    v = S::add(v, S::load_n(residual.as_ptr().add(first), n));
                }
                S::store_n(out.as_mut_ptr().add(first), v, n);
            }
        }
    }
}
