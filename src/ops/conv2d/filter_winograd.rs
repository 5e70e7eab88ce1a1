//! The gradient of a 3x3 filter by F(3x3, 4x4): the forward algorithm F(4x4, 3x3), turned round (Lavin and Gray,
//! 2016). Tiles of 4 x 4 gradients and of 6 x 6 pixels are transformed, multiplied point by point and summed over
//! tiles, so that 36 products of matrices stand for the 144 of the definition; the sums are transformed back once.

use super::filter::FilterGradient;
use crate::backend::cpu::simd::{Kernel, Lanes, Simd};
use crate::backend::cpu::{Cpu, Parts, Values};
use crate::error::Result;
use crate::exec::Cx;
use crate::ops::check::dims;
use crate::ops::matmul::Product;
use crate::tensor::{DType, Desc, Tensor};
use half::bf16;
use std::mem::MaybeUninit;

/// The points besides 0 and infinity, as in the forward algorithm.
const A: f32 = 5.0 / 8.0;
const B: f32 = 3.0 / 2.0;
/// Points of a tile.
pub(super) const POINTS: usize = 36;
/// Tiles that are transformed before they are multiplied: what the caches hold.
pub(super) const TILES: usize = 256;
/// Output channels that are one part's.
pub(super) const CHANNELS: usize = 64;

/// Whether it can compute this gradient, and pays.
pub(super) fn takes(rule: &FilterGradient, c: usize, k: usize) -> bool {
    rule.kernel == [3, 3] && rule.stride == 1 && c >= 16 && k >= 16
}

pub(super) fn run(
    rule: &FilterGradient,
    cx: Cx<'_>,
    cpu: &Cpu,
    u: &Tensor,
    dy: &Tensor,
    out: &mut Tensor,
) -> Result<()> {
    let cut = Cut::new(rule, u, dy)?;
    let (c, k, tiles) = (cut.c, cut.k, cut.tiles());
    let chunk = TILES.min(tiles);
    let matrix = |a: usize, b: usize| cx.workspace.tensor(Desc::plain([POINTS, a, b], DType::F32));
    let (mut pixels, mut grads, mut sums) = (matrix(chunk, c)?, matrix(chunk, k)?, matrix(k, c)?);
    if tiles == 0 {
        sums.data_mut::<f32>()?.fill(0.0);
    }
    for first in (0..tiles).step_by(TILES) {
        let count = chunk.min(tiles - first);
        let to_pixels = Parts::new(pixels.data_mut::<f32>()?);
        let to_grads = Parts::new(grads.data_mut::<f32>()?);
        cpu.pool.runs(count, |_, tile, _| {
            let to = to_pixels.as_ptr().wrapping_add(tile * c);
            cpu.isa.dispatch(Tile::<6> { window: cut.pixels(first + tile), to, apart: chunk * c });
            let to = to_grads.as_ptr().wrapping_add(tile * k);
            cpu.isa.dispatch(Tile::<4> { window: cut.gradients(first + tile), to, apart: chunk * k });
        });
        let (pixels, grads) = (pixels.data::<f32>()?, grads.data::<f32>()?);
        let parts = Parts::new(sums.data_mut::<f32>()?);
        let groups = k.div_ceil(CHANNELS);
        cpu.pool.blocks(POINTS * groups, |_, index| {
            let (point, first_k) = (index / groups, index % groups * CHANNELS);
            let m = CHANNELS.min(k - first_k);
            // SAFETY: one part a block.
            let sum = unsafe { parts.slice((point * k + first_k) * c..(point * k + first_k + m) * c) };
            cpu.isa.dispatch(Product {
                m,
                n: c,
                k: count,
                a: grads[point * chunk * k + first_k..].as_ptr(),
                a_row: 1,
                a_depth: k,
                b: pixels[point * chunk * c..].as_ptr(),
                b_row: c,
                c: sum.as_mut_ptr(),
                c_row: c,
                add: first > 0,
            });
        });
    }
    back(cpu, sums.data()?, [k, c, c], out)
}

/// The sums \[36\]\[k\]\[wide\] to the filters (k, c, 3, 3).
pub(super) fn back(cpu: &Cpu, sums: &[f32], [k, c, wide]: [usize; 3], out: &mut Tensor) -> Result<()> {
    let parts = Parts::new(out.data_mut::<f32>()?);
    cpu.pool.blocks(k, |_, channel| {
        // SAFETY: one part an output channel.
        let out = unsafe { parts.slice(channel * c * 9..(channel + 1) * c * 9) };
        cpu.isa.dispatch(Back { sums: &sums[channel * wide..], apart: k * wide, out });
    });
    Ok(())
}

/// How pictures and gradients are cut into tiles.
pub(super) struct Cut<'a> {
    u: Values<'a>,
    dy: Values<'a>,
    n: usize,
    h: usize,
    w: usize,
    oh: usize,
    ow: usize,
    pub c: usize,
    pub k: usize,
    top: usize,
    left: usize,
}

impl<'a> Cut<'a> {
    pub fn new(rule: &FilterGradient, u: &'a Tensor, dy: &'a Tensor) -> Result<Cut<'a>> {
        let [_, h, w, c] = dims("x", u.desc())?;
        let [n, oh, ow, k] = dims("gradient", dy.desc())?;
        let (top, left) = (rule.top, rule.left);
        Ok(Cut { u: Values::of(u)?, dy: Values::of(dy)?, n, h, w, oh, ow, c, k, top, left })
    }

    /// Of all pictures.
    pub fn tiles(&self) -> usize {
        self.n * self.oh.div_ceil(4) * self.ow.div_ceil(4)
    }

    /// The picture of a tile, and its first output's row and column.
    fn place(&self, tile: usize) -> [usize; 3] {
        let (rows, columns) = (self.oh.div_ceil(4), self.ow.div_ceil(4));
        let (image, place) = (tile / (rows * columns), tile % (rows * columns));
        [image, place / columns * 4, place % columns * 4]
    }

    /// The 6 x 6 pixels of a tile.
    pub fn pixels(&self, tile: usize) -> Window<'a> {
        let ([image, y, x], size) = (self.place(tile), self.h * self.w * self.c);
        let before = |at: usize, before: usize| at as isize - before as isize;
        Window {
            from: self.u,
            first: image * size,
            origin: [(before(y, self.top), self.h), (before(x, self.left), self.w)],
            channels: self.c,
            transform: Transform::Pixels,
        }
    }

    /// The 4 x 4 gradients of a tile.
    pub fn gradients(&self, tile: usize) -> Window<'a> {
        let ([image, y, x], size) = (self.place(tile), self.oh * self.ow * self.k);
        Window {
            from: self.dy,
            first: image * size,
            origin: [(y as isize, self.oh), (x as isize, self.ow)],
            channels: self.k,
            transform: Transform::Gradients,
        }
    }
}

/// Which of the two.
#[derive(Clone, Copy)]
pub(super) enum Transform {
    Pixels,
    Gradients,
}

/// A window of N x N of a picture, zero outside, transformed to 36 points, which stand `apart` elements from each
/// other.
struct Tile<'a, const N: usize> {
    window: Window<'a>,
    to: *mut f32,
    apart: usize,
}

impl<const N: usize> Kernel for Tile<'_, N> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self) {
        for first in (0..self.window.channels).step_by(S::LANES) {
            let n = S::LANES.min(self.window.channels - first);
            let mut half = Half::<S::V, N>::new();
            // SAFETY: each point has room for all channels, and no other tile writes there.
            unsafe {
                self.window.columns::<S, N>(first, n, &mut half);
                for i in 0..6 {
                    let row = self.window.transform.axis::<S, N>(half.row(i));
                    for (j, &value) in row.iter().enumerate() {
                        S::store_up_to(self.to.add((i * 6 + j) * self.apart + first), value, n);
                    }
                }
            }
        }
    }
}

/// A window transformed along columns: six rows of N vectors. It is more than the registers hold, so it is memory, which
/// nobody clears or copies.
pub(super) struct Half<V, const N: usize>([[MaybeUninit<V>; N]; 6]);

impl<V: Copy, const N: usize> Half<V, N> {
    #[inline(always)]
    pub fn new() -> Half<V, N> {
        Half([const { [const { MaybeUninit::uninit() }; N] }; 6])
    }

    /// The same vector everywhere.
    #[inline(always)]
    pub fn fill(&mut self, value: V) {
        self.0.as_flattened_mut().iter_mut().for_each(|v| _ = v.write(value));
    }

    /// # Safety
    /// [`Window::columns`] or [`Half::fill`] has written it.
    #[inline(always)]
    pub unsafe fn row(&self, i: usize) -> [V; N] {
        // SAFETY: the caller's.
        unsafe { std::array::from_fn(|j| self.0[i][j].assume_init()) }
    }
}

/// What of a picture is transformed.
#[derive(Clone, Copy)]
pub(super) struct Window<'a> {
    pub from: Values<'a>,
    /// The picture's first element.
    pub first: usize,
    /// Of rows and of columns: where the window begins, and how many there are.
    pub origin: [(isize, usize); 2],
    pub channels: usize,
    pub transform: Transform,
}

impl Window<'_> {
    /// The channels `first..first + n` of N x N pixels, transformed along columns, to all of `half`.
    ///
    /// # Safety
    /// That of [`Simd`]; the channels are there.
    #[inline(always)]
    pub unsafe fn columns<S: Simd, const N: usize>(&self, first: usize, n: usize, half: &mut Half<S::V, N>) {
        let at = self.first + first;
        // SAFETY: the caller's.
        unsafe {
            match self.from {
                Values::F32(from) => self.columns_of::<S, f32, N>(from[at..].as_ptr(), n, half),
                Values::Bf16(from) => self.columns_of::<S, bf16, N>(from[at..].as_ptr(), n, half),
            }
        }
    }

    /// The same of channels that `from` is the first pixel of.
    ///
    /// # Safety
    /// As of [`Window::columns`].
    #[inline(always)]
    unsafe fn columns_of<S: Simd, T: Lanes, const N: usize>(
        &self,
        from: *const T,
        n: usize,
        half: &mut Half<S::V, N>,
    ) {
        let [(top, h), (left, w)] = self.origin;
        let within = |at: isize, size: usize| at >= 0 && at as usize + N <= size;
        let line = w * self.channels;
        // SAFETY: pixels lie inside the picture, the channels are the caller's.
        unsafe {
            if within(top, h) && within(left, w) && n == S::LANES {
                let corner = from.add((top as usize * w + left as usize) * self.channels);
                for j in 0..N {
                    let p = corner.add(j * self.channels);
                    let mut column = [S::splat(0.0); N];
                    for (i, value) in column.iter_mut().enumerate() {
                        let p = p.add(i * line);
                        *value = T::load::<S>(p);
                        // Of the tiles after the next: a line of a pixel here and there is nothing that a processor
                        // would foresee.
                        S::prefetch_second(p.wrapping_add(8 * self.channels).cast());
                    }
                    self.column::<S, N>(column, j, half);
                }
                return;
            }
            let inside = |at: isize, size: usize| usize::try_from(at).ok().filter(|&at| at < size);
            for j in 0..N {
                let mut column = [S::splat(0.0); N];
                if let Some(x) = inside(left + j as isize, w) {
                    for (i, value) in column.iter_mut().enumerate() {
                        if let Some(y) = inside(top + i as isize, h) {
                            *value = T::load_n::<S>(from.add((y * w + x) * self.channels), n);
                        }
                    }
                }
                self.column::<S, N>(column, j, half);
            }
        }
    }

    /// # Safety
    /// That of [`Simd`].
    #[inline(always)]
    unsafe fn column<S: Simd, const N: usize>(&self, column: [S::V; N], j: usize, half: &mut Half<S::V, N>) {
        // SAFETY: the caller's.
        let six = unsafe { self.transform.axis::<S, N>(column) };
        for (row, &value) in half.0.iter_mut().zip(&six) {
            row[j].write(value);
        }
    }
}

impl Transform {
    /// One axis: of six pixels the forward's transform, of four gradients its outputs' turned round.
    ///
    /// # Safety
    /// That of [`Simd`].
    #[inline(always)]
    pub unsafe fn axis<S: Simd, const N: usize>(self, values: [S::V; N]) -> [S::V; 6] {
        // SAFETY: the caller's.
        unsafe {
            let mut six = [S::splat(0.0); 6];
            six[..N].copy_from_slice(&values);
            let [d0, d1, d2, d3, d4, d5] = six;
            let (a, b) = (S::splat(A), S::splat(B));
            let (a2, b2) = (S::splat(A * A), S::splat(B * B));
            match self {
                Transform::Pixels => {
                    let both = S::splat(-(A * A + B * B));
                    let product = S::splat(A * A * B * B);
                    let (minus_a2, minus_b2) = (S::splat(-(A * A)), S::splat(-(B * B)));
                    let (even_a, odd_a) = (S::fma(minus_b2, d2, d4), S::mul(a, S::fma(minus_b2, d1, d3)));
                    let (even_b, odd_b) = (S::fma(minus_a2, d2, d4), S::mul(b, S::fma(minus_a2, d1, d3)));
                    [
                        S::fma(product, d0, S::fma(both, d2, d4)),
                        S::add(even_a, odd_a),
                        S::sub(even_a, odd_a),
                        S::add(even_b, odd_b),
                        S::sub(even_b, odd_b),
                        S::fma(product, d1, S::fma(both, d3, d5)),
                    ]
                }
                Transform::Gradients => {
                    let (even_a, odd_a) = (S::fma(a2, d2, d0), S::mul(a, S::fma(a2, d3, d1)));
                    let (even_b, odd_b) = (S::fma(b2, d2, d0), S::mul(b, S::fma(b2, d3, d1)));
                    [
                        d0,
                        S::add(even_a, odd_a),
                        S::sub(even_a, odd_a),
                        S::add(even_b, odd_b),
                        S::sub(even_b, odd_b),
                        d3,
                    ]
                }
            }
        }
    }
}

/// The sums of an output channel, `apart` from point to point, to its filter: (c, 3, 3).
struct Back<'a> {
    sums: &'a [f32],
    apart: usize,
    out: &'a mut [f32],
}

impl Kernel for Back<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self) {
        let c = self.out.len() / 9;
        for first in (0..c).step_by(S::LANES) {
            let n = S::LANES.min(c - first);
            // SAFETY: each point has c sums of this output channel.
            unsafe {
                let zero = S::splat(0.0);
                let mut half = [[zero; 6]; 3];
                for j in 0..6 {
                    let mut column = [zero; 6];
                    for (i, value) in column.iter_mut().enumerate() {
                        let p = self.sums.as_ptr().add((i * 6 + j) * self.apart + first);
                        *value = S::load_up_to(p, n);
                    }
                    let three = taps::<S>(column);
                    for (row, &value) in half.iter_mut().zip(&three) {
                        row[j] = value;
                    }
                }
                let mut lanes = [0.0f32; 9 * 16];
                for (i, row) in half.iter().enumerate() {
                    for (j, &value) in taps::<S>(*row).iter().enumerate() {
                        S::store(lanes.as_mut_ptr().add((i * 3 + j) * 16), value);
                    }
                }
                let out = &mut self.out[first * 9..(first + n) * 9];
                for (lane, filter) in out.chunks_exact_mut(9).enumerate() {
                    for (tap, out) in filter.iter_mut().enumerate() {
                        *out = lanes[tap * 16 + lane];
                    }
                }
            }
        }
    }
}

/// One axis: the filter's transform turned round.
#[inline(always)]
unsafe fn taps<S: Simd>([m0, m1, m2, m3, m4, m5]: [S::V; 6]) -> [S::V; 3] {
    const N0: f32 = 1.0 / (A * A * B * B);
    const NA: f32 = 1.0 / (2.0 * A * A * (A * A - B * B));
    const NB: f32 = 1.0 / (2.0 * B * B * (B * B - A * A));
    // SAFETY: the caller's.
    unsafe {
        let (sum_a, sum_b) = (S::add(m1, m2), S::add(m3, m4));
        let (difference_a, difference_b) = (S::sub(m1, m2), S::sub(m3, m4));
        let two =
            |x: f32, a: S::V, y: f32, b: S::V, c: S::V| S::fma(S::splat(x), a, S::fma(S::splat(y), b, c));
        [
            two(NA, sum_a, NB, sum_b, S::mul(S::splat(N0), m0)),
            two(A * NA, difference_a, B * NB, difference_b, S::splat(0.0)),
            two(A * A * NA, sum_a, B * B * NB, sum_b, m5),
        ]
    }
}
