//! Weights in panels of output channels, k after k: many rows of x pass each.

use super::After;
use super::block::activate;
use crate::backend::cpu::simd::{Kernel, Simd};
use crate::backend::cpu::{Cpu, Parts};
use crate::error::{Error, Result};
use crate::exec::Cx;
use crate::ops::rounded::rounded;
use crate::ops::tile::{Operand, PANEL, Sink, Taps, panel, turn};
use crate::tensor::{DType, Desc, Element, Tensor};
use half::{bf16, f16};

/// Rows of x that pass a panel before the next does.
const ROWS: usize = 256;
/// Elements of k that are rearranged at once: a line of each row of the file.
const RUN: usize = 16;

/// The type that is multiplied when this one is asked for.
pub fn operands(cpu: &Cpu, wanted: DType) -> DType {
    if wanted == DType::BF16 && cpu.isa.multiplies_bf16() { DType::BF16 } else { DType::F32 }
}

/// Elements of a packed weight (n, k); `None` when they cannot be counted.
pub fn packed_elements(operands: DType, [n, k]: [usize; 2]) -> Option<usize> {
    let k = if operands == DType::BF16 { k.checked_next_multiple_of(bf16::CHANNELS)? } else { k };
    n.checked_next_multiple_of(PANEL)?.checked_mul(k)
}

/// Writes the panels of `weight` (n, k) to `packed`: \[n / PANEL\]\[k / CHANNELS\]\[PANEL\]\[CHANNELS\], zeros past n and k.
pub fn pack(cx: Cx<'_>, cpu: &Cpu, weight: &Tensor, extents: [usize; 2], packed: &mut Tensor) -> Result<()> {
    match (weight.dtype(), packed.dtype()) {
        (DType::F32, DType::BF16) => panels::<f32, bf16>(cpu, weight.data()?, extents, packed),
        (DType::F16, DType::F32) => panels::<f16, f32>(cpu, weight.data()?, extents, packed),
        (DType::F16, _) => panels::<f16, bf16>(cpu, weight.data()?, extents, packed),
        (DType::BF16, DType::F32) => panels::<bf16, f32>(cpu, weight.data()?, extents, packed),
        (DType::BF16, _) => panels::<bf16, bf16>(cpu, weight.data()?, extents, packed),
        _ => Err(cx.unsupported("linear", weight.desc())),
    }
}

fn panels<W: Element + Into<f32>, O: Operand>(
    cpu: &Cpu,
    from: &[W],
    [n, k]: [usize; 2],
    packed: &mut Tensor,
) -> Result<()> {
    let each = k.next_multiple_of(O::CHANNELS) * PANEL;
    // SAFETY: every bit pattern is an operand; buffers are aligned to a cache line.
    let (_, to, _) = unsafe { packed.bytes_mut()?.align_to_mut::<O>() };
    let count = n.div_ceil(PANEL);
    if to.len() < count * each {
        return Err(Error::internal("memory for a packed weight is too short"));
    }
    let to = Parts::new(to);
    cpu.pool.blocks(count, |_, index| {
        // SAFETY: a part a job.
        let to = unsafe { to.slice(index * each..(index + 1) * each) };
        let rows = &from[index * PANEL * k..n.min((index + 1) * PANEL) * k];
        if rows.len() < PANEL * k || k % O::CHANNELS != 0 {
            to.fill(O::narrow(0.0));
        }
        for first in (0..k).step_by(RUN) {
            let run = RUN.min(k - first);
            for (column, row) in rows.chunks_exact(k).enumerate() {
                for (i, &w) in row[first..first + run].iter().enumerate() {
                    let i = first + i;
                    to[(i / O::CHANNELS * PANEL + column) * O::CHANNELS + i % O::CHANNELS] =
                        O::narrow(w.into());
                }
            }
        }
    });
    Ok(())
}

/// x times the panels, and what follows.
pub fn linear(
    cx: Cx<'_>,
    cpu: &Cpu,
    x: &Tensor,
    weight: &Tensor,
    after: After<'_>,
    out: &mut Tensor,
) -> Result<()> {
    let (n, k) = (weight.shape()[0], weight.shape()[1]);
    let rows = out.shape().count().checked_div(n).unwrap_or(0);
    let (x, out) = (x.data::<f32>()?, out.data_mut::<f32>()?);
    if weight.dtype() == DType::F32 {
        return multiply::<f32>(cpu, x, k, weight, [rows, n], after, out);
    }
    let (rounded, wide) = rounded(cx, cpu, x, [rows, k])?;
    multiply::<bf16>(cpu, rounded.data()?, wide, weight, [rows, n], after, out)
}

/// `x` is rows of k operands.
fn multiply<O: Operand>(
    cpu: &Cpu,
    x: &[O],
    k: usize,
    weight: &Tensor,
    [rows, n]: [usize; 2],
    after: After<'_>,
    out: &mut [f32],
) -> Result<()> {
    let each = k * PANEL;
    // SAFETY: every bit pattern is an operand.
    let (head, panels, _) = unsafe { weight.storage().as_bytes()?.align_to::<O>() };
    let count = n.div_ceil(PANEL);
    if !head.is_empty() || panels.len() < count * each {
        return Err(Error::invalid(format!("{}: its memory is not what linear packed", weight.desc())));
    }
    let out = Parts::new(out);
    cpu.pool.blocks(rows.div_ceil(ROWS) * count, |_, index| {
        let (first, index) = (index / count * ROWS, index % count);
        let rows = first..rows.min(first + ROWS);
        cpu.isa.dispatch(Panel {
            x: &x[rows.start * k..rows.end * k],
            k,
            rows: rows.len(),
            weight: &panels[index * each..(index + 1) * each],
            finish: Finish {
                after,
                out: &out,
                n,
                first: rows.start * n + index * PANEL,
                channel: index * PANEL,
                width: PANEL.min(n - index * PANEL),
            },
        });
    });
    Ok(())
}

/// Rows of x that pass a panel before the next is made, where panels are made as they are used.
const MANY: usize = 2048;

/// x times a plain weight, each panel of which is made just before the rows pass it: the weight comes from memory once.
pub fn late(
    cx: Cx<'_>,
    cpu: &Cpu,
    wanted: DType,
    x: &Tensor,
    weight: &Tensor,
    after: After<'_>,
    out: &mut Tensor,
) -> Result<()> {
    let k = weight.shape()[1];
    if operands(cpu, wanted) == DType::BF16 {
        let rows = x.shape().count().checked_div(k).unwrap_or(0);
        let (x, wide) = rounded(cx, cpu, x.data()?, [rows, k])?;
        return late_of::<bf16>(cx, cpu, x.data()?, wide, weight, after, out);
    }
    late_of::<f32>(cx, cpu, x.data()?, k, weight, after, out)
}

/// `x` is rows of `wide` operands.
fn late_of<O: Operand>(
    cx: Cx<'_>,
    cpu: &Cpu,
    x: &[O],
    wide: usize,
    weight: &Tensor,
    after: After<'_>,
    out: &mut Tensor,
) -> Result<()> {
    let (n, k) = (weight.shape()[0], weight.shape()[1]);
    let rows = out.shape().count().checked_div(n).unwrap_or(0);
    let weight = weight.data::<f32>()?;
    let size = wide * PANEL;
    let mut turned = cx.workspace.tensor(Desc::plain([cpu.pool.threads(), size], DType::F32))?;
    let turned = Parts::new(turned.data_mut::<f32>()?);
    let mut narrow = cx.workspace.tensor(Desc::plain([cpu.pool.threads(), size], O::DTYPE))?;
    let narrow = Parts::new(narrow.data_mut::<O>()?);
    let (out, count) = (Parts::new(out.data_mut::<f32>()?), n.div_ceil(PANEL));
    cpu.pool.blocks(rows.div_ceil(MANY) * count, |lane, index| {
        let (first, index) = (index / count * MANY, index % count);
        let of_lane = lane * size..(lane + 1) * size;
        // SAFETY: one part a lane, of both.
        let (turned, narrow) = unsafe { (turned.slice(of_lane.clone()), narrow.slice(of_lane)) };
        let channels = index * PANEL..n.min((index + 1) * PANEL);
        let rows = first..rows.min(first + MANY);
        let finish = Finish {
            after,
            out: &out,
            n,
            first: rows.start * n + channels.start,
            channel: channels.start,
            width: channels.len(),
        };
        let x = &x[rows.start * wide..rows.end * wide];
        let weight = &weight[channels.start * k..channels.end * k];
        cpu.isa.dispatch(Late { x, wide, rows: rows.len(), weight, k, turned, narrow, finish });
    });
    Ok(())
}

/// A panel from some rows of a plain weight, and its products.
struct Late<'a, O> {
    x: &'a [O],
    wide: usize,
    rows: usize,
    weight: &'a [f32],
    k: usize,
    turned: &'a mut [f32],
    narrow: &'a mut [O],
    finish: Finish<'a>,
}

impl<O: Operand> Kernel for Late<'_, O> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(mut self) {
        let (k, width) = (self.k, self.finish.width);
        if width == PANEL {
            turn::<S>(self.weight, k, k, self.turned);
            self.turned[k * PANEL..].fill(0.0);
        } else {
            self.turned.fill(0.0);
            for (i, to) in self.turned.chunks_exact_mut(PANEL).take(k).enumerate() {
                (0..width).for_each(|channel| to[channel] = self.weight[channel * k + i]);
            }
        }
        let weight = O::narrowed::<S>(self.turned, self.narrow);
        let at = |row: usize| self.x.as_ptr().wrapping_add(row * self.wide);
        // SAFETY: x has `rows` rows of `wide`, and the weight is a panel of as many.
        unsafe { panel::<S, O>(self.rows, &Taps::one(self.wide), at, weight.as_ptr(), &mut self.finish) };
    }
}

struct Panel<'a, O> {
    x: &'a [O],
    k: usize,
    rows: usize,
    weight: &'a [O],
    finish: Finish<'a>,
}

impl<O: Operand> Kernel for Panel<'_, O> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(mut self) {
        let at = |row: usize| self.x.as_ptr().wrapping_add(row * self.k);
        let taps = Taps::one(self.k);
        // SAFETY: x has `rows` rows of k, and the weight is a panel of k.
        unsafe { panel::<S, O>(self.rows, &taps, at, self.weight.as_ptr(), &mut self.finish) };
    }
}

/// Stores a panel's sums after bias, activation and residual.
struct Finish<'a> {
    after: After<'a>,
    out: &'a Parts<'a, f32>,
    /// Outputs of a row.
    n: usize,
    /// The panel's first output of the first row.
    first: usize,
    /// The panel's first output channel, and how many it has.
    channel: usize,
    width: usize,
}

impl<S: Simd> Sink<S> for Finish<'_> {
    #[inline(always)]
    unsafe fn put(&mut self, row: usize, column: usize, v: &[S::V]) {
        let at = self.first + row * self.n + column;
        for (i, &v) in v.iter().enumerate() {
            let first = i * S::LANES;
            if column + first >= self.width {
                return;
            }
            let n = S::LANES.min(self.width - column - first);
            // SAFETY: `n` outputs from here on belong to this panel and row, and to nobody else; bias and residual
            // are as long as the op checked.
            unsafe {
                let mut v = v;
                if let Some(bias) = self.after.bias {
                    v = S::add(v, S::load_up_to(bias.as_ptr().add(self.channel + column + first), n));
                }
                v = activate::<S>(self.after.activation, v);
                if let Some(residual) = self.after.residual {
                    v = S::add(v, S::load_up_to(residual.as_ptr().add(at + first), n));
                }
                S::store_up_to(self.out.slice(at + first..at + first + n).as_mut_ptr(), v, n);
            }
        }
    }
}
