use super::RmsNorm;
use crate::backend::cpu::simd::{Kernel, Simd};
use crate::backend::cpu::{Cpu, Parts};
use crate::error::Result;
use crate::tensor::Tensor;

/// Elements a block, about: the cut does not depend on the threads.
const BLOCK: usize = 16384;

pub(super) fn rms_norm(op: &RmsNorm, cpu: &Cpu, inputs: &[&Tensor], out: &mut Tensor) -> Result<()> {
    let (x, weight) = (inputs[0].data::<f32>()?, inputs[1].data::<f32>()?);
    let step = BLOCK.div_ceil(weight.len()) * weight.len();
    let parts = Parts::new(out.data_mut::<f32>()?);
    cpu.pool.blocks(x.len().div_ceil(step), |_, block| {
        let range = block * step..x.len().min((block + 1) * step);
        // SAFETY: one part a block.
        let y = unsafe { parts.slice(range.clone()) };
        cpu.isa.dispatch(Rows { x: &x[range], y, weight, eps: op.eps });
    });
    Ok(())
}

/// Elements of a cache line.
const LINE: usize = 16;

/// Some whole rows.
struct Rows<'a> {
    x: &'a [f32],
    y: &'a mut [f32],
    weight: &'a [f32],
    eps: f32,
}

impl Kernel for Rows<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self) {
        let c = self.weight.len();
        for (x, y) in self.x.chunks_exact(c).zip(self.y.chunks_exact_mut(c)) {
            let (x, y) = (x.as_ptr(), y.as_mut_ptr());
            // SAFETY: all accesses stay within c elements, the length of all three slices.
            unsafe {
                // Another thread may have written it last: better to ask for all of it at once.
                for first in (0..c).step_by(LINE) {
                    S::prefetch(x.add(first).cast());
                }
                // Four sums, so that additions need not wait for each other.
                let mut sums = [S::splat(0.0); 4];
                let whole = c / (4 * S::LANES) * (4 * S::LANES);
                for first in (0..whole).step_by(4 * S::LANES) {
                    for (i, sum) in sums.iter_mut().enumerate() {
                        let v = S::load(x.add(first + i * S::LANES));
                        *sum = S::fma(v, v, *sum);
                    }
                }
                for (sum, first) in sums.iter_mut().zip((whole..c).step_by(S::LANES)) {
                    let v = S::load_n(x.add(first), S::LANES.min(c - first));
                    *sum = S::fma(v, v, *sum);
                }
                let square = S::sum(S::add(S::add(sums[0], sums[1]), S::add(sums[2], sums[3])));
                let scale = S::splat(1.0 / (square / c as f32 + self.eps).sqrt());
                for first in (0..c).step_by(S::LANES) {
                    let n = S::LANES.min(c - first);
                    let weight = S::load_n(self.weight.as_ptr().add(first), n);
                    let v = S::mul(S::mul(S::load_n(x.add(first), n), scale), weight);
                    S::store_n(y.add(first), v, n);
                }
            }
        }
    }
}
