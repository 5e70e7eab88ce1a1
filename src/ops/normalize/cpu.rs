use crate::backend::cpu::{Cpu, Parts};
use crate::error::Result;
use crate::tensor::Tensor;

/// Elements a block, about.
const BLOCK: usize = 8192;

/// Hands out whole rows, some a block: the input's part and the output's.
fn rows(cpu: &Cpu, d: usize, out: &mut [f32], row: impl Fn(usize, &mut [f32]) + Sync) {
    let count = out.len().checked_div(d).unwrap_or(0);
    let step = (BLOCK / d.max(1)).max(1);
    let parts = Parts::new(out);
    cpu.pool.blocks(count.div_ceil(step), |_, block| {
        for i in block * step..count.min((block + 1) * step) {
            // SAFETY: one part a row.
            row(i, unsafe { parts.slice(i * d..(i + 1) * d) });
        }
    });
}

fn length(x: &[f32]) -> f64 {
    x.iter().map(|&v| f64::from(v) * f64::from(v)).sum::<f64>().sqrt()
}

/// The larger; NaN stays.
fn held(norm: f64, eps: f32) -> f64 {
    if norm <= f64::from(eps) { f64::from(eps) } else { norm }
}

pub(super) fn normalize(eps: f32, cpu: &Cpu, x: &Tensor, out: &mut Tensor) -> Result<()> {
    let d = x.shape().last().copied().unwrap_or(0);
    let x = x.data::<f32>()?;
    rows(cpu, d, out.data_mut::<f32>()?, |i, out| {
        let x = &x[i * d..(i + 1) * d];
        let inverse = 1.0 / held(length(x), eps);
        out.iter_mut().zip(x).for_each(|(o, &v)| *o = (f64::from(v) * inverse) as f32);
    });
    Ok(())
}

pub(super) fn backward(eps: f32, cpu: &Cpu, all: &[&Tensor], out: &mut Tensor) -> Result<()> {
    let d = all[0].shape().last().copied().unwrap_or(0);
    let (x, grad) = (all[0].data::<f32>()?, all[1].data::<f32>()?);
    rows(cpu, d, out.data_mut::<f32>()?, |i, out| {
        let (x, grad) = (&x[i * d..(i + 1) * d], &grad[i * d..(i + 1) * d]);
        let norm = length(x);
        let inverse = 1.0 / held(norm, eps);
        // A row that is held at eps has a constant divisor.
        let along = if norm > f64::from(eps) {
            let dot: f64 = x.iter().zip(grad).map(|(&x, &g)| f64::from(x) * f64::from(g)).sum();
            dot * inverse * inverse
        } else {
            0.0
        };
        for (o, (&x, &g)) in out.iter_mut().zip(x.iter().zip(grad)) {
            *o = ((f64::from(g) - f64::from(x) * along) * inverse) as f32;
        }
    });
    Ok(())
}
