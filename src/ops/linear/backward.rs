//! The layer's rule: with z = x W^T + bias and dz = dy * activation'(z), dx = dz W, dW = dz^T x, and the bias's
//! gradient is the sum of the rows of dz.

use super::{Activation, Linear};
use crate::backend::Device;
use crate::backend::cpu::simd::{Kernel, Simd, math};
use crate::backend::cpu::{Cpu, Values, Written};
use crate::error::{Error, Result};
use crate::exec::{Backward, Cost, Cx, Eager, Gradients, Op};
use crate::ops::check::{expect, expect_type, inputs};
use crate::ops::fill::converted;
use crate::ops::{matmul::MatMul, sum_rows::SumRows};
use crate::tensor::{DType, Desc, Tensor};
use std::ops::Range;

pub(super) fn linear(op: &Linear, e: &Eager<'_>, pass: &Backward<'_, 1>) -> Result<Gradients> {
    let dy = pass.grads[0].as_ref().ok_or_else(|| Error::internal("no gradient"))?;
    let (x, weight) = (pass.inputs[0], pass.inputs[1]);
    let (n, k) = (weight.shape()[0], weight.shape()[1]);
    let rows = dy.shape().count().checked_div(n).unwrap_or(0);
    let dz = if op.activation == Activation::None {
        dy.clone()
    } else {
        let count = 2 + usize::from(op.bias);
        let [z] =
            e.run(&Linear { activation: Activation::None, residual: false, ..*op }, &pass.inputs[..count])?;
        let [dz] = e.run(&ActivationBackward(op.activation), &[&z, dy])?;
        dz
    };
    let flat = dz.reshape([rows, n])?;
    let operands = op.panels.map_or(DType::F32, |pack| pack.operands);
    let mut found = Gradients::default();
    if pass.wanted[0] {
        let [dx] = e.run(
            &MatMul { transpose_a: false, operands, narrow: x.dtype() == DType::BF16 },
            &[&flat, weight],
        )?;
        found[0] = Some(dx.reshape(*x.shape())?);
    }
    if pass.wanted[1] {
        let [dw] =
            e.run(&MatMul { transpose_a: true, operands, narrow: false }, &[&flat, &x.reshape([rows, k])?])?;
        found[1] = Some(dw);
    }
    if op.bias && pass.wanted[2] {
        let [sum] = e.run(&SumRows { keep: 1 }, &[&flat])?;
        found[2] = Some(sum);
    }
    if op.residual {
        let residual = pass.inputs[2 + usize::from(op.bias)];
        found[2 + usize::from(op.bias)] = Some(converted(e.cx(), dy, residual.dtype())?);
    }
    Ok(found)
}

/// Inputs: z, the activation's argument, and the gradient of its value, both f32 or both bf16. Output: the gradient
/// of z.
#[derive(Clone, Copy, Debug)]
struct ActivationBackward(Activation);

impl Op for ActivationBackward {
    const NAME: &'static str = "linear";

    fn outputs(&self, all: &[Desc]) -> Result<[Desc; 1]> {
        let [z, dy] = inputs::<2>(all)?;
        expect_type("z", &z, &[DType::F32, DType::BF16])?;
        expect("gradient", &dy, &z.shape, z.dtype)?;
        Ok([z])
    }

    fn cost(&self, all: &[Desc]) -> Cost {
        let count = all[0].shape.count() as f64;
        Cost { flops: 20.0 * count, bytes: 12.0 * count }
    }

    fn forward(&self, cx: Cx<'_>, all: &[&Tensor], outputs: &mut [Tensor; 1]) -> Result<()> {
        match cx.device {
            #[cfg(feature = "cuda")]
            Device::Cuda(cuda) => super::cuda::slope(self.0, cuda, all, &mut outputs[0]),
            Device::Cpu(cpu) => self.run(cpu, all, &mut outputs[0]),
        }
    }
}

impl ActivationBackward {
    fn run(self, cpu: &Cpu, all: &[&Tensor], out: &mut Tensor) -> Result<()> {
        const BLOCK: usize = 8192;
        let (z, dy, dz) = (Values::of(all[0])?, Values::of(all[1])?, Written::of(out)?);
        cpu.pool.blocks(z.len().div_ceil(BLOCK), |_, block| {
            let range = block * BLOCK..z.len().min((block + 1) * BLOCK);
            cpu.isa.dispatch(Slope { activation: self.0, z, dy, dz: &dz, range });
        });
        Ok(())
    }
}

struct Slope<'a> {
    activation: Activation,
    z: Values<'a>,
    dy: Values<'a>,
    dz: &'a Written<'a>,
    range: Range<usize>,
}

impl Kernel for Slope<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self) {
        for at in self.range.clone().step_by(S::LANES) {
            let n = S::LANES.min(self.range.end - at);
            // SAFETY: `at + n` is at most the range's end, which all three have, and a range is one part's.
            unsafe {
                let slope = slope::<S>(self.activation, self.z.load_n::<S>(at, n));
                let dz = S::mul(self.dy.load_n::<S>(at, n), slope);
                self.dz.store_far::<S>(at, dz, n, false);
            }
        }
    }
}

#[inline(always)]
unsafe fn slope<S: Simd>(activation: Activation, z: S::V) -> S::V {
    // SAFETY: the caller's.
    unsafe {
        let (zero, one) = (S::splat(0.0), S::splat(1.0));
        // (z s(a z))' = s (1 + a z (1 - s)) with s the logistic function.
        let logistic = |a: f32| {
            let az = S::mul(S::splat(a), z);
            let s = math::sigmoid::<S>(az);
            S::mul(s, S::fma(az, S::sub(one, s), one))
        };
        match activation {
            Activation::None => one,
            Activation::Relu => S::select_gt(z, zero, one, zero),
            Activation::Silu => logistic(1.0),
            Activation::QuickGelu => logistic(1.702),
            Activation::Gelu => {
                // Phi(z) + z phi(z). Where |z| is tiny, gelu(z) / z loses nothing: Phi is taken from 1/2 there.
                let density =
                    S::mul(S::splat(0.398_942_3), math::exp::<S>(S::mul(S::splat(-0.5), S::mul(z, z))));
                let tiny = S::splat(1e-12);
                let safe = S::select_gt(S::abs(z), tiny, z, one);
                let ratio = S::div(math::gelu::<S>(safe), safe);
                let phi = S::select_gt(S::abs(z), tiny, ratio, S::splat(0.5));
                S::fma(z, density, phi)
            }
        }
    }
}
