mod tile;

use super::Attention;
use crate::backend::cpu::simd::{Kernel, Simd, math};
use crate::backend::cpu::{Cpu, Parts};
use crate::error::{Error, Result};
use crate::exec::Cx;
use crate::tensor::{DType, Desc, Tensor};

/// Queries a block. They stand side by side in vectors, so that maxima and sums need no work across lanes;
/// a multiple of every level's vector. The cut does not depend on the threads.
const QUERIES: usize = 32;
/// Keys whose scores are kept at once.
const KEYS: usize = 64;
/// What the rows of a lane's scratch are rounded up to.
const LINE: usize = 16;

/// Rows of q, k or v: where the first head of the first token begins, and how far apart tokens are.
#[derive(Clone, Copy)]
struct Rows<'a> {
    data: &'a [f32],
    offset: usize,
    stride: usize,
}

impl<'a> Rows<'a> {
    /// The `head`-th `width` channels of token `first` and all after it.
    fn from(&self, first: usize, head: usize, width: usize) -> &'a [f32] {
        &self.data[self.offset + first * self.stride + head * width..]
    }
}

pub(super) fn attention(
    op: &Attention,
    cx: Cx<'_>,
    cpu: &Cpu,
    inputs: &[&Tensor],
    out: &mut Tensor,
) -> Result<()> {
    let [batch, tokens, d] = out.shape().dims().ok_or_else(|| Error::internal("out lost its axes"))?;
    let mut rows = [Rows { data: &[], offset: 0, stride: d }; 3];
    for (i, rows) in rows.iter_mut().enumerate() {
        *rows = match inputs {
            [qkv] => Rows { data: qkv.data::<f32>()?, offset: i * d, stride: 3 * d },
            _ => Rows { data: inputs[i].data::<f32>()?, offset: 0, stride: d },
        };
    }
    let width = d / op.heads;
    let scratch = Scratch::floats(width);
    let mut memory = cx.workspace.tensor(Desc::plain([cpu.pool.threads(), scratch], DType::F32))?;
    let memory = Parts::new(memory.data_mut::<f32>()?);
    let parts = Parts::new(out.data_mut::<f32>()?);
    let blocks = tokens.div_ceil(QUERIES);
    cpu.pool.blocks(batch * op.heads * blocks, |lane, index| {
        let (head, first) = (index / blocks % op.heads, index % blocks * QUERIES);
        let start = index / blocks / op.heads * tokens;
        // SAFETY: a lane is in one block at a time.
        let scratch = unsafe { memory.slice(lane * scratch..(lane + 1) * scratch) };
        cpu.isa.dispatch(Block {
            q: rows[0].from(start + first, head, width),
            k: rows[1].from(start, head, width),
            v: rows[2].from(start, head, width),
            stride: rows[0].stride,
            width,
            first,
            queries: QUERIES.min(tokens - first),
            keys: if op.causal { tokens.min(first + QUERIES) } else { tokens },
            causal: op.causal,
            scratch: Scratch::of(scratch, width),
            out: &parts,
            at: (start + first) * d + head * width,
            out_stride: d,
        });
    });
    Ok(())
}

/// What a lane keeps of its block.
struct Scratch<'a> {
    /// The queries, scaled: a channel a line of `QUERIES`.
    q: &'a mut [f32],
    /// Scores, then their exponentials: a key a line of `QUERIES`.
    scores: &'a mut [f32],
    /// The sum of values so far: a query a line.
    sum: &'a mut [f32],
    /// Per query the largest score so far, the sum of exponentials, and what the sums so far shrink by.
    state: &'a mut [f32],
}

impl<'a> Scratch<'a> {
    fn line(width: usize) -> usize {
        width.next_multiple_of(LINE)
    }

    fn floats(width: usize) -> usize {
        QUERIES * (width + KEYS + Self::line(width) + 3)
    }

    fn of(memory: &'a mut [f32], width: usize) -> Scratch<'a> {
        let (q, memory) = memory.split_at_mut(QUERIES * width);
        let (scores, memory) = memory.split_at_mut(QUERIES * KEYS);
        let (sum, state) = memory.split_at_mut(QUERIES * Self::line(width));
        Scratch { q, scores, sum, state }
    }
}

/// Up to `QUERIES` queries of one head against all keys that they may see.
struct Block<'a> {
    q: &'a [f32],
    k: &'a [f32],
    v: &'a [f32],
    stride: usize,
    width: usize,
    /// The first query's token.
    first: usize,
    queries: usize,
    keys: usize,
    causal: bool,
    scratch: Scratch<'a>,
    out: &'a Parts<'a, f32>,
    at: usize,
    out_stride: usize,
}

impl Kernel for Block<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(mut self) {
        const { assert!(QUERIES.is_multiple_of(2 * S::LANES) && LINE.is_multiple_of(S::LANES)) };
        // Columns past the last query are computed along with it as far as its vector goes.
        let columns = self.queries.next_multiple_of(S::LANES);
        self.pack(columns);
        let (largest, rest) = self.scratch.state.split_at_mut(QUERIES);
        largest.fill(f32::NEG_INFINITY);
        rest.fill(0.0);
        for key in (0..self.keys).step_by(KEYS) {
            let keys = KEYS.min(self.keys - key);
            let (k, v) = (&self.k[key * self.stride..], &self.v[key * self.stride..]);
            let scratch = &mut self.scratch;
            // SAFETY: the slices hold `keys` rows of `width` channels, and the scratch was cut for this width.
            unsafe {
                tile::scores::<S>(scratch.q, k, v, self.stride, self.width, keys, columns, scratch.scores);
                if self.causal && key + keys > self.first + 1 {
                    hide::<S>(scratch.scores, keys, columns, key as f32 - self.first as f32);
                }
                exponentials::<S>(scratch.scores, scratch.state, keys, columns);
                let shrink = (key > 0).then(|| &scratch.state[2 * QUERIES..]);
                tile::weigh::<S>(
                    scratch.scores,
                    v,
                    self.stride,
                    self.width,
                    keys,
                    shrink,
                    scratch.sum,
                    columns,
                );
            }
        }
        self.finish::<S>();
    }
}

impl Block<'_> {
    /// Turns the queries, so that a channel's lie side by side, and scales them: by head_dim^-1/2, and to
    /// exponents of two.
    fn pack(&mut self, columns: usize) {
        let scale = (std::f64::consts::LOG2_E / (self.width as f64).sqrt()) as f32;
        for query in 0..self.queries {
            let row = &self.q[query * self.stride..][..self.width];
            for (line, x) in self.scratch.q.chunks_exact_mut(QUERIES).zip(row) {
                line[query] = x * scale;
            }
        }
        for line in self.scratch.q.chunks_exact_mut(QUERIES) {
            line[self.queries..columns].fill(0.0);
        }
    }

    #[inline(always)]
    fn finish<S: Simd>(self) {
        let line = Scratch::line(self.width);
        for query in 0..self.queries {
            let at = self.at + query * self.out_stride;
            // SAFETY: a query's channels of one head are one block's.
            let out = unsafe { self.out.slice(at..at + self.width) };
            let sum = &self.scratch.sum[query * line..][..line];
            let inverse = 1.0 / self.scratch.state[QUERIES + query];
            for first in (0..self.width).step_by(S::LANES) {
                // SAFETY: a line of the sum is whole vectors, and `store_n` stays inside `out`.
                unsafe {
                    let v = S::mul(S::load(sum.as_ptr().add(first)), S::splat(inverse));
                    S::store_up_to(out.as_mut_ptr().add(first), v, S::LANES.min(self.width - first));
                }
            }
        }
    }
}

/// Makes minus infinity of the scores of keys that come after their query; `ahead` is how far the first key is
/// ahead of the first query.
#[inline(always)]
unsafe fn hide<S: Simd>(scores: &mut [f32], keys: usize, columns: usize, ahead: f32) {
    let query: [f32; QUERIES] = std::array::from_fn(|i| i as f32);
    for key in 0..keys {
        for column in (0..columns).step_by(S::LANES) {
            // SAFETY: the caller's scratch has `KEYS` lines of `QUERIES`.
            unsafe {
                let p = scores.as_mut_ptr().add(key * QUERIES + column);
                let (key, query) = (S::splat(ahead + key as f32), S::load(query.as_ptr().add(column)));
                S::store(p, S::select_gt(key, query, S::splat(f32::NEG_INFINITY), S::load(p)));
            }
        }
    }
}

/// Makes 2^(score - largest) of the scores and carries the state on.
#[inline(always)]
unsafe fn exponentials<S: Simd>(scores: &mut [f32], state: &mut [f32], keys: usize, columns: usize) {
    for column in (0..columns).step_by(S::LANES) {
        // SAFETY: the caller's scratch has `KEYS` lines of `QUERIES`, its state three.
        unsafe {
            let p = scores.as_mut_ptr().add(column);
            let largest = state.as_mut_ptr().add(column);
            let (sum, shrink) = (largest.add(QUERIES), largest.add(2 * QUERIES));
            let before = S::load(largest);
            let mut now = before;
            for key in 0..keys {
                now = S::max(S::load(p.add(key * QUERIES)), now);
            }
            let mut total = S::splat(0.0);
            for key in 0..keys {
                let p = p.add(key * QUERIES);
                let e = math::exp2_nonpositive::<S>(S::sub(S::load(p), now));
                S::store(p, e);
                total = S::add(total, e);
            }
            let factor = math::exp2_nonpositive::<S>(S::sub(before, now));
            S::store(largest, now);
            S::store(shrink, factor);
            S::store(sum, S::fma(S::load(sum), factor, total));
        }
    }
}
