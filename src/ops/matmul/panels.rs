//! Products by the register tile of layers: each panel of b is copied together just before rows of a pass it, so that
//! it comes from memory once and from the second cache afterwards.

use super::MatMul;
use crate::backend::cpu::simd::{Kernel, Simd};
use crate::backend::cpu::{Cpu, Parts};
use crate::error::Result;
use crate::exec::Cx;
use crate::ops::rounded::rounded;
use crate::ops::tile::{Operand, PANEL, Sink, Taps, panel};
use crate::tensor::{DType, Desc, Tensor};
use half::bf16;

/// Products that are summed before the sum is stored: a panel of so many rows of b stays in the second cache.
const DEPTH: usize = 2048;
/// Rows of a that pass a panel before the next is copied: as many as the third cache holds of most a.
const ROWS: usize = 2048;

pub(super) fn forward(
    op: &MatMul,
    cx: Cx<'_>,
    cpu: &Cpu,
    inputs: &[&Tensor],
    out: &mut Tensor,
) -> Result<()> {
    let [m, k] = op.extents(inputs[0].desc())?;
    let n = inputs[1].shape()[1];
    let (a, b) = (inputs[0].data::<f32>()?, inputs[1].data::<f32>()?);
    let turned = match op.transpose_a {
        true => Some(turned(cx, cpu, a, [m, k])?),
        false => None,
    };
    let a = match &turned {
        Some(turned) => turned.data::<f32>()?,
        None => a,
    };
    if op.operands == DType::BF16 && cpu.isa.multiplies_bf16() {
        let (a, wide) = rounded(cx, cpu, a, [m, k])?;
        return multiply::<bf16>(cx, cpu, a.data()?, wide, b, [m, k, n], out);
    }
    multiply::<f32>(cx, cpu, a, k, b, [m, k, n], out)
}

/// `a` is rows of `wide` operands.
fn multiply<O: Operand>(
    cx: Cx<'_>,
    cpu: &Cpu,
    a: &[O],
    wide: usize,
    b: &[f32],
    [m, k, n]: [usize; 3],
    out: &mut Tensor,
) -> Result<()> {
    let out = out.data_mut::<f32>()?;
    if k == 0 {
        out.fill(0.0);
        return Ok(());
    }
    let size = DEPTH.min(wide) * PANEL;
    let mut copied = cx.workspace.tensor(Desc::plain([cpu.pool.threads(), size], DType::F32))?;
    let copied = Parts::new(copied.data_mut::<f32>()?);
    let mut narrow = cx.workspace.tensor(Desc::plain([cpu.pool.threads(), size], O::DTYPE))?;
    let narrow = Parts::new(narrow.data_mut::<O>()?);
    let out = Parts::new(out);
    let count = n.div_ceil(PANEL);
    cpu.pool.blocks(m.div_ceil(ROWS) * count, |lane, index| {
        let (first, column) = (index / count * ROWS, index % count * PANEL);
        let of_lane = lane * size..(lane + 1) * size;
        // SAFETY: one part a lane, of both.
        let (copied, narrow) = unsafe { (copied.slice(of_lane.clone()), narrow.slice(of_lane)) };
        let rows = first..m.min(first + ROWS);
        cpu.isa.dispatch(Column {
            a: &a[rows.start * wide..rows.end * wide],
            wide,
            b,
            k,
            n,
            column,
            width: PANEL.min(n - column),
            copied,
            narrow,
            out: &out,
            first,
        });
    });
    Ok(())
}

/// a (k, m) as (m, k).
fn turned(cx: Cx<'_>, cpu: &Cpu, a: &[f32], [m, k]: [usize; 2]) -> Result<Tensor> {
    /// Columns of a block.
    const BLOCK: usize = 64;
    let mut turned = cx.workspace.tensor(Desc::plain([m, k], DType::F32))?;
    let parts = Parts::new(turned.data_mut::<f32>()?);
    cpu.pool.blocks(m.div_ceil(BLOCK), |_, block| {
        let columns = block * BLOCK..m.min((block + 1) * BLOCK);
        // SAFETY: one part a block.
        let to = unsafe { parts.slice(columns.start * k..columns.end * k) };
        cpu.isa.dispatch(Turn { a, m, k, first: columns.start, count: columns.len(), to });
    });
    Ok(turned)
}

/// Some columns of a (k, m) as rows.
struct Turn<'a> {
    a: &'a [f32],
    m: usize,
    k: usize,
    first: usize,
    count: usize,
    to: &'a mut [f32],
}

impl Kernel for Turn<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self) {
        let (across, down) = (self.count - self.count % S::LANES, self.k - self.k % S::LANES);
        for row in (0..down).step_by(S::LANES) {
            for column in (0..across).step_by(S::LANES) {
                // SAFETY: LANES rows of a from `row`, and as many columns from `column`, lie within; so do they turned.
                unsafe {
                    let from = self.a.as_ptr().add(row * self.m + self.first + column);
                    S::turn(from, self.m, self.to.as_mut_ptr().add(column * self.k + row), self.k);
                }
            }
        }
        for row in 0..self.k {
            let from = if row < down { across } else { 0 };
            for column in from..self.count {
                self.to[column * self.k + row] = self.a[row * self.m + self.first + column];
            }
        }
    }
}

/// Some rows of a times a panel's columns of b.
struct Column<'a, O> {
    /// Rows of `wide`.
    a: &'a [O],
    wide: usize,
    /// k rows of n.
    b: &'a [f32],
    k: usize,
    n: usize,
    column: usize,
    width: usize,
    copied: &'a mut [f32],
    narrow: &'a mut [O],
    /// Rows of n, those of a from `first` on.
    out: &'a Parts<'a, f32>,
    first: usize,
}

impl<O: Operand> Kernel for Column<'_, O> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self) {
        let rows = self.a.len() / self.wide;
        for from in (0..self.wide).step_by(DEPTH) {
            let depth = DEPTH.min(self.wide - from);
            let copied = &mut self.copied[..depth * PANEL];
            for (l, to) in copied.chunks_exact_mut(PANEL).enumerate() {
                if from + l >= self.k {
                    to.fill(0.0);
                    continue;
                }
                let b = &self.b[(from + l) * self.n + self.column..][..self.width];
                to[..self.width].copy_from_slice(b);
                to[self.width..].fill(0.0);
            }
            let b = O::narrowed::<S>(copied, self.narrow);
            let at = |row: usize| self.a.as_ptr().wrapping_add(row * self.wide + from);
            let first = self.first * self.n + self.column;
            let mut store = Store { out: self.out, n: self.n, first, width: self.width, add: from > 0 };
            // SAFETY: a has `rows` rows of `wide`, and b is a panel of `depth`.
            unsafe { panel::<S, O>(rows, &Taps::one(depth), at, b.as_ptr(), &mut store) };
        }
    }
}

/// Stores a panel's sums, or adds them to what is there.
struct Store<'a> {
    out: &'a Parts<'a, f32>,
    n: usize,
    first: usize,
    width: usize,
    add: bool,
}

impl<S: Simd> Sink<S> for Store<'_> {
    #[inline(always)]
    unsafe fn put(&mut self, row: usize, column: usize, v: &[S::V]) {
        for (i, &v) in v.iter().enumerate() {
            let column = column + i * S::LANES;
            if column >= self.width {
                return;
            }
            let n = S::LANES.min(self.width - column);
            let at = self.first + row * self.n + column;
            // SAFETY: these `n` elements belong to this panel and row, and to nobody else.
            unsafe {
                let to = self.out.slice(at..at + n).as_mut_ptr();
                let sum = if self.add { S::add(S::load_up_to(to, n), v) } else { v };
                S::store_up_to(to, sum, n);
            }
        }
    }
}
