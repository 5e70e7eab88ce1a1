use crate::backend::cpu::simd::{Kernel, Simd, math};
use crate::backend::cpu::{Cpu, Parts};
use crate::error::{Error, Result};
use crate::tensor::Tensor;

/// Elements whose exponentials are summed in f32 before they join the sum in f64.
const RUN: usize = 1024;

pub(super) fn cross_entropy(cpu: &Cpu, all: &[&Tensor], out: &mut Tensor) -> Result<()> {
    let n = all[0].shape()[1];
    let (logits, targets) = (all[0].data::<f32>()?, all[1].data::<u32>()?);
    if let Some(row) = targets.iter().position(|&t| t as usize >= n) {
        return Err(Error::invalid(format!("target {} of row {row} is not among {n} classes", targets[row])));
    }
    let parts = Parts::new(out.data_mut::<f32>()?);
    cpu.pool.blocks(targets.len(), |_, row| {
        let logits = &logits[row * n..(row + 1) * n];
        let (largest, sum) = cpu.isa.dispatch(Sum { logits });
        // SAFETY: one part a row.
        let out = unsafe { parts.slice(row..row + 1) };
        let distance = f64::from(largest) - f64::from(logits[targets[row] as usize]);
        out[0] = (sum.ln() + distance) as f32;
    });
    Ok(())
}

/// The largest logit, and the sum of e^(logit - largest).
pub(super) struct Sum<'a> {
    pub logits: &'a [f32],
}

impl Kernel for Sum<'_> {
    type Output = (f32, f64);
    #[inline(always)]
    fn run<S: Simd>(self) -> (f32, f64) {
        let (p, count) = (self.logits.as_ptr(), self.logits.len());
        let whole = count / S::LANES * S::LANES;
        let tail = &self.logits[whole..];
        // SAFETY: `first + LANES <= whole <= count`.
        unsafe {
            let mut largest = S::splat(f32::NEG_INFINITY);
            for first in (0..whole).step_by(S::LANES) {
                largest = S::max(largest, S::load(p.add(first)));
            }
            let largest = tail.iter().fold(S::max_lane(largest), |a, &b| a.max(b));
            let mut total = 0.0;
            for run in (0..whole).step_by(RUN) {
                let mut sum = S::splat(0.0);
                for first in (run..whole.min(run + RUN)).step_by(S::LANES) {
                    sum = S::add(sum, math::exp::<S>(S::sub(S::load(p.add(first)), S::splat(largest))));
                }
                total += f64::from(S::sum(sum));
            }
            total += tail.iter().map(|&v| f64::from(v - largest).exp()).sum::<f64>();
            (largest, total)
        }
    }
}
