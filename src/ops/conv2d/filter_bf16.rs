//! The gradient of a filter from operands rounded to bf16: of 3x3 by F(3x3, 4x4), as `filter_winograd.rs` has it, else by
//! the definition. Two tiles, or two outputs, stand together, so that the processor's products of pairs run over them.

use super::filter::FilterGradient;
use super::filter_window::{Half, Window};
use super::filter_winograd::{CHANNELS, Cut, POINTS, TILES, back};
use crate::backend::cpu::simd::{Kernel, Simd};
use crate::backend::cpu::{Cpu, Parts, Values};
use crate::error::Result;
use crate::exec::Cx;
use crate::ops::check::dims;
use crate::ops::tile::{Add, Keep, PANEL, Taps, panel};
use crate::tensor::{DType, Desc, Tensor};
use half::bf16;

/// Elements of a pair of tiles in the widest vectors: rows of gradients are an odd number of these, so that they do not
/// all fall on the same places of the cache.
const LINE: usize = 16;

/// Whether it can compute this gradient, and pays.
pub(super) fn takes(cpu: &Cpu, rule: &FilterGradient, c: usize, k: usize) -> bool {
    rule.operands == DType::BF16 && cpu.isa.multiplies_bf16() && c.min(k) >= 16
}

pub(super) fn winograd(
    rule: &FilterGradient,
    cx: Cx<'_>,
    cpu: &Cpu,
    u: &Tensor,
    dy: &Tensor,
    out: &mut Tensor,
) -> Result<()> {
    let cut = Cut::new(rule, u, dy)?;
    let (c, k, tiles) = (cut.c, cut.k, cut.tiles());
    let pairs = TILES.min(tiles).div_ceil(2);
    let (panels, wide) = (c.div_ceil(PANEL), k.next_multiple_of(LINE) | LINE);
    // From a point to the next: a line more than what they hold, for the same reason.
    let (of_pixels, of_grads) = (pairs * panels * 2 * PANEL + 4 * LINE, pairs * 2 * wide + 4 * LINE);
    let memory = |count: usize| cx.workspace.tensor(Desc::plain([POINTS, count], DType::BF16));
    let (mut pixels, mut grads) = (memory(of_pixels)?, memory(of_grads)?);
    let mut sums = cx.workspace.tensor(Desc::plain([POINTS, k, panels * PANEL], DType::F32))?;
    if tiles == 0 {
        sums.data_mut::<f32>()?.fill(0.0);
    }
    for first in (0..tiles).step_by(TILES) {
        let count = TILES.min(tiles - first);
        let to_pixels = Parts::new(pixels.data_mut::<bf16>()?);
        let to_grads = Parts::new(grads.data_mut::<bf16>()?);
        cpu.pool.runs(count.div_ceil(2), |_, pair, _| {
            let tile = first + 2 * pair;
            let second = (2 * pair + 1 < count).then_some(tile + 1);
            cpu.isa.dispatch(Pair::<6> {
                windows: [Some(cut.pixels(tile)), second.map(|tile| cut.pixels(tile))],
                channels: panels * PANEL,
                to: to_pixels.as_ptr().wrapping_add(pair * 2 * PANEL),
                // Panels of all pairs, one after the other.
                groups: [PANEL, pairs * 2 * PANEL],
                apart: of_pixels,
            });
            cpu.isa.dispatch(Pair::<4> {
                windows: [Some(cut.gradients(tile)), second.map(|tile| cut.gradients(tile))],
                channels: k.next_multiple_of(LINE),
                to: to_grads.as_ptr().wrapping_add(pair * 2 * wide),
                groups: [LINE, 2 * LINE],
                apart: of_grads,
            });
        });
        let (pixels, grads) = (pixels.data::<bf16>()?, grads.data::<bf16>()?);
        let parts = Parts::new(sums.data_mut::<f32>()?);
        let groups = k.div_ceil(CHANNELS);
        cpu.pool.blocks(POINTS * groups, |_, index| {
            let (point, first_k) = (index / groups, index % groups * CHANNELS);
            let rows = CHANNELS.min(k - first_k);
            let at = (point * k + first_k) * panels * PANEL;
            // SAFETY: one part a block.
            let sums = unsafe { parts.slice(at..at + rows * panels * PANEL) };
            cpu.isa.dispatch(Products {
                grads: &grads[point * of_grads + 2 * first_k..(point + 1) * of_grads],
                wide,
                pixels: &pixels[point * of_pixels..][..panels * pairs * 2 * PANEL],
                pairs: [count.div_ceil(2), pairs],
                rows,
                sums,
                add: first > 0,
            });
        });
    }
    back(cpu, sums.data()?, [k, c, panels * PANEL], out)
}

/// Outputs of a chunk of the definition's sums.
const OUTPUTS: usize = 1024;

pub(super) fn direct(
    rule: &FilterGradient,
    cx: Cx<'_>,
    cpu: &Cpu,
    u: &Tensor,
    dy: &Tensor,
    out: &mut Tensor,
) -> Result<()> {
    let [_, h, w, c] = dims("x", u.desc())?;
    let [n, oh, ow, k] = dims("gradient", dy.desc())?;
    let ([r, s], outputs) = (rule.kernel, n * oh * ow);
    let taps = r * s;
    let pairs = OUTPUTS.min(outputs).div_ceil(2);
    let (panels, wide) = (c.div_ceil(PANEL), k.next_multiple_of(LINE) | LINE);
    let (of_pixels, of_grads) = (pairs * panels * 2 * PANEL, pairs * 2 * wide);
    let mut pixels = cx.workspace.tensor(Desc::plain([taps, of_pixels], DType::BF16))?;
    let mut grads = cx.workspace.tensor(Desc::plain([of_grads], DType::BF16))?;
    let mut sums = cx.workspace.tensor(Desc::plain([taps, k, panels * PANEL], DType::F32))?;
    if outputs == 0 {
        sums.data_mut::<f32>()?.fill(0.0);
    }
    let (u, dy) = (Values::of(u)?, Values::of(dy)?);
    // The pixel that a tap of an output sees.
    let seen = |output: usize, tap: usize| {
        let (image, y, x) = (output / (oh * ow), output / ow % oh, output % ow);
        let y = (y * rule.stride + tap / s).checked_sub(rule.top).filter(|y| *y < h)?;
        let x = (x * rule.stride + tap % s).checked_sub(rule.left).filter(|x| *x < w)?;
        Some(((image * h + y) * w + x) * c)
    };
    for first in (0..outputs).step_by(OUTPUTS) {
        let count = OUTPUTS.min(outputs - first);
        let to_pixels = Parts::new(pixels.data_mut::<bf16>()?);
        let to_grads = Parts::new(grads.data_mut::<bf16>()?);
        cpu.pool.blocks(count.div_ceil(2), |_, pair| {
            let outputs = [Some(first + 2 * pair), Some(first + 2 * pair + 1).filter(|o| *o < first + count)];
            cpu.isa.dispatch(Beside {
                from: dy,
                at: outputs.map(|output| output.map(|output| output * k)),
                there: k,
                channels: k.next_multiple_of(LINE),
                to: to_grads.as_ptr().wrapping_add(pair * 2 * wide),
                groups: [LINE, 2 * LINE],
            });
            for tap in 0..taps {
                cpu.isa.dispatch(Beside {
                    from: u,
                    at: outputs.map(|output| output.and_then(|output| seen(output, tap))),
                    there: c,
                    channels: panels * PANEL,
                    to: to_pixels.as_ptr().wrapping_add(tap * of_pixels + pair * 2 * PANEL),
                    groups: [PANEL, pairs * 2 * PANEL],
                });
            }
        });
        let (pixels, grads) = (pixels.data::<bf16>()?, grads.data::<bf16>()?);
        let parts = Parts::new(sums.data_mut::<f32>()?);
        let groups = k.div_ceil(CHANNELS);
        cpu.pool.blocks(taps * groups, |_, index| {
            let (tap, first_k) = (index / groups, index % groups * CHANNELS);
            let rows = CHANNELS.min(k - first_k);
            let at = (tap * k + first_k) * panels * PANEL;
            // SAFETY: one part a block.
            let sums = unsafe { parts.slice(at..at + rows * panels * PANEL) };
            cpu.isa.dispatch(Products {
                grads: &grads[2 * first_k..],
                wide,
                pixels: &pixels[tap * of_pixels..][..of_pixels],
                pairs: [count.div_ceil(2), pairs],
                rows,
                sums,
                add: first > 0,
            });
        });
    }
    let sums = sums.data::<f32>()?;
    let parts = Parts::new(out.data_mut::<f32>()?);
    cpu.pool.blocks(k, |_, channel| {
        // SAFETY: one part an output channel.
        let out = unsafe { parts.slice(channel * c * taps..(channel + 1) * c * taps) };
        for (i, out) in out.iter_mut().enumerate() {
            *out = sums[(i % taps * k + channel) * panels * PANEL + i / taps];
        }
    });
    Ok(())
}

/// Two rows of channels side by side, zeros where there is none.
struct Beside<'a> {
    from: Values<'a>,
    /// Where the rows begin.
    at: [Option<usize>; 2],
    /// Channels of a row that are there.
    there: usize,
    /// As of [`Pair`].
    channels: usize,
    to: *mut bf16,
    groups: [usize; 2],
}

impl Kernel for Beside<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self) {
        let [together, group] = self.groups;
        for first in (0..self.channels).step_by(S::LANES) {
            // SAFETY: channels are read where they are; there is room for `channels` of them, and nobody else writes there.
            unsafe {
                let mut both = [S::splat(0.0); 2];
                for (value, at) in both.iter_mut().zip(self.at) {
                    if let Some(at) = at.filter(|_| first < self.there) {
                        *value = self.from.load_n::<S>(at + first, S::LANES.min(self.there - first));
                    }
                }
                let to = self.to.add(first / together * group + first % together * 2);
                S::store_bf16_pairs(to.cast(), both[0], both[1]);
            }
        }
    }
}

/// Two windows transformed, a point's values of one channel side by side. What is past the channels, and a window that is
/// not there, is zeros.
struct Pair<'a, const N: usize> {
    windows: [Option<Window<'a>>; 2],
    /// How many are written.
    channels: usize,
    to: *mut bf16,
    /// So many channels stand together, and so many elements lie between the beginnings of two such groups.
    groups: [usize; 2],
    /// From a point to the next.
    apart: usize,
}

impl<const N: usize> Kernel for Pair<'_, N> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self) {
        let [together, group] = self.groups;
        for first in (0..self.channels).step_by(S::LANES) {
            let (mut a, mut b) = (Half::<S::V, N>::new(), Half::<S::V, N>::new());
            // SAFETY: channels are read where they are, `groups` of them have room at each point, in whole vectors,
            // and no other pair writes there.
            unsafe {
                let Some(window) = &self.windows[0] else { return };
                columns::<S, N>(&self.windows[0], first, &mut a);
                columns::<S, N>(&self.windows[1], first, &mut b);
                let to = self.to.add(first / together * group + first % together * 2);
                for i in 0..6 {
                    let a = window.transform.axis::<S, N>(a.row(i));
                    let b = window.transform.axis::<S, N>(b.row(i));
                    for j in 0..6 {
                        S::store_bf16_pairs(to.add((i * 6 + j) * self.apart).cast(), a[j], b[j]);
                    }
                }
            }
        }
    }
}

/// The vector of channels from `first` on, transformed along columns. (A closure would not be compiled for the level.)
///
/// # Safety
/// That of [`Simd`].
#[inline(always)]
unsafe fn columns<S: Simd, const N: usize>(
    window: &Option<Window<'_>>,
    first: usize,
    half: &mut Half<S::V, N>,
) {
    // SAFETY: the caller's; channels are read where they are.
    unsafe {
        match window {
            Some(window) if first < window.channels => {
                window.columns::<S, N>(first, S::LANES.min(window.channels - first), half);
            }
            _ => half.fill(S::splat(0.0)),
        }
    }
}

/// A point's products of some rows of gradients with all panels of pixels.
struct Products<'a> {
    /// \[pairs\]\[wide\]\[2\], from the first row on.
    grads: &'a [bf16],
    wide: usize,
    /// \[panels\]\[pairs\]\[PANEL\]\[2\].
    pixels: &'a [bf16],
    /// Pairs that are there, and that there is room for.
    pairs: [usize; 2],
    rows: usize,
    /// Rows of all panels.
    sums: &'a mut [f32],
    add: bool,
}

impl Kernel for Products<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self) {
        let [count, room] = self.pairs;
        // A pair of tiles is a tap of two channels.
        let taps = Taps { r: 1, s: count, c: 2, row: 0, col: 2 * self.wide };
        let at = |row: usize| self.grads.as_ptr().wrapping_add(2 * row);
        let width = self.sums.len() / self.rows;
        for (index, pixels) in self.pixels.chunks_exact(room * 2 * PANEL).enumerate() {
            let to = self.sums.as_mut_ptr().wrapping_add(index * PANEL);
            // SAFETY: gradients have `count` pairs of each row, pixels as many of the panel, and rows of sums are whole
            // panels.
            unsafe {
                match self.add {
                    true => panel::<S, bf16>(self.rows, &taps, at, pixels.as_ptr(), &mut Add { to, width }),
                    false => panel::<S, bf16>(self.rows, &taps, at, pixels.as_ptr(), &mut Keep { to, width }),
                }
            }
        }
    }
}
