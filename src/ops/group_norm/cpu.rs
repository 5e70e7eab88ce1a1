use super::{Apply, ApplyBackward, Coefficients};
use crate::backend::cpu::simd::{Kernel, Lanes, Simd, math};
use crate::backend::cpu::{Cpu, Parts, far};
use crate::error::{Error, Result};
use crate::exec::Cx;
use crate::tensor::{DType, Desc, Tensor};
use half::bf16;

/// Positions a block: short enough for f32 sums, and the cut does not depend on the threads.
const BLOCK: usize = 256;
/// Rows of a part's sums: see [`Coefficients`].
const ROWS: usize = 4;

pub(super) fn coefficients(
    op: &Coefficients,
    cx: Cx<'_>,
    cpu: &Cpu,
    inputs: &[&Tensor],
    out: &mut Tensor,
) -> Result<()> {
    match inputs[0].dtype() {
        DType::F32 => coefficients_of::<f32>(op, cx, cpu, inputs, out),
        DType::BF16 => coefficients_of::<bf16>(op, cx, cpu, inputs, out),
        _ => Err(cx.unsupported("group_norm", inputs[0].desc())),
    }
}

fn coefficients_of<T: Lanes>(
    op: &Coefficients,
    cx: Cx<'_>,
    cpu: &Cpu,
    inputs: &[&Tensor],
    out: &mut Tensor,
) -> Result<()> {
    let [n, h, w, c] = dims(inputs[0])?;
    let positions = h * w;
    let blocks = positions.div_ceil(BLOCK);
    let x = inputs[0].data::<T>()?;
    let (weight, bias) = (inputs[1].data::<f32>()?, inputs[2].data::<f32>()?);

    let mut found;
    let sums = match inputs.get(3) {
        Some(gathered) => gathered.data::<f32>()?,
        None => {
            found = cx.workspace.tensor(Desc::plain([n, blocks, ROWS, c], DType::F32))?;
            let parts = Parts::new(found.data_mut::<f32>()?);
            cpu.pool.blocks(n * blocks, |_, index| {
                let (image, block) = (index / blocks, index % blocks);
                let of_image = &x[image * positions * c..][..positions * c];
                let rows = &of_image[block * BLOCK * c..positions.min((block + 1) * BLOCK) * c];
                // SAFETY: one part a block.
                let sums = unsafe { parts.slice(index * ROWS * c..(index + 1) * ROWS * c) };
                cpu.isa.dispatch(Sums { rows, c, sums });
            });
            found.data::<f32>()?
        }
    };

    let out = out.data_mut::<f32>()?;
    let width = c / op.groups;
    for image in 0..n {
        let of_image = &sums[image * sums.len() / n..(image + 1) * sums.len() / n];
        for group in 0..op.groups {
            let mut mean = 0.0;
            let mut square = 0.0;
            for channel in group * width..(group + 1) * width {
                for part in of_image.chunks_exact(ROWS * c) {
                    let [count, pivot, sum, sum2] =
                        [0, 1, 2, 3].map(|row| f64::from(part[row * c + channel]));
                    // Sums are of x - pivot; this gives the channel's mean and mean square about zero in f64.
                    mean += count * pivot + sum;
                    square += sum2 + pivot * (2.0 * sum + count * pivot);
                }
            }
            mean /= positions as f64;
            square /= positions as f64;
            mean /= width as f64;
            let variance = (square / width as f64 - mean * mean).max(0.0);
            let inverse = 1.0 / (variance + f64::from(op.eps)).sqrt();
            for channel in group * width..(group + 1) * width {
                let scale = f64::from(weight[channel]) * inverse;
                out[image * 2 * c + channel] = scale as f32;
                out[image * 2 * c + c + channel] = (f64::from(bias[channel]) - mean * scale) as f32;
            }
        }
    }
    Ok(())
}

/// Per channel, the number of rows, a pivot, the sum and the sum of squares of x - pivot. The pivot, a value of the
/// channel itself, keeps the variance of a channel far from zero exact.
struct Sums<'a, T> {
    rows: &'a [T],
    c: usize,
    sums: &'a mut [f32],
}

impl<T: Lanes> Kernel for Sums<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self) {
        let c = self.c;
        for first in (0..c).step_by(S::LANES) {
            let n = S::LANES.min(c - first);
            // SAFETY: `first + n <= c`, and each row of `rows` and `sums` has c elements.
            unsafe {
                let pivot = T::load_n::<S>(self.rows.as_ptr().add(first), n);
                let (mut a, mut b) = (S::splat(0.0), S::splat(0.0));
                for row in self.rows.chunks_exact(c) {
                    let p = row.as_ptr().add(first);
                    let x = if n == S::LANES { T::load::<S>(p) } else { T::load_n::<S>(p, n) };
                    let d = S::sub(x, pivot);
                    a = S::add(a, d);
                    b = S::fma(d, d, b);
                }
                let count = S::splat((self.rows.len() / c) as f32);
                for (row, value) in [count, pivot, a, b].into_iter().enumerate() {
                    S::store_n(self.sums.as_mut_ptr().add(row * c + first), value, n);
                }
            }
        }
    }
}

pub(super) fn apply(op: &Apply, cpu: &Cpu, inputs: &[&Tensor], out: &mut Tensor) -> Result<()> {
    match inputs[0].dtype() {
        DType::BF16 => apply_to::<bf16>(op, cpu, inputs, out),
        _ => apply_to::<f32>(op, cpu, inputs, out),
    }
}

fn apply_to<T: Lanes>(op: &Apply, cpu: &Cpu, inputs: &[&Tensor], out: &mut Tensor) -> Result<()> {
    let [n, h, w, c] = dims(inputs[0])?;
    let (x, coefficients) = (inputs[0].data::<T>()?, inputs[1].data::<f32>()?);
    if x.is_empty() {
        return Ok(());
    }
    let added = inputs.get(2).map(|t| t.data::<T>()).transpose()?;
    let blocks = (h * w).div_ceil(BLOCK);
    let parts = Parts::new(out.data_mut::<T>()?);
    cpu.pool.blocks(n * blocks, |_, index| {
        let (image, block) = (index / blocks, index % blocks);
        let at = |block: usize| (image * h * w + (block * BLOCK).min(h * w)) * c;
        let range = at(block)..at(block + 1);
        // SAFETY: one part a block.
        let y = unsafe { parts.slice(range.clone()) };
        let (scale, shift) = coefficients[image * 2 * c..][..2 * c].split_at(c);
        let added = added.map(|all| &all[range.clone()]);
        cpu.isa.dispatch(Affine { x: &x[range], added, y, scale, shift, silu: op.silu, far: far(x.len()) });
    });
    Ok(())
}

struct Affine<'a, T> {
    x: &'a [T],
    added: Option<&'a [T]>,
    y: &'a mut [T],
    scale: &'a [f32],
    shift: &'a [f32],
    silu: bool,
    far: bool,
}

impl<T: Lanes> Kernel for Affine<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self) {
        let c = self.scale.len();
        for (row, (x, y)) in self.x.chunks_exact(c).zip(self.y.chunks_exact_mut(c)).enumerate() {
            for first in (0..c).step_by(S::LANES) {
                let n = S::LANES.min(c - first);
                // SAFETY: `first + n <= c`, the length of all four slices; what is added is as long as x.
                unsafe {
                    let v = T::load_n::<S>(x.as_ptr().add(first), n);
                    let scale = S::load_up_to(self.scale.as_ptr().add(first), n);
                    let shift = S::load_up_to(self.shift.as_ptr().add(first), n);
                    let mut v = S::fma(v, scale, shift);
                    if self.silu {
                        v = math::silu::<S>(v);
                    }
                    if let Some(added) = self.added {
                        v = S::add(v, T::load_n::<S>(added.as_ptr().add(row * c + first), n));
                    }
                    T::store_far::<S>(y.as_mut_ptr().add(first), v, n, self.far);
                }
            }
        }
        if self.far {
            // SAFETY: this runs under the level's dispatch.
            unsafe { S::fence() };
        }
    }
}

pub(super) fn apply_backward(
    op: &ApplyBackward,
    cx: Cx<'_>,
    cpu: &Cpu,
    inputs: &[&Tensor],
    outputs: &mut [Tensor; 2],
) -> Result<()> {
    match inputs[0].dtype() {
        DType::BF16 => apply_backward_to::<bf16>(op, cx, cpu, inputs, outputs),
        _ => apply_backward_to::<f32>(op, cx, cpu, inputs, outputs),
    }
}

fn apply_backward_to<T: Lanes>(
    op: &ApplyBackward,
    cx: Cx<'_>,
    cpu: &Cpu,
    inputs: &[&Tensor],
    outputs: &mut [Tensor; 2],
) -> Result<()> {
    let [n, h, w, c] = dims(inputs[0])?;
    let (x, coefficients) = (inputs[0].data::<T>()?, inputs[1].data::<f32>()?);
    let grad = inputs[2].data::<T>()?;
    let added = inputs.get(3).map(|t| t.data::<T>()).transpose()?;
    let [dx, sums] = outputs;
    let blocks = (h * w).div_ceil(BLOCK);
    let mut partial = cx.workspace.tensor(Desc::plain([n, blocks, 2, c], DType::F32))?;
    let (parts, partials) = (Parts::new(dx.data_mut::<T>()?), Parts::new(partial.data_mut::<f32>()?));
    cpu.pool.blocks(n * blocks, |_, index| {
        let (image, block) = (index / blocks, index % blocks);
        let at = |block: usize| (image * h * w + (block * BLOCK).min(h * w)) * c;
        let range = at(block)..at(block + 1);
        // SAFETY: one part a block, of both.
        let (dx, sums) =
            unsafe { (parts.slice(range.clone()), partials.slice(index * 2 * c..(index + 1) * 2 * c)) };
        sums.fill(0.0);
        let (scale, shift) = coefficients[image * 2 * c..][..2 * c].split_at(c);
        let far = far(x.len());
        let added = added.map(|all| &all[range.clone()]);
        let (x, grad) = (&x[range.clone()], &grad[range]);
        cpu.isa.dispatch(AffineBackward { x, grad, added, scale, shift, silu: op.silu, dx, sums, far });
    });
    let partial = partial.data::<f32>()?;
    for (image, sums) in sums.data_mut::<f32>()?.chunks_exact_mut((2 * c).max(1)).enumerate() {
        for (i, sum) in sums.iter_mut().enumerate() {
            let of_block = |block: usize| f64::from(partial[(image * blocks + block) * 2 * c + i]);
            *sum = (0..blocks).map(of_block).sum::<f64>() as f32;
        }
    }
    Ok(())
}

struct AffineBackward<'a, T> {
    x: &'a [T],
    grad: &'a [T],
    added: Option<&'a [T]>,
    scale: &'a [f32],
    shift: &'a [f32],
    silu: bool,
    dx: &'a mut [T],
    sums: &'a mut [f32],
    far: bool,
}

impl<T: Lanes> Kernel for AffineBackward<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(mut self) {
        let c = self.scale.len();
        let mut first = 0;
        while first < c {
            // Whole lines of memory one after the other, as many as there are registers for.
            // SAFETY: as many channels are there.
            first += unsafe {
                match c - first {
                    left if left >= 4 * S::LANES => self.channels::<S, 4>(first, 4 * S::LANES),
                    left => self.channels::<S, 1>(first, left.min(S::LANES)),
                }
            };
        }
        if self.far {
            // SAFETY: this runs under the level's dispatch.
            unsafe { S::fence() };
        }
    }
}

impl<T: Lanes> AffineBackward<'_, T> {
    /// `count` channels from `first` on, N vectors; returns how many.
    #[inline(always)]
    unsafe fn channels<S: Simd, const N: usize>(&mut self, first: usize, count: usize) -> usize {
        let c = self.scale.len();
        let of = |i: usize| S::LANES.min(count - i * S::LANES);
        // SAFETY: `first + count <= c`, and each row of x, grad, what is added, and dx has c elements.
        unsafe {
            let zero = S::splat(0.0);
            let (mut scale, mut shift) = ([zero; N], [zero; N]);
            for i in 0..N {
                scale[i] = S::load_up_to(self.scale.as_ptr().add(first + i * S::LANES), of(i));
                shift[i] = S::load_up_to(self.shift.as_ptr().add(first + i * S::LANES), of(i));
            }
            let (mut sum_x, mut sum) = ([zero; N], [zero; N]);
            for row in (first..self.x.len()).step_by(c) {
                for i in 0..N {
                    let at = row + i * S::LANES;
                    let x = T::load_n::<S>(self.x.as_ptr().add(at), of(i));
                    let mut d = T::load_n::<S>(self.grad.as_ptr().add(at), of(i));
                    if self.silu {
                        // (v s(v))' = s (1 + v (1 - s)) with s the logistic function.
                        let v = S::fma(x, scale[i], shift[i]);
                        let s = math::sigmoid::<S>(v);
                        let slope = S::fma(v, S::sub(S::splat(1.0), s), S::splat(1.0));
                        d = S::mul(d, S::mul(s, slope));
                    }
                    let dx = match self.added {
                        Some(added) => S::fma(d, scale[i], T::load_n::<S>(added.as_ptr().add(at), of(i))),
                        None => S::mul(d, scale[i]),
                    };
                    T::store_far::<S>(self.dx.as_mut_ptr().add(at), dx, of(i), self.far);
                    sum_x[i] = S::fma(d, x, sum_x[i]);
                    sum[i] = S::add(sum[i], d);
                }
            }
            let (d_scale, d_shift) = self.sums.split_at_mut(c);
            for i in 0..N {
                S::store_up_to(d_scale.as_mut_ptr().add(first + i * S::LANES), sum_x[i], of(i));
                S::store_up_to(d_shift.as_mut_ptr().add(first + i * S::LANES), sum[i], of(i));
            }
        }
        count
    }
}

fn dims(x: &Tensor) -> Result<[usize; 4]> {
    x.shape().dims().ok_or_else(|| Error::internal("x lost its axes"))
}
