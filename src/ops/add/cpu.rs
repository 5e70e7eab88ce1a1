use crate::backend::cpu::simd::{Kernel, Lanes, Simd};
use crate::backend::cpu::{Cpu, Parts, far};
use crate::error::Result;
use crate::tensor::{DType, Tensor};
use half::bf16;

/// Elements a block: three times 32 KB, and the cut does not depend on the threads.
const BLOCK: usize = 8192;
/// A shorter b is repeated up to about this length first, so that vectors do not end at every few elements.
const SHORT: usize = 256;

pub(super) fn add(cpu: &Cpu, a: &Tensor, b: &Tensor, out: &mut Tensor) -> Result<()> {
    match a.dtype() {
        DType::BF16 => add_of::<bf16>(cpu, a, b, out),
        _ => add_of::<f32>(cpu, a, b, out),
    }
}

fn add_of<T: Lanes>(cpu: &Cpu, a: &Tensor, b: &Tensor, out: &mut Tensor) -> Result<()> {
    let (a, mut b) = (a.data::<T>()?, b.data::<T>()?);
    if a.is_empty() {
        return Ok(());
    }
    let mut repeated = [a[0]; SHORT];
    // b is not empty: its extents are among a's.
    if b.len() < SHORT {
        let whole = SHORT / b.len() * b.len();
        repeated[..whole].chunks_exact_mut(b.len()).for_each(|chunk| chunk.copy_from_slice(b));
        b = &repeated[..whole];
    }
    let parts = Parts::new(out.data_mut::<T>()?);
    cpu.pool.blocks(a.len().div_ceil(BLOCK), |_, block| {
        let range = block * BLOCK..a.len().min((block + 1) * BLOCK);
        // SAFETY: one part a block.
        let out = unsafe { parts.slice(range.clone()) };
        let (phase, far) = (block * BLOCK % b.len(), far(a.len()));
        cpu.isa.dispatch(Sum { a: &a[range], b, phase, out, far });
    });
    Ok(())
}

/// a + b, where b begins at `phase` and repeats.
struct Sum<'a, T> {
    a: &'a [T],
    b: &'a [T],
    phase: usize,
    out: &'a mut [T],
    far: bool,
}

impl<T: Lanes> Kernel for Sum<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self) {
        let (mut at, mut phase) = (0, self.phase);
        while at < self.a.len() {
            let run = (self.b.len() - phase).min(self.a.len() - at);
            for first in (0..run).step_by(S::LANES) {
                let n = S::LANES.min(run - first);
                // SAFETY: `first + n <= run`, and `run` elements are left in all three slices.
                unsafe {
                    let (a, b) = (self.a.as_ptr().add(at + first), self.b.as_ptr().add(phase + first));
                    let out = self.out.as_mut_ptr().add(at + first);
                    T::store_far::<S>(out, S::add(T::load_n::<S>(a, n), T::load_n::<S>(b, n)), n, self.far);
                }
            }
            at += run;
            phase = 0;
        }
        if self.far {
            // SAFETY: this runs under the level's dispatch.
            unsafe { S::fence() };
        }
    }
}
