use crate::backend::cpu::simd::{Kernel, Simd};
use crate::backend::cpu::{Cpu, Parts};
use crate::error::{Error, Result};
use crate::exec::Cx;
use crate::tensor::{DType, Desc, Tensor};

/// Positions a block: the cut does not depend on the threads.
const BLOCK: usize = 256;
/// Added to a length.
const EPS: f64 = 1e-10;

fn extents(x: &Tensor) -> Result<[usize; 3]> {
    let [n, h, w, c] = x.shape().dims().ok_or_else(|| Error::internal("a lost its axes"))?;
    Ok([n, h * w, c])
}

pub(super) fn forward(cx: Cx<'_>, cpu: &Cpu, all: &[&Tensor], out: &mut Tensor) -> Result<()> {
    let [n, positions, c] = extents(all[0])?;
    let (a, b, weight) = (all[0].data::<f32>()?, all[1].data::<f32>()?, all[2].data::<f32>()?);
    let blocks = positions.div_ceil(BLOCK);
    let mut partial = cx.workspace.tensor(Desc::plain([n * blocks], DType::F32))?;
    let parts = Parts::new(partial.data_mut::<f32>()?);
    cpu.pool.blocks(n * blocks, |_, index| {
        let (image, block) = (index / blocks, index % blocks);
        let at = |block: usize| (image * positions + (block * BLOCK).min(positions)) * c;
        let range = at(block)..at(block + 1);
        // SAFETY: one part a block.
        let sum = unsafe { parts.slice(index..index + 1) };
        sum[0] = cpu.isa.dispatch(Distance { a: &a[range.clone()], b: &b[range], weight }) as f32;
    });
    let partial = partial.data::<f32>()?;
    for (image, out) in out.data_mut::<f32>()?.iter_mut().enumerate() {
        let sum: f64 = partial[image * blocks..(image + 1) * blocks].iter().map(|&x| f64::from(x)).sum();
        *out = (sum / positions as f64) as f32;
    }
    Ok(())
}

pub(super) fn backward(cpu: &Cpu, all: &[&Tensor], out: &mut Tensor) -> Result<()> {
    let [n, positions, c] = extents(all[0])?;
    let (a, b, weight) = (all[0].data::<f32>()?, all[1].data::<f32>()?, all[2].data::<f32>()?);
    let grad = all[3].data::<f32>()?;
    let blocks = positions.div_ceil(BLOCK);
    let parts = Parts::new(out.data_mut::<f32>()?);
    cpu.pool.blocks(n * blocks, |_, index| {
        let (image, block) = (index / blocks, index % blocks);
        let at = |block: usize| (image * positions + (block * BLOCK).min(positions)) * c;
        let range = at(block)..at(block + 1);
        // SAFETY: one part a block.
        let da = unsafe { parts.slice(range.clone()) };
        let factor = 2.0 * f64::from(grad[image]) / positions as f64;
        cpu.isa.dispatch(Slope { a: &a[range.clone()], b: &b[range], weight, factor, da });
    });
    Ok(())
}

/// The sum over positions of sum over c of weight (a / |a| - b / |b|)^2.
struct Distance<'a> {
    a: &'a [f32],
    b: &'a [f32],
    weight: &'a [f32],
}

/// 1 / (|x| + eps), and |x|.
#[inline(always)]
unsafe fn inverse<S: Simd>(x: &[f32]) -> (f32, f64) {
    // SAFETY: `first + n` is at most the row's length.
    unsafe {
        let mut sum = S::splat(0.0);
        for first in (0..x.len()).step_by(S::LANES) {
            let v = S::load_up_to(x.as_ptr().add(first), S::LANES.min(x.len() - first));
            sum = S::fma(v, v, sum);
        }
        let norm = f64::from(S::sum(sum)).sqrt();
        ((1.0 / (norm + EPS)) as f32, norm)
    }
}

impl Kernel for Distance<'_> {
    type Output = f64;
    #[inline(always)]
    fn run<S: Simd>(self) -> f64 {
        let c = self.weight.len();
        let mut total = 0.0;
        for (a, b) in self.a.chunks_exact(c).zip(self.b.chunks_exact(c)) {
            // SAFETY: `first + n <= c`, the length of all three rows.
            unsafe {
                let (u, v) = (S::splat(inverse::<S>(a).0), S::splat(inverse::<S>(b).0));
                let mut sum = S::splat(0.0);
                for first in (0..c).step_by(S::LANES) {
                    let n = S::LANES.min(c - first);
                    let load = |x: &[f32]| S::load_up_to(x.as_ptr().add(first), n);
                    let d = S::sub(S::mul(load(a), u), S::mul(load(b), v));
                    sum = S::fma(S::mul(d, d), load(self.weight), sum);
                }
                total += f64::from(S::sum(sum));
            }
        }
        total
    }
}

/// With y = a / (|a| + eps) and g = factor * weight * (y - b / |b|): da = (g - a (g . a) / (|a| (|a| + eps))) /
/// (|a| + eps).
struct Slope<'a> {
    a: &'a [f32],
    b: &'a [f32],
    weight: &'a [f32],
    factor: f64,
    da: &'a mut [f32],
}

impl Kernel for Slope<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self) {
        let c = self.weight.len();
        let rows = self.a.chunks_exact(c).zip(self.b.chunks_exact(c)).zip(self.da.chunks_exact_mut(c));
        for ((a, b), da) in rows {
            // SAFETY: `first + n <= c`, the length of all rows.
            unsafe {
                let ((u, norm), (v, _)) = (inverse::<S>(a), inverse::<S>(b));
                if norm == 0.0 {
                    da.fill(0.0);
                    continue;
                }
                let (scale, u, v) = (S::splat(self.factor as f32), S::splat(u), S::splat(v));
                let mut dot = S::splat(0.0);
                for first in (0..c).step_by(S::LANES) {
                    let n = S::LANES.min(c - first);
                    let load = |x: &[f32]| S::load_up_to(x.as_ptr().add(first), n);
                    let y = S::mul(load(a), u);
                    let g = S::mul(S::mul(scale, load(self.weight)), S::sub(y, S::mul(load(b), v)));
                    S::store_up_to(da.as_mut_ptr().add(first), g, n);
                    // Through y: a itself may be as small as its square is none.
                    dot = S::fma(g, y, dot);
                }
                let along = S::splat((f64::from(S::sum(dot)) * (norm + EPS) / norm) as f32);
                for first in (0..c).step_by(S::LANES) {
                    let n = S::LANES.min(c - first);
                    let y = S::mul(S::load_up_to(a.as_ptr().add(first), n), u);
                    let g = S::load_up_to(da.as_ptr().add(first), n);
                    S::store_up_to(da.as_mut_ptr().add(first), S::mul(S::sub(g, S::mul(y, along)), u), n);
                }
            }
        }
    }
}
