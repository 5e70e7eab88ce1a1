use super::{Adam, Factors};
use crate::backend::cpu::simd::{Kernel, Simd};
use crate::backend::cpu::{Cpu, Parts};
use crate::error::Result;
use crate::tensor::Tensor;

/// Elements a block.
const BLOCK: usize = 4096;

pub(super) fn adam(op: &Adam, cpu: &Cpu, all: &[&Tensor], outputs: &mut [Tensor; 3]) -> Result<()> {
    let [weight, m, v] = outputs;
    let old = [all[0].data::<f32>()?, all[2].data()?, all[3].data()?];
    step(op, cpu, all[1].data()?, Some(old), [weight.data_mut()?, m.data_mut()?, v.data_mut()?]);
    Ok(())
}

/// Weight, m and v after a step: from the old ones, or from what stands where they go.
pub(super) fn step(op: &Adam, cpu: &Cpu, gradient: &[f32], old: Option<[&[f32]; 3]>, new: [&mut [f32]; 3]) {
    let factors = op.factors();
    let new = new.map(Parts::new);
    cpu.pool.blocks(gradient.len().div_ceil(BLOCK), |_, block| {
        let range = block * BLOCK..gradient.len().min((block + 1) * BLOCK);
        // SAFETY: one part a block, of all three.
        let to = new.each_ref().map(|all| unsafe { all.slice(range.clone()) });
        let old = old.map(|old| old.map(|all| &all[range.clone()]));
        cpu.isa.dispatch(Step { factors, gradient: &gradient[range], old, to });
    });
}

struct Step<'a> {
    factors: Factors,
    gradient: &'a [f32],
    old: Option<[&'a [f32]; 3]>,
    to: [&'a mut [f32]; 3],
}

impl Kernel for Step<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self) {
        let f = self.factors;
        let (count, grad) = (self.gradient.len(), self.gradient.as_ptr());
        let to = self.to.map(<[f32]>::as_mut_ptr);
        let [weight, m, v] = self.old.map_or(to.map(<*mut f32>::cast_const), |old| old.map(<[f32]>::as_ptr));
        let [to_weight, to_m, to_v] = to;
        for at in (0..count).step_by(S::LANES) {
            let n = S::LANES.min(count - at);
            // SAFETY: `at + n <= count`, the length of all, and each place is read before it is written.
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
