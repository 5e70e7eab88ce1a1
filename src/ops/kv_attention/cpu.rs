use super::super::rotary::turn;
use super::KvAttention;
use crate::backend::cpu::simd::{Kernel, Lanes, Simd, math};
use crate::backend::cpu::{Cpu, Parts};
use crate::error::{Error, Result};
use crate::exec::Cx;
use crate::tensor::{DType, Desc, Tensor};
use half::bf16;
use std::ops::Range;

pub(super) fn kv_attention(
    op: &KvAttention<'_>,
    cx: Cx<'_>,
    cpu: &Cpu,
    all: &[&Tensor],
    out: &mut Tensor,
) -> Result<()> {
    match op.cache.dtype() {
        DType::BF16 => attend::<bf16>(op, cx, cpu, all, out),
        _ => attend::<f32>(op, cx, cpu, all, out),
    }
}

fn attend<T: Lanes>(
    op: &KvAttention<'_>,
    cx: Cx<'_>,
    cpu: &Cpu,
    all: &[&Tensor],
    out: &mut Tensor,
) -> Result<()> {
    let busy = |_| Error::internal("the cache is in use");
    let (mut keys, mut values) =
        (op.cache.keys.try_borrow_mut().map_err(busy)?, op.cache.values.try_borrow_mut().map_err(busy)?);
    let [_, rows, heads, capacity, head_dim] = op.cache.extents();
    let (qkv, table) = (all[0], all.get(1).map(|table| table.data::<f32>()).transpose()?);
    let t = qkv.shape()[1];
    // Beside the scores, a query and a key that were turned.
    let each = op.position + t + 2 * head_dim;
    let mut scores = cx.workspace.tensor(Desc::plain([cpu.pool.threads(), each], DType::F32))?;
    let scores = Parts::new(scores.data_mut::<f32>()?);
    let (keys, values) = (Parts::new(keys.data_mut::<T>()?), Parts::new(values.data_mut::<T>()?));
    let (qkv, out) = (qkv.data::<f32>()?, Parts::new(out.data_mut::<f32>()?));
    let (position, seen) = (op.position, op.position + t);
    let (first, all) = (op.layer * rows * heads, rows * heads);
    // Each lane on heads that follow each other: each brings near what the next one reads.
    cpu.pool.runs(all.div_ceil(HEADS), |lane, block, fresh| {
        // Queries, keys and values come from any thread: ask for them early.
        let next = if fresh { block } else { block + 1 } * HEADS;
        cpu.isa.dispatch(Fetch { qkv, heads, head_dim, t, coming: next..all.min((block + 2) * HEADS) });
        for index in block * HEADS..all.min((block + 1) * HEADS) {
            let (row, head) = (index / heads, index % heads);
            let start = (first + index) * capacity * head_dim;
            let range = start..start + seen * head_dim;
            // SAFETY: one part of the cache a head, one part of the scores a lane.
            let (keys, values, scores) = unsafe {
                (keys.slice(range.clone()), values.slice(range), scores.slice(lane * each..(lane + 1) * each))
            };
            let (scores, turned) = scores.split_at_mut(seen);
            cpu.isa.dispatch(Head {
                angles: table.map(|table| &table[position * head_dim..]),
                turned,
                qkv: &qkv[row * t * 3 * heads * head_dim..][..t * 3 * heads * head_dim],
                head,
                heads,
                head_dim,
                position,
                next: keys.as_ptr().wrapping_add(capacity * head_dim),
                keys,
                values,
                scores,
                out: &out,
                first: row * t * heads * head_dim,
            });
        }
    });
    Ok(())
}

/// Brings the new positions of some heads near.
struct Fetch<'a> {
    qkv: &'a [f32],
    heads: usize,
    head_dim: usize,
    t: usize,
    /// Heads of all rows, numbered through.
    coming: Range<usize>,
}

impl Kernel for Fetch<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self) {
        // Of many positions, the first are in time for the rest.
        for (index, i) in self.coming.flat_map(|index| (0..self.t.min(2)).map(move |i| (index, i))) {
            let (row, head) = (index / self.heads, index % self.heads);
            for which in 0..3 {
                let at = (((row * self.t + i) * 3 + which) * self.heads + head) * self.head_dim;
                // SAFETY: a prefetch of any address is harmless.
                unsafe { fetch::<S, f32>(self.qkv.as_ptr(), at, self.head_dim) };
            }
        }
    }
}

/// Heads a block.
const HEADS: usize = 4;

/// The new positions of one head of one row.
struct Head<'a, T> {
    /// Rotary angles of the new positions, if there are any: (t, head_dim).
    angles: Option<&'a [f32]>,
    /// Room for a turned query and key.
    turned: &'a mut [f32],
    /// (t, 3, heads, head_dim)
    qkv: &'a [f32],
    head: usize,
    heads: usize,
    head_dim: usize,
    position: usize,
    /// Where the next head's keys are, to bring near.
    next: *const T,
    /// (position + t, head_dim)
    keys: &'a mut [T],
    values: &'a mut [T],
    /// One for each position.
    scores: &'a mut [f32],
    /// (t, heads, head_dim) of this row begin at `first`.
    out: &'a Parts<'a, f32>,
    first: usize,
}

impl<T: Lanes> Kernel for Head<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self) {
        let (head_dim, d) = (self.head_dim, self.heads * self.head_dim);
        let (query, key) = self.turned.split_at_mut(head_dim);
        let angles = |i: usize| self.angles.map(|angles| &angles[i * head_dim..][..head_dim]);
        for (i, packed) in self.qkv.chunks_exact((3 * d).max(1)).enumerate() {
            let at = (self.position + i) * head_dim;
            let of = |which: usize| &packed[which * d + self.head * head_dim..][..head_dim];
            let new = match angles(i) {
                Some(angles) => {
                    turn(of(1), angles, key);
                    &*key
                }
                None => of(1),
            };
            convert::<S, T>(new, &mut self.keys[at..at + head_dim]);
            convert::<S, T>(of(2), &mut self.values[at..at + head_dim]);
        }
        for (i, packed) in self.qkv.chunks_exact((3 * d).max(1)).enumerate() {
            let mut q = &packed[self.head * head_dim..][..head_dim];
            if let Some(angles) = angles(i) {
                turn(q, angles, query);
                q = query;
            }
            let seen = self.position + i + 1;
            let (keys, values) = (&self.keys[..seen * head_dim], &self.values[..seen * head_dim]);
            let scores = &mut self.scores[..seen];
            let first = self.first + i * d + self.head * head_dim;
            // SAFETY: one part a row, position and head.
            let out = unsafe { self.out.slice(first..first + head_dim) };
            // SAFETY: the slices have the lengths that these ask for.
            unsafe {
                products::<S, T>(q, keys, values.as_ptr(), scores);
                let sum = softmax::<S>(scores);
                mix::<S, T>(scores, values, self.next, 1.0 / sum, out);
            }
        }
    }
}

#[inline(always)]
fn convert<S: Simd, T: Lanes>(from: &[f32], to: &mut [T]) {
    for first in (0..to.len()).step_by(S::LANES) {
        let n = S::LANES.min(to.len() - first);
        // SAFETY: `first + n` is at most the length of both.
        unsafe { T::store_n::<S>(to.as_mut_ptr().add(first), S::load_n(from.as_ptr().add(first), n), n) }
    }
}

/// Brings `count` elements near that lie `offset` behind `p`. A cache is read once a step, and not in one
/// run: the processor does not foresee it.
#[inline(always)]
unsafe fn fetch<S: Simd, T>(p: *const T, offset: usize, count: usize) {
    let p = p.wrapping_add(offset).cast::<u8>();
    let mut byte = 0;
    while byte < count * size_of::<T>() {
        // SAFETY: a prefetch of any address is harmless.
        unsafe { S::prefetch_second(p.wrapping_add(byte)) };
        byte += 64;
    }
}

/// scores[i] = q . keys[i] * head_dim^-0.5, four keys at a time; brings as much of `next` near.
#[inline(always)]
unsafe fn products<S: Simd, T: Lanes>(q: &[f32], keys: &[T], next: *const T, scores: &mut [f32]) {
    let dim = q.len();
    let scale = 1.0 / (dim as f32).sqrt();
    for (i, scores) in scores.chunks_mut(4).enumerate() {
        // SAFETY: `scores.len()` keys from 4 * i lie inside; a key read twice at the end is thrown away.
        unsafe {
            fetch::<S, T>(next, 4 * i * dim, 4 * dim);
            let last = scores.len() - 1;
            let key = |j: usize| keys.as_ptr().add((4 * i + j.min(last)) * dim);
            let rows = [key(0), key(1), key(2), key(3)];
            let mut sums = [S::splat(0.0); 4];
            let whole = dim / S::LANES * S::LANES;
            for first in (0..whole).step_by(S::LANES) {
                let q = S::load(q.as_ptr().add(first));
                for (sum, row) in sums.iter_mut().zip(rows) {
                    *sum = S::fma(q, T::load::<S>(row.add(first)), *sum);
                }
            }
            if whole < dim {
                let n = dim - whole;
                let q = S::load_n(q.as_ptr().add(whole), n);
                for (sum, row) in sums.iter_mut().zip(rows) {
                    *sum = S::fma(q, T::load_n::<S>(row.add(whole), n), *sum);
                }
            }
            for (score, sum) in scores.iter_mut().zip(S::sum4(sums)) {
                *score = sum * scale;
            }
        }
    }
}

/// Turns scores into e^(score - largest) and returns their sum.
#[inline(always)]
unsafe fn softmax<S: Simd>(scores: &mut [f32]) -> f32 {
    let (p, count) = (scores.as_mut_ptr(), scores.len());
    // SAFETY: `first + n <= count`.
    unsafe {
        let whole = count / S::LANES * S::LANES;
        let mut largest = S::splat(f32::NEG_INFINITY);
        for first in (0..whole).step_by(S::LANES) {
            largest = S::max(largest, S::load(p.add(first)));
        }
        let largest = scores[whole..].iter().fold(S::max_lane(largest), |a, &b| a.max(b));
        let mut sum = S::splat(0.0);
        for first in (0..count).step_by(S::LANES) {
            let n = S::LANES.min(count - first);
            let v = math::exp::<S>(S::sub(S::load_n(p.add(first), n), S::splat(largest)));
            S::store_n(p.add(first), v, n);
            // Lanes past the end are zero after this load.
            sum = S::add(sum, if n == S::LANES { v } else { S::load_n(p.add(first), n) });
        }
        S::sum(sum)
    }
}

/// out = scale * sum of weights[i] * values[i]; brings as much of `next` near.
#[inline(always)]
unsafe fn mix<S: Simd, T: Lanes>(weights: &[f32], values: &[T], next: *const T, scale: f32, out: &mut [f32]) {
    /// Vectors of a head that are summed at once.
    const WIDE: usize = 4;
    let dim = out.len();
    for first in (0..dim).step_by(WIDE * S::LANES) {
        let width = (WIDE * S::LANES).min(dim - first);
        // SAFETY: `first + width <= dim`, the length of a row of values and of `out`.
        unsafe {
            let mut sums = [S::splat(0.0); WIDE];
            let column = values.as_ptr().add(first);
            if width == WIDE * S::LANES {
                for (i, &weight) in weights.iter().enumerate() {
                    fetch::<S, T>(next, i * dim + first, width);
                    let (row, weight) = (column.add(i * dim), S::splat(weight));
                    for (j, sum) in sums.iter_mut().enumerate() {
                        *sum = S::fma(weight, T::load::<S>(row.add(j * S::LANES)), *sum);
                    }
                }
            } else {
                for (j, sum) in sums.iter_mut().enumerate().take(width.div_ceil(S::LANES)) {
                    let n = S::LANES.min(width - j * S::LANES);
                    for (i, &weight) in weights.iter().enumerate() {
                        let value = T::load_n::<S>(column.add(i * dim + j * S::LANES), n);
                        *sum = S::fma(S::splat(weight), value, *sum);
                    }
                }
            }
            for (j, sum) in sums.into_iter().enumerate().take(width.div_ceil(S::LANES)) {
                let n = S::LANES.min(width - j * S::LANES);
                S::store_n(out.as_mut_ptr().add(first + j * S::LANES), S::mul(sum, S::splat(scale)), n);
            }
        }
    }
}
