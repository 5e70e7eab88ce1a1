//! The rule, a head at a time, with P = softmax(S), S = scale q k^T (recomputed), D = dO v^T:
//! dv = P^T dO, dS = P * (D - rowsum(P * D)), dq = scale dS k, dk = scale dS^T q.

use super::Attention;
use crate::backend::Device;
use crate::backend::cpu::simd::{Kernel, Simd, math};
use crate::backend::cpu::{Cpu, Parts};
use crate::error::{Error, Result};
use crate::exec::{Backward, Cost, Cx, Eager, Gradients, Op};
use crate::ops::check::{dims, expect_type};
use crate::ops::matmul::Product;
use crate::tensor::{DType, Desc, Tensor};

pub(super) fn attention(op: &Attention, e: &Eager<'_>, pass: &Backward<'_, 1>) -> Result<Gradients> {
    let grad = pass.grads[0].as_ref().ok_or_else(|| Error::internal("no gradient"))?;
    let mut found = Gradients::default();
    match *pass.inputs {
        [qkv] => {
            let [d] = e.run(&PackedBackward(*op), &[qkv, grad])?;
            found[0] = Some(d);
        }
        [q, k, v] => {
            let [dq, dk, dv] = e.run(&SplitBackward(*op), &[q, k, v, grad])?;
            found[0] = Some(dq);
            found[1] = Some(dk);
            found[2] = Some(dv);
        }
        _ => return Err(Error::internal("neither one input nor three")),
    }
    Ok(found)
}

/// Inputs: qkv (b, t, 3 * d) and the output's gradient (b, t, d). Output: the gradient of qkv.
#[derive(Clone, Copy, Debug)]
struct PackedBackward(Attention);

/// Inputs: q, k, v and the output's gradient, each (b, t, d). Outputs: the gradients of q, k and v.
#[derive(Clone, Copy, Debug)]
struct SplitBackward(Attention);

impl Op for PackedBackward {
    const NAME: &'static str = "attention";

    fn outputs(&self, all: &[Desc]) -> Result<[Desc; 1]> {
        expect_type("gradient", &all[1], &[all[0].dtype])?;
        Ok([all[0]])
    }

    fn cost(&self, all: &[Desc]) -> Cost {
        cost(&all[1])
    }

    fn forward(&self, cx: Cx<'_>, all: &[&Tensor], outputs: &mut [Tensor; 1]) -> Result<()> {
        match cx.device {
            #[cfg(feature = "cuda")]
            Device::Cuda(cuda) => super::cuda::backward(&self.0, cx, cuda, (&all[..1], all[1]), outputs),
            Device::Cpu(cpu) => {
                let [b, t, d] = dims("gradient", all[1].desc())?;
                let qkv = all[0].data::<f32>()?.as_ptr();
                let out = Parts::new(outputs[0].data_mut::<f32>()?);
                let part = |i: usize| (qkv.wrapping_add(i * d), out.as_ptr().wrapping_add(i * d));
                let ((q, dq), (k, dk), (v, dv)) = (part(0), part(1), part(2));
                let grad = all[1].data::<f32>()?;
                heads(cx, cpu, self.0, [b, t, d], 3 * d, [q, k, v], grad, [dq, dk, dv])
            }
        }
    }
}

impl Op<3> for SplitBackward {
    const NAME: &'static str = "attention";

    fn outputs(&self, all: &[Desc]) -> Result<[Desc; 3]> {
        expect_type("gradient", &all[3], &[all[0].dtype])?;
        Ok([all[0], all[1], all[2]])
    }

    fn cost(&self, all: &[Desc]) -> Cost {
        cost(&all[3])
    }

    fn forward(&self, cx: Cx<'_>, all: &[&Tensor], outputs: &mut [Tensor; 3]) -> Result<()> {
        match cx.device {
            #[cfg(feature = "cuda")]
            Device::Cuda(cuda) => super::cuda::backward(&self.0, cx, cuda, (&all[..3], all[3]), outputs),
            Device::Cpu(cpu) => {
                let [b, t, d] = dims("gradient", all[3].desc())?;
                let read = |i: usize| all[i].data::<f32>().map(<[f32]>::as_ptr);
                let [dq, dk, dv] = outputs;
                let write = |t: &mut Tensor| t.data_mut::<f32>().map(<[f32]>::as_mut_ptr);
                let to = [write(dq)?, write(dk)?, write(dv)?];
                heads(
                    cx,
                    cpu,
                    self.0,
                    [b, t, d],
                    d,
                    [read(0)?, read(1)?, read(2)?],
                    all[3].data::<f32>()?,
                    to,
                )
            }
        }
    }
}

fn cost(grad: &Desc) -> Cost {
    let (count, t) = (grad.shape.count() as f64, grad.shape[1] as f64);
    Cost { flops: 10.0 * count * t, bytes: 28.0 * count }
}

/// Pointers that lanes share.
#[derive(Clone, Copy)]
struct Shared<T>(T);
// SAFETY: what is written through them is written in disjoint parts, a head each.
unsafe impl<T> Sync for Shared<T> {}

/// Rows of q, k, v and of their gradients are `row` elements apart.
#[allow(clippy::too_many_arguments)]
fn heads(
    cx: Cx<'_>,
    cpu: &Cpu,
    op: Attention,
    [b, t, d]: [usize; 3],
    row: usize,
    from: [*const f32; 3],
    grad: &[f32],
    to: [*mut f32; 3],
) -> Result<()> {
    let width = d / op.heads;
    // Two score matrices and two turned factors a lane.
    let size = 2 * t * t + 2 * width * t;
    let mut scratch = cx.workspace.tensor(Desc::plain([cpu.pool.threads(), size], DType::F32))?;
    let scratch = Parts::new(scratch.data_mut::<f32>()?);
    let pointers = Shared((from, to));
    cpu.pool.blocks(b * op.heads, |lane, index| {
        let pointers = &pointers;
        let (from, to) = pointers.0;
        let (image, head) = (index / op.heads, index % op.heads);
        let at = image * t * row + head * width;
        // SAFETY: one part a lane; a head's columns of one image lie within every tensor.
        unsafe {
            let scratch = scratch.slice(lane * size..(lane + 1) * size);
            let (p, rest) = scratch.split_at_mut(t * t);
            let (ds, turned) = rest.split_at_mut(t * t);
            let d_out = grad.as_ptr().add(image * t * d + head * width);
            let scale = 1.0 / (width as f32).sqrt();
            let [q, k, v] = from.map(|x| x.wrapping_add(at));
            let [dq, dk, dv] = to.map(|x| x.wrapping_add(at));
            let head = Head {
                t,
                width,
                row,
                d,
                scale,
                causal: op.causal,
                q,
                k,
                v,
                d_out,
                dq,
                dk,
                dv,
                p,
                ds,
                turned,
            };
            cpu.isa.dispatch(head);
        }
    });
    Ok(())
}

struct Head<'a> {
    t: usize,
    width: usize,
    row: usize,
    d: usize,
    scale: f32,
    causal: bool,
    q: *const f32,
    k: *const f32,
    v: *const f32,
    d_out: *const f32,
    dq: *mut f32,
    dk: *mut f32,
    dv: *mut f32,
    p: &'a mut [f32],
    ds: &'a mut [f32],
    turned: &'a mut [f32],
}

impl Kernel for Head<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self) {
        let Head { t, width, row, d, .. } = self;
        let (k_turned, v_turned) = self.turned.split_at_mut(width * t);
        for (from, to) in [(self.k, &mut *k_turned), (self.v, &mut *v_turned)] {
            for (i, j) in (0..t).flat_map(|i| (0..width).map(move |j| (i, j))) {
                // SAFETY: t rows of `width` elements.
                to[j * t + i] = unsafe { *from.add(i * row + j) };
            }
        }
        let scores = |a: *const f32, a_row: usize, turned: &[f32], c: &mut [f32]| Product {
            m: t,
            n: t,
            k: width,
            a,
            a_row,
            a_depth: 1,
            b: turned.as_ptr(),
            b_row: t,
            c: c.as_mut_ptr(),
            c_row: t,
            add: false,
        };
        scores(self.q, row, k_turned, self.p).run::<S>();
        scores(self.d_out, d, v_turned, self.ds).run::<S>();
        for (i, (p, ds)) in self.p.chunks_exact_mut(t).zip(self.ds.chunks_exact_mut(t)).enumerate() {
            let seen = if self.causal { i + 1 } else { t };
            p[seen..].fill(0.0);
            ds[seen..].fill(0.0);
            // SAFETY: `seen <= t`, the length of both rows.
            unsafe { softmax_backward::<S>(&mut p[..seen], &mut ds[..seen], self.scale) };
        }
        let back = |a: &[f32], turn: bool, b: *const f32, b_row: usize, c: *mut f32| Product {
            m: t,
            n: width,
            k: t,
            a: a.as_ptr(),
            a_row: if turn { 1 } else { t },
            a_depth: if turn { t } else { 1 },
            b,
            b_row,
            c,
            c_row: row,
            add: false,
        };
        back(self.p, true, self.d_out, d, self.dv).run::<S>();
        back(self.ds, false, self.k, row, self.dq).run::<S>();
        back(self.ds, true, self.q, row, self.dk).run::<S>();
    }
}

/// Turns a row of products q k^T into probabilities, and one of dO v^T into the gradient of the products.
#[inline(always)]
unsafe fn softmax_backward<S: Simd>(p: &mut [f32], ds: &mut [f32], scale: f32) {
    let count = p.len();
    let (p, ds) = (p.as_mut_ptr(), ds.as_mut_ptr());
    // SAFETY: `first + n <= count`, the length of both.
    unsafe {
        let mut most = S::splat(f32::NEG_INFINITY);
        let whole = count / S::LANES * S::LANES;
        for first in (0..whole).step_by(S::LANES) {
            most = S::max(most, S::load(p.add(first)));
        }
        let most = (whole..count).fold(S::max_lane(most), |m, i| m.max(*p.add(i)));
        let (factor, most) = (S::splat(scale), S::splat(most * scale));
        let (mut sum, mut dot) = (S::splat(0.0), S::splat(0.0));
        let mut tail = [0.0; 2];
        for first in (0..count).step_by(S::LANES) {
            let n = S::LANES.min(count - first);
            let x = math::exp::<S>(S::sub(S::mul(S::load_up_to(p.add(first), n), factor), most));
            S::store_up_to(p.add(first), x, n);
            if n == S::LANES {
                sum = S::add(sum, x);
                dot = S::fma(x, S::load(ds.add(first)), dot);
            } else {
                for i in first..count {
                    tail[0] += *p.add(i);
                    tail[1] += *p.add(i) * *ds.add(i);
                }
            }
        }
        let inverse = 1.0 / (S::sum(sum) + tail[0]);
        let mean = S::splat((S::sum(dot) + tail[1]) * inverse);
        let inverse = S::splat(inverse);
        for first in (0..count).step_by(S::LANES) {
            let n = S::LANES.min(count - first);
            let probability = S::mul(S::load_up_to(p.add(first), n), inverse);
            S::store_up_to(p.add(first), probability, n);
            let d = S::sub(S::load_up_to(ds.add(first), n), mean);
            S::store_up_to(ds.add(first), S::mul(S::mul(probability, d), factor), n);
        }
    }
}
