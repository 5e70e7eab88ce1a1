use super::{Adam, Factors};
use crate::backend::cpu::simd::{Kernel, Simd};
use crate::backend::cpu::{Cpu, Parts};
use crate::error::Result;
use crate::tensor::Tensor;

/// Elements a block.
const BLOCK: usize = 4096;

pub(super) fn adam(op: &Adam, cpu: &Cpu, all: &[&Tensor], outputs: &mut [Tensor; 3]) -> Result<()> {
    let (weight, grad) = (all[0].data::<f32>()?, all[1].data::<f32>()?);
    let (m, v) = (all[2].data::<f32>()?, all[3].data::<f32>()?);
    let [new_weight, new_m, new_v] = outputs;
    let new_weight = Parts::new(new_weight.data_mut::<f32>()?);
    let (new_m, new_v) = (Parts::new(new_m.data_mut::<f32>()?), Parts::new(new_v.data_mut::<f32>()?));
    let factors = op.factors();
    cpu.pool.blocks(weight.len().div_ceil(BLOCK), |_, block| {
        let range = block * BLOCK..weight.len().min((block + 1) * BLOCK);
        let from = [weight, grad, m, v].map(|x| &x[range.clone()]);
        // SAFETY: one part a block, of all three.
        let to = unsafe {
            [new_weight.slice(range.clone()), new_m.slice(range.clone()), new_v.slice(range.clone())]
        };
        cpu.isa.dispatch(Step { factors, from, to });
    });
    Ok(())
}

struct Step<'a> {
    factors: Factors,
    from: [&'a [f32]; 4],
    to: [&'a mut [f32]; 3],
}

impl Kernel for Step<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self) {
        let f = self.factors;
        let count = self.from[0].len();
        let [weight, grad, m, v] = self.from.map(<[f32]>::as_ptr);
        let [to_weight, to_m, to_v] = self.to.map(<[f32]>::as_mut_ptr);
        for at in (0..count).step_by(S::LANES) {
            let n = S::LANES.min(count - at);
            // SAFETY: `at + n <= count`, the length of all seven.
            unsafe {
                let load = |p: *const f32| S::load_up_to(p.add(at), n);
                let g = S::mul(load(grad), S::splat(f.scale));
                let old = load(m);
                let m = S::fma(S::sub(g, old), S::splat(f.first), old);
                let v = S::fma(S::mul(g, g), S::splat(f.fresh), S::mul(load(v), S::splat(f.second)));
                let root = S::add(S::div(S::sqrt(v), S::splat(f.root)), S::splat(f.eps));
                let kept = S::mul(load(weight), S::splat(f.keep));
                let step = S::div(S::mul(m, S::splat(f.rate)), root);
                S::store_up_to(to_weight.add(at), S::sub(kept, step), n);
                S::store_up_to(to_m.add(at), m, n);
                S::store_up_to(to_v.add(at), v, n);
            }
        }
    }
}
