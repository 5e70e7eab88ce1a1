//! The gradient of a 3x3 filter by F(3x3, 4x4): the forward algorithm F(4x4, 3x3), turned round (Lavin and Gray,
//! 2016). Tiles of 4 x 4 gradients and of 6 x 6 pixels are transformed, multiplied point by point and summed over
//! tiles, so that 36 products of matrices stand for the 144 of the definition; the sums are transformed back once.

use super::filter::FilterGradient;
use super::filter_window::{Half, Transform, Window};
use crate::backend::cpu::simd::{Kernel, Simd};
use crate::backend::cpu::{Cpu, Parts, Values};
use crate::error::Result;
use crate::exec::Cx;
use crate::ops::check::dims;
use crate::ops::matmul::Product;
use crate::tensor::{DType, Desc, Tensor};

/// The points besides 0 and infinity, as in the forward algorithm.
pub(super) const A: f32 = 5.0 / 8.0;
pub(super) const B: f32 = 3.0 / 2.0;
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
