use crate::backend::cpu::simd::{Kernel, Lanes, Simd};
use crate::backend::cpu::{Cpu, Parts};
use crate::error::Result;
use crate::ops::check::dims;
use crate::tensor::Tensor;

pub(super) fn upsample<T: Lanes>(cpu: &Cpu, x: &Tensor, out: &mut Tensor) -> Result<()> {
    let [n, h, w, c] = dims("x", x.desc())?;
    let x = x.data::<T>()?;
    let parts = Parts::new(out.data_mut::<T>()?);
    cpu.pool.blocks(n * h, |_, row| {
        let line = 2 * w * c;
        // SAFETY: one part a row of x.
        let (upper, lower) = unsafe { parts.slice(row * 2 * line..(row + 1) * 2 * line) }.split_at_mut(line);
        let pixels = x[row * w * c..][..w * c].chunks_exact(c.max(1));
        for (to, from) in upper.chunks_exact_mut((2 * c).max(1)).zip(pixels) {
            to[..c].copy_from_slice(from);
            to[c..].copy_from_slice(from);
        }
        lower.copy_from_slice(upper);
    });
    Ok(())
}

pub(super) fn fold<T: Lanes>(cpu: &Cpu, x: &Tensor, out: &mut Tensor) -> Result<()> {
    let [n, h, w, c] = dims("output", out.desc())?;
    let x = x.data::<T>()?;
    let parts = Parts::new(out.data_mut::<T>()?);
    cpu.pool.blocks(n * h, |_, row| {
        let line = 2 * w * c;
        let (upper, lower) = x[row * 2 * line..(row + 1) * 2 * line].split_at(line);
        // SAFETY: one part a row of the output.
        let to = unsafe { parts.slice(row * w * c..(row + 1) * w * c) };
        cpu.isa.dispatch(Fold { upper, lower, to, c });
    });
    Ok(())
}

/// Two rows of x to one.
struct Fold<'a, T> {
    upper: &'a [T],
    lower: &'a [T],
    to: &'a mut [T],
    c: usize,
}

impl<T: Lanes> Kernel for Fold<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self) {
        let c = self.c.max(1);
        for (pixel, to) in self.to.chunks_exact_mut(c).enumerate() {
            let at = pixel * 2 * c;
            for first in (0..c).step_by(S::LANES) {
                let n = S::LANES.min(c - first);
                // SAFETY: `first + n <= c`, and two pixels of x stand in each row for one of the output.
                unsafe {
                    let pair = |row: &[T]| {
                        let p = row.as_ptr().add(at + first);
                        S::add(T::load_n::<S>(p, n), T::load_n::<S>(p.add(c), n))
                    };
                    let sum = S::add(pair(self.upper), pair(self.lower));
                    T::store_n::<S>(to.as_mut_ptr().add(first), sum, n);
                }
            }
        }
    }
}
