//! The gate of a SwiGLU layer (Shazeer, 2020) by itself, SiLU(a) * b, where training keeps both factors: the layer of
//! [`super::linear::SwiGlu`] would have to compute them again for its rule, a fifth of a block's arithmetic.

#[cfg(feature = "cuda")]
mod cuda;
#[cfg(feature = "cuda")]
pub(in crate::ops) use cuda::forward;

use super::check::{expect, expect_type, inputs};
use super::elementwise::{Binary, map};
use crate::backend::Device;
use crate::backend::cpu::simd::{Kernel, Simd, math};
use crate::backend::cpu::{Cpu, Parts};
use crate::error::{Error, Result};
use crate::exec::{Backward, Cost, Cx, Eager, Gradients, Op};
use crate::tensor::{DType, Desc, Tensor};

/// SiLU(a) * b.
///
/// Inputs: a and b f32 of one shape, or on a GPU bf16. Output: as a.
#[derive(Clone, Copy, Debug)]
pub struct Gate;

impl Binary for Gate {
    #[inline(always)]
    unsafe fn apply<S: Simd>(self, a: S::V, b: S::V) -> S::V {
        // SAFETY: the caller's.
        unsafe { S::mul(math::silu::<S>(a), b) }
    }
}

impl Op for Gate {
    const NAME: &'static str = "gate";

    fn outputs(&self, all: &[Desc]) -> Result<[Desc; 1]> {
        let [a, b] = inputs::<2>(all)?;
        expect_type("a", &a, &[DType::F32, DType::BF16])?;
        expect("b", &b, &a.shape, a.dtype)?;
        Ok([a])
    }

    fn cost(&self, all: &[Desc]) -> Cost {
        let count = all[0].shape.count() as f64;
        Cost { flops: 18.0 * count, bytes: 12.0 * count }
    }

    fn forward(&self, cx: Cx<'_>, all: &[&Tensor], outputs: &mut [Tensor; 1]) -> Result<()> {
        match cx.device {
            #[cfg(feature = "cuda")]
            Device::Cuda(cuda) => cuda::forward(cuda, all, &mut outputs[0]),
            Device::Cpu(_) if all[0].dtype() != DType::F32 => Err(cx.unsupported(Self::NAME, all[0].desc())),
            Device::Cpu(cpu) => {
                let (a, b) = (all[0].data::<f32>()?, all[1].data::<f32>()?);
                map(cpu, *self, a, b, outputs[0].data_mut::<f32>()?);
                Ok(())
            }
        }
    }

    /// With s = sigmoid(a): da = dy b s (1 + a (1 - s)), db = dy a s.
    fn backward(&self, e: &Eager<'_>, pass: &Backward<'_, 1>) -> Result<Gradients> {
        let grad = pass.grads[0].as_ref().ok_or_else(|| Error::internal("no gradient"))?;
        let [da, db] = e.run(&GateBackward, &[pass.inputs[0], pass.inputs[1], grad])?;
        let mut found = Gradients::default();
        found[0] = Some(da);
        found[1] = Some(db);
        Ok(found)
    }
}

/// Inputs: a, b and the output's gradient. Outputs: the gradients of a and b.
#[derive(Clone, Copy, Debug)]
struct GateBackward;

impl Op<2> for GateBackward {
    const NAME: &'static str = "gate";

    fn outputs(&self, all: &[Desc]) -> Result<[Desc; 2]> {
        let [a, b, grad] = inputs::<3>(all)?;
        expect("gradient", &grad, &a.shape, a.dtype)?;
        Ok([a, b])
    }

    fn cost(&self, all: &[Desc]) -> Cost {
        let count = all[0].shape.count() as f64;
        Cost { flops: 22.0 * count, bytes: 20.0 * count }
    }

    fn forward(&self, cx: Cx<'_>, all: &[&Tensor], outputs: &mut [Tensor; 2]) -> Result<()> {
        match cx.device {
            #[cfg(feature = "cuda")]
            Device::Cuda(cuda) => cuda::backward(cuda, all, outputs),
            Device::Cpu(cpu) => slopes(cpu, all, outputs),
        }
    }
}

/// Elements a block.
const BLOCK: usize = 4096;

fn slopes(cpu: &Cpu, all: &[&Tensor], outputs: &mut [Tensor; 2]) -> Result<()> {
    let from = [all[0].data::<f32>()?, all[1].data::<f32>()?, all[2].data::<f32>()?];
    let [da, db] = outputs;
    let (da, db) = (Parts::new(da.data_mut::<f32>()?), Parts::new(db.data_mut::<f32>()?));
    let count = from[0].len();
    cpu.pool.blocks(count.div_ceil(BLOCK), |_, block| {
        let range = block * BLOCK..count.min((block + 1) * BLOCK);
        // SAFETY: one part a block, of both.
        let to = unsafe { [da.slice(range.clone()), db.slice(range.clone())] };
        cpu.isa.dispatch(Slopes { from: from.map(|x| &x[range.clone()]), to });
    });
    Ok(())
}

struct Slopes<'a> {
    from: [&'a [f32]; 3],
    to: [&'a mut [f32]; 2],
}

impl Kernel for Slopes<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self) {
        let count = self.from[0].len();
        let [a, b, grad] = self.from.map(<[f32]>::as_ptr);
        let [da, db] = self.to.map(<[f32]>::as_mut_ptr);
        for first in (0..count).step_by(S::LANES) {
            let n = S::LANES.min(count - first);
            // SAFETY: `first + n <= count`, the length of all five.
            unsafe {
                let load = |p: *const f32| S::load_up_to(p.add(first), n);
                let (a, b, grad, one) = (load(a), load(b), load(grad), S::splat(1.0));
                let s = math::sigmoid::<S>(a);
                let silu = S::mul(a, s);
                // s (1 + a (1 - s)) = s + silu - silu s.
                let slope = S::add(s, S::mul(silu, S::sub(one, s)));
                S::store_up_to(da.add(first), S::mul(S::mul(grad, b), slope), n);
                S::store_up_to(db.add(first), S::mul(grad, silu), n);
            }
        }
    }
}
