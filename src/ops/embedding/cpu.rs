use super::MAX_TABLES;
use crate::backend::cpu::simd::{Kernel, Simd, Widen};
use crate::backend::cpu::{Cpu, Parts};
use crate::error::{Error, Result};
use crate::exec::Cx;
use crate::tensor::{DType, Tensor};
use half::{bf16, f16};

/// Elements a block, about.
const BLOCK: usize = 16384;

pub(super) fn embedding(cx: Cx<'_>, cpu: &Cpu, all: &[&Tensor], out: &mut Tensor) -> Result<()> {
    match all[1].dtype() {
        DType::F32 => embedding_of::<f32>(cpu, all, out),
        DType::BF16 => embedding_of::<bf16>(cpu, all, out),
        DType::F16 => embedding_of::<f16>(cpu, all, out),
        _ => Err(cx.unsupported("embedding", all[1].desc())),
    }
}

fn embedding_of<W: Widen>(cpu: &Cpu, all: &[&Tensor], out: &mut Tensor) -> Result<()> {
    let index = all[0].data::<u32>()?;
    let width = all[1].shape()[1];
    let mut tables: [&[W]; MAX_TABLES] = [&[]; MAX_TABLES];
    let tables = &mut tables[..all.len() - 1];
    for (table, tensor) in tables.iter_mut().zip(&all[1..]) {
        *table = tensor.data::<W>()?;
    }
    let tables = &*tables;
    for (at, &i) in index.iter().enumerate() {
        let entries = all[1 + at % tables.len()].shape()[0];
        if i as usize >= entries {
            return Err(Error::invalid(format!("index {i} of a table of {entries} rows")));
        }
    }
    let parts = Parts::new(out.data_mut::<f32>()?);
    let step = BLOCK.div_ceil(width.max(1));
    cpu.pool.blocks(index.len().div_ceil(step), |_, block| {
        for at in block * step..index.len().min((block + 1) * step) {
            // SAFETY: one part an entry.
            let to = unsafe { parts.slice(at * width..(at + 1) * width) };
            let from = &tables[at % tables.len()][index[at] as usize * width..][..width];
            cpu.isa.dispatch(Copy { from, to });
        }
    });
    Ok(())
}

/// Widens a row.
struct Copy<'a, W> {
    from: &'a [W],
    to: &'a mut [f32],
}

impl<W: Widen> Kernel for Copy<'_, W> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self) {
        for first in (0..self.to.len()).step_by(S::LANES) {
            let n = S::LANES.min(self.to.len() - first);
            // SAFETY: both slices are of one length, which `first + n` does not exceed.
            unsafe {
                S::store_n(
                    self.to.as_mut_ptr().add(first),
                    W::load_n::<S>(self.from.as_ptr().add(first), n),
                    n,
                )
            }
        }
    }
}
