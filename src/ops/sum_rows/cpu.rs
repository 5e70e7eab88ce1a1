use crate::backend::cpu::simd::{Kernel, Simd};
use crate::backend::cpu::{Cpu, Parts, Values};
use crate::error::Result;
use crate::exec::Cx;
use crate::tensor::{DType, Desc, Tensor};
use std::ops::Range;

/// Rows a block: short enough for f32 sums, and the cut does not depend on the threads.
const BLOCK: usize = 256;

pub(super) fn forward(cx: Cx<'_>, cpu: &Cpu, x: &Tensor, out: &mut Tensor) -> Result<()> {
    let x = Values::of(x)?;
    let out = out.data_mut::<f32>()?;
    let c = out.len();
    let rows = x.len().checked_div(c).unwrap_or(0);
    let blocks = rows.div_ceil(BLOCK);
    let mut partial = cx.workspace.tensor(Desc::plain([blocks, c], DType::F32))?;
    let parts = Parts::new(partial.data_mut::<f32>()?);
    cpu.pool.blocks(blocks, |_, block| {
        // SAFETY: one part a block.
        let sums = unsafe { parts.slice(block * c..(block + 1) * c) };
        cpu.isa.dispatch(Sums { x, rows: block * BLOCK..rows.min((block + 1) * BLOCK), sums });
    });
    reduce(partial.data::<f32>()?, out);
    Ok(())
}

/// Adds up partial sums, in their order and in f64.
pub(in crate::ops) fn reduce(partial: &[f32], out: &mut [f32]) {
    let c = out.len();
    for (i, sum) in out.iter_mut().enumerate() {
        *sum = partial.iter().skip(i).step_by(c.max(1)).map(|&x| f64::from(x)).sum::<f64>() as f32;
    }
}

struct Sums<'a> {
    x: Values<'a>,
    rows: Range<usize>,
    sums: &'a mut [f32],
}

impl Kernel for Sums<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self) {
        let c = self.sums.len();
        for first in (0..c).step_by(S::LANES) {
            let n = S::LANES.min(c - first);
            // SAFETY: `first + n <= c`, each row has c elements, and the rows are there.
            unsafe {
                let mut sum = S::splat(0.0);
                for row in self.rows.clone() {
                    sum = S::add(sum, self.x.load_n::<S>(row * c + first, n));
                }
                S::store_up_to(self.sums.as_mut_ptr().add(first), sum, n);
            }
        }
    }
}
