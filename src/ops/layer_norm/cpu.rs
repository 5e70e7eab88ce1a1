use super::LayerNorm;
use crate::backend::cpu::simd::{Kernel, Simd};
use crate::backend::cpu::{Cpu, Parts};
use crate::error::Result;
use crate::tensor::Tensor;

/// Elements a block, about: the cut does not depend on the threads.
const BLOCK: usize = 8192;

pub(super) fn layer_norm(op: &LayerNorm, cpu: &Cpu, inputs: &[&Tensor], out: &mut Tensor) -> Result<()> {
    let (x, weight, bias) = (inputs[0].data::<f32>()?, inputs[1].data::<f32>()?, inputs[2].data::<f32>()?);
    let step = BLOCK.div_ceil(weight.len()) * weight.len();
    let parts = Parts::new(out.data_mut::<f32>()?);
    cpu.pool.blocks(x.len().div_ceil(step), |_, block| {
        let range = block * step..x.len().min((block + 1) * step);
        // SAFETY: one part a block.
        let y = unsafe { parts.slice(range.clone()) };
        cpu.isa.dispatch(Rows { x: &x[range], y, weight, bias, eps: op.eps });
    });
    Ok(())
}

/// Some whole rows.
struct Rows<'a> {
    x: &'a [f32],
    y: &'a mut [f32],
    weight: &'a [f32],
    bias: &'a [f32],
    eps: f32,
}

impl Kernel for Rows<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self) {
        let c = self.weight.len();
        let (weight, bias) = (self.weight.as_ptr(), self.bias.as_ptr());
        for (x, y) in self.x.chunks_exact(c).zip(self.y.chunks_exact_mut(c)) {
            let (x, y) = (x.as_ptr(), y.as_mut_ptr());
            // SAFETY: `fold` and the loop stay within c elements, the length of all four slices.
            unsafe {
                // A first mean, rounded; then the moments about it are small numbers and lose nothing, however
                // far from zero the row lies.
                let [sum, _] = fold::<S>(x, c, S::splat(0.0));
                let pivot = S::splat(sum / c as f32);
                let [sum, square] = fold::<S>(x, c, pivot);
                let shift = f64::from(sum) / c as f64;
                let variance = f64::from(square) / c as f64 - shift * shift;
                // `max` would make a number of a NaN.
                let variance = if variance < 0.0 { 0.0 } else { variance };
                let inverse = 1.0 / (variance + f64::from(self.eps)).sqrt();
                let (inverse, shift) = (S::splat(inverse as f32), S::splat((-shift * inverse) as f32));
                for first in (0..c).step_by(S::LANES) {
                    let n = S::LANES.min(c - first);
                    let d = S::sub(S::load_up_to(x.add(first), n), pivot);
                    let (weight, bias) =
                        (S::load_up_to(weight.add(first), n), S::load_up_to(bias.add(first), n));
                    S::store_up_to(y.add(first), S::fma(S::fma(d, inverse, shift), weight, bias), n);
                }
            }
        }
    }
}

/// The sums of x - pivot and of its square over c elements: four vectors each, so that additions need not
/// wait for each other and no long sum is rounded step by step.
#[inline(always)]
unsafe fn fold<S: Simd>(x: *const f32, c: usize, pivot: S::V) -> [f32; 2] {
    // SAFETY: the caller has c elements and the instructions.
    unsafe {
        let zero = S::splat(0.0);
        let (mut sum, mut square) = ([zero; 4], [zero; 4]);
        let whole = c / (4 * S::LANES) * (4 * S::LANES);
        for first in (0..whole).step_by(4 * S::LANES) {
            for i in 0..4 {
                let d = S::sub(S::load(x.add(first + i * S::LANES)), pivot);
                sum[i] = S::add(sum[i], d);
                square[i] = S::fma(d, d, square[i]);
            }
        }
        for (i, first) in (whole..c).step_by(S::LANES).enumerate() {
            // Lanes past the end are made equal to the pivot, so that they add nothing.
            let n = S::LANES.min(c - first);
            let mut d = S::sub(S::load_n(x.add(first), n), pivot);
            if n < S::LANES {
                let mut lanes = [0.0f32; 16];
                S::store(lanes.as_mut_ptr(), d);
                d = S::load_n(lanes.as_ptr(), n);
            }
            sum[i] = S::add(sum[i], d);
            square[i] = S::fma(d, d, square[i]);
        }
        let all = |v: [S::V; 4]| S::sum(S::add(S::add(v[0], v[1]), S::add(v[2], v[3])));
        [all(sum), all(square)]
    }
}
