//! What elementwise operations and sums over all elements share: how the work is cut, and the loop over vectors.

use crate::backend::cpu::simd::{Kernel, Simd};
use crate::backend::cpu::{Cpu, Parts};
use crate::error::Result;
use crate::exec::Cx;
use crate::tensor::{DType, Desc};

/// Elements a block: short enough for f32 sums within one, and the cut does not depend on the threads.
const BLOCK: usize = 4096;

/// A function of two numbers, a vector at a time.
pub(super) trait Binary: Copy + Send + Sync {
    /// # Safety
    /// That of [`Simd`].
    unsafe fn apply<S: Simd>(self, a: S::V, b: S::V) -> S::V;
}

/// out\[i\] = f(a\[i\], b\[i\]). All of one length.
pub(super) fn map<F: Binary>(cpu: &Cpu, f: F, a: &[f32], b: &[f32], out: &mut [f32]) {
    blocks(cpu, f, Some(a), b, out);
}

/// a\[i\] = f(a\[i\], b\[i\]). Both of one length.
pub(super) fn update<F: Binary>(cpu: &Cpu, f: F, a: &mut [f32], b: &[f32]) {
    blocks(cpu, f, None, b, a);
}

fn blocks<F: Binary>(cpu: &Cpu, f: F, a: Option<&[f32]>, b: &[f32], out: &mut [f32]) {
    let parts = Parts::new(out);
    cpu.pool.blocks(b.len().div_ceil(BLOCK), |_, block| {
        let range = block * BLOCK..b.len().min((block + 1) * BLOCK);
        // SAFETY: one part a block.
        let out = unsafe { parts.slice(range.clone()) };
        cpu.isa.dispatch(Map { f, a: a.map(|a| &a[range.clone()]), b: &b[range], out });
    });
}

/// The sum of f(a\[i\], b\[i\]): f32 within a block, f64 across blocks.
pub(super) fn sum<F: Binary>(cx: Cx<'_>, cpu: &Cpu, f: F, a: &[f32], b: &[f32]) -> Result<f64> {
    let blocks = a.len().div_ceil(BLOCK);
    let mut partial = cx.workspace.tensor(Desc::plain([blocks], DType::F32))?;
    let parts = Parts::new(partial.data_mut::<f32>()?);
    cpu.pool.blocks(blocks, |_, block| {
        let range = block * BLOCK..a.len().min((block + 1) * BLOCK);
        // SAFETY: one part a block.
        let out = unsafe { parts.slice(block..block + 1) };
        out[0] = cpu.isa.dispatch(Sum { f, a: &a[range.clone()], b: &b[range] });
    });
    Ok(partial.data::<f32>()?.iter().map(|&x| f64::from(x)).sum())
}

struct Map<'a, F> {
    f: F,
    /// `None` for what stands where the result goes.
    a: Option<&'a [f32]>,
    b: &'a [f32],
    out: &'a mut [f32],
}

impl<F: Binary> Kernel for Map<'_, F> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self) {
        let out = self.out.as_mut_ptr();
        let a = self.a.map_or(out.cast_const(), <[f32]>::as_ptr);
        for first in (0..self.b.len()).step_by(S::LANES) {
            let n = S::LANES.min(self.b.len() - first);
            // SAFETY: `first + n` is at most the length of all slices, and each place is read before it is written.
            unsafe {
                let a = S::load_up_to(a.add(first), n);
                let b = S::load_up_to(self.b.as_ptr().add(first), n);
                S::store_up_to(out.add(first), self.f.apply::<S>(a, b), n);
            }
        }
    }
}

struct Sum<'a, F> {
    f: F,
    a: &'a [f32],
    b: &'a [f32],
}

impl<F: Binary> Kernel for Sum<'_, F> {
    type Output = f32;
    #[inline(always)]
    fn run<S: Simd>(self) -> f32 {
        let whole = self.a.len() / S::LANES * S::LANES;
        // SAFETY: `first + LANES <= whole`; the rest is `tail < LANES` elements of both slices.
        unsafe {
            let mut sum = S::splat(0.0);
            for first in (0..whole).step_by(S::LANES) {
                let (a, b) = (S::load(self.a.as_ptr().add(first)), S::load(self.b.as_ptr().add(first)));
                sum = S::add(sum, self.f.apply::<S>(a, b));
            }
            let mut total = S::sum(sum);
            // Lanes past the end would count f(0, 0).
            let tail = self.a.len() - whole;
            if tail > 0 {
                let (a, b) = (self.a.as_ptr().add(whole), self.b.as_ptr().add(whole));
                let mut last = [0.0; 16];
                S::store(last.as_mut_ptr(), self.f.apply::<S>(S::load_n(a, tail), S::load_n(b, tail)));
                total += last[..tail].iter().sum::<f32>();
            }
            total
        }
    }
}
