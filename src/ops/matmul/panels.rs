//! Products by the register tile of layers: each panel of b is copied together just before rows of a pass it, so that
//! it comes from memory once and from the second cache afterwards.

use super::MatMul;
use crate::backend::cpu::simd::{Kernel, Simd};
use crate::backend::cpu::{Cpu, Parts};
use crate::error::Result;
use crate::exec::Cx;
use crate::ops::tile::{PANEL, Sink, Taps, panel};
use crate::tensor::{DType, Desc, Tensor};

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
    let out = out.data_mut::<f32>()?;
    if k == 0 {
        out.fill(0.0);
        return Ok(());
    }
    let size = DEPTH.min(k) * PANEL;
    let mut scratch = cx.workspace.tensor(Desc::plain([cpu.pool.threads(), size], DType::F32))?;
    let scratch = Parts::new(scratch.data_mut::<f32>()?);
    let out = Parts::new(out);
    let count = n.div_ceil(PANEL);
    cpu.pool.blocks(m.div_ceil(ROWS) * count, |lane, index| {
        let (first, column) = (index / count * ROWS, index % count * PANEL);
        // SAFETY: one part a lane.
        let scratch = unsafe { scratch.slice(lane * size..(lane + 1) * size) };
        let width = PANEL.min(n - column);
        let rows = ROWS.min(m - first);
        cpu.isa.dispatch(Column {
            a: &a[first * k..(first + rows) * k],
            k,
            b,
            n,
            column,
            width,
            scratch,
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
struct Column<'a> {
    /// Rows of k.
    a: &'a [f32],
    k: usize,
    /// Rows of n.
    b: &'a [f32],
    n: usize,
    column: usize,
    width: usize,
    scratch: &'a mut [f32],
    /// Rows of n, those of a from `first` on.
    out: &'a Parts<'a, f32>,
    first: usize,
}

impl Kernel for Column<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self) {
        let rows = self.a.len() / self.k;
        for from in (0..self.k).step_by(DEPTH) {
            let depth = DEPTH.min(self.k - from);
            for (l, to) in self.scratch.chunks_exact_mut(PANEL).take(depth).enumerate() {
                let b = &self.b[(from + l) * self.n + self.column..][..self.width];
                to[..self.width].copy_from_slice(b);
                to[self.width..].fill(0.0);
            }
            let at = |row: usize| self.a.as_ptr().wrapping_add(row * self.k + from);
            let first = self.first * self.n + self.column;
            let mut store = Store { out: self.out, n: self.n, first, width: self.width, add: from > 0 };
            // SAFETY: a has `rows` rows of k, and the scratch is a panel of `depth`.
            unsafe { panel::<S, f32>(rows, &Taps::one(depth), at, self.scratch.as_ptr(), &mut store) };
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
