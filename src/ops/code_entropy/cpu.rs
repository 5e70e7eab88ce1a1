use super::CodeEntropy;
use crate::backend::cpu::simd::{Kernel, Simd, math};
use crate::backend::cpu::{Cpu, Parts};
use crate::error::{Error, Result};
use crate::exec::Cx;
use crate::tensor::{DType, Desc, Tensor};

/// Codes that a block of columns, or a run of a row, has.
const CODES: usize = 512;
/// What is kept of a row: its largest score, 1 / sum, ln sum, and a number that the rule adds.
const STATE: usize = 4;

/// Scores u_ij = (2 z.e - |e|^2) / temperature: what is left of -distance / temperature without the part that all
/// codes of a row share, and softmax does not see.
struct Scores<'a> {
    z: &'a [f32],
    /// (d + 1, N): -|e|^2 / 2, then the codes, a dimension a row.
    turned: &'a [f32],
    d: usize,
    n: usize,
    factor: f32,
}

impl<'a> Scores<'a> {
    fn new(op: &CodeEntropy, all: &[&'a Tensor], turned: &'a mut Tensor) -> Result<Scores<'a>> {
        let [n, d] = all[1].shape().dims().ok_or_else(|| Error::internal("the codebook lost its axes"))?;
        let codebook = all[1].data::<f32>()?;
        let to = turned.data_mut::<f32>()?;
        for (j, row) in codebook.chunks_exact(d).enumerate() {
            to[j] = -0.5 * row.iter().map(|&x| f64::from(x) * f64::from(x)).sum::<f64>() as f32;
            row.iter().enumerate().for_each(|(k, &x)| to[(k + 1) * n + j] = x);
        }
        Ok(Scores { z: all[0].data()?, turned: turned.data()?, d, n, factor: 2.0 / op.temperature })
    }

    fn rows(&self) -> usize {
        self.z.len() / self.d
    }

    /// Scores of row i for codes `j..j + n`.
    #[inline(always)]
    unsafe fn at<S: Simd>(&self, i: usize, j: usize, n: usize) -> S::V {
        // SAFETY: the caller's: `j + n <= self.n`, and i is a row.
        unsafe {
            let p = self.turned.as_ptr().add(j);
            let mut u = S::load_up_to(p, n);
            for k in 0..self.d {
                let z = S::splat(*self.z.get_unchecked(i * self.d + k));
                u = S::fma(z, S::load_up_to(p.add((k + 1) * self.n), n), u);
            }
            S::mul(u, S::splat(self.factor))
        }
    }
}

/// 1 in the first n lanes, 0 in the others.
#[inline(always)]
unsafe fn mask<S: Simd>(n: usize) -> S::V {
    const ONES: [f32; 16] = [1.0; 16];
    // SAFETY: `n` is at most LANES, which is at most 16.
    unsafe { S::load_up_to(ONES.as_ptr(), n) }
}

/// A scratch table for the turned codebook.
fn room(cx: Cx<'_>, codebook: &Tensor) -> Result<Tensor> {
    cx.workspace.tensor(Desc::plain([codebook.shape()[1] + 1, codebook.shape()[0]], DType::F32))
}

pub(super) fn forward(
    op: &CodeEntropy,
    cx: Cx<'_>,
    cpu: &Cpu,
    all: &[&Tensor],
    out: &mut Tensor,
) -> Result<()> {
    let mut turned = room(cx, all[1])?;
    let scores = Scores::new(op, all, &mut turned)?;
    let (state, mean) = statistics(&scores, cx, cpu)?;
    let entropy: f64 = state.data::<f32>()?.chunks_exact(STATE).map(|s| f64::from(s[3])).sum();
    let used: f64 =
        mean.data::<f32>()?.iter().map(|&p| f64::from(p) * (f64::from(p) + f64::from(op.eps)).ln()).sum();
    out.data_mut::<f32>()?[0] = (entropy / scores.rows() as f64 + used) as f32;
    Ok(())
}

/// The state of every row, the fourth number being its entropy, and the mean of p over rows.
fn statistics(scores: &Scores<'_>, cx: Cx<'_>, cpu: &Cpu) -> Result<(Tensor, Tensor)> {
    let (rows, n) = (scores.rows(), scores.n);
    let mut state = cx.workspace.tensor(Desc::plain([rows, STATE], DType::F32))?;
    let parts = Parts::new(state.data_mut::<f32>()?);
    cpu.pool.blocks(rows, |_, row| {
        // SAFETY: one part a row.
        let state = unsafe { parts.slice(row * STATE..(row + 1) * STATE) };
        cpu.isa.dispatch(Row { scores, row, state });
    });
    let mut mean = cx.workspace.tensor(Desc::plain([n], DType::F32))?;
    let (parts, of_rows) = (Parts::new(mean.data_mut::<f32>()?), state.data::<f32>()?);
    cpu.pool.blocks(n.div_ceil(CODES), |_, block| {
        let codes = block * CODES..n.min((block + 1) * CODES);
        // SAFETY: one part a block.
        let mean = unsafe { parts.slice(codes.clone()) };
        cpu.isa.dispatch(Column { scores, state: of_rows, first: codes.start, mean });
    });
    Ok((state, mean))
}

struct Row<'a> {
    scores: &'a Scores<'a>,
    row: usize,
    state: &'a mut [f32],
}

impl Kernel for Row<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self) {
        let (scores, n) = (self.scores, self.scores.n);
        // SAFETY: `j + LANES.min(n - j) <= n`.
        unsafe {
            let mut most = f32::NEG_INFINITY;
            let mut largest = S::splat(f32::NEG_INFINITY);
            for j in (0..n).step_by(S::LANES) {
                let u = scores.at::<S>(self.row, j, S::LANES.min(n - j));
                if n - j >= S::LANES {
                    // A NaN must come out: `max` yields its second operand then.
                    largest = S::max(largest, u);
                } else {
                    let mut last = [0.0; 16];
                    S::store(last.as_mut_ptr(), u);
                    most = last[..n - j].iter().fold(most, |a, &b| a.max(b));
                }
            }
            let most = most.max(S::max_lane(largest));
            let (mut total, mut product) = (0.0, 0.0);
            for run in (0..n).step_by(CODES) {
                let (mut sum, mut dot) = (S::splat(0.0), S::splat(0.0));
                for j in (run..n.min(run + CODES)).step_by(S::LANES) {
                    let count = S::LANES.min(n - j);
                    let v = S::sub(scores.at::<S>(self.row, j, count), S::splat(most));
                    let x = S::mul(math::exp::<S>(v), mask::<S>(count));
                    sum = S::add(sum, x);
                    dot = S::fma(x, v, dot);
                }
                total += f64::from(S::sum(sum));
                product += f64::from(S::sum(dot));
            }
            self.state[0] = most;
            self.state[1] = (1.0 / total) as f32;
            self.state[2] = total.ln() as f32;
            self.state[3] = (total.ln() - product / total) as f32;
        }
    }
}

struct Column<'a> {
    scores: &'a Scores<'a>,
    state: &'a [f32],
    first: usize,
    mean: &'a mut [f32],
}

impl Kernel for Column<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self) {
        let share = 1.0 / self.scores.rows() as f32;
        for at in (0..self.mean.len()).step_by(S::LANES) {
            let count = S::LANES.min(self.mean.len() - at);
            // SAFETY: `first + at + count` is at most the number of codes.
            unsafe {
                let mut sum = S::splat(0.0);
                for (row, state) in self.state.chunks_exact(STATE).enumerate() {
                    let u = self.scores.at::<S>(row, self.first + at, count);
                    let x = math::exp::<S>(S::sub(u, S::splat(state[0])));
                    sum = S::fma(x, S::splat(state[1]), sum);
                }
                S::store_up_to(self.mean.as_mut_ptr().add(at), S::mul(sum, S::splat(share)), count);
            }
        }
    }
}

pub(super) fn backward(
    op: &CodeEntropy,
    cx: Cx<'_>,
    cpu: &Cpu,
    all: &[&Tensor],
    outputs: &mut [Tensor; 2],
) -> Result<()> {
    let mut turned = room(cx, all[1])?;
    let scores = Scores::new(op, all, &mut turned)?;
    let (mut state, mut mean) = statistics(&scores, cx, cpu)?;
    let (rows, n, d) = (scores.rows(), scores.n, scores.d);
    let factor = all[2].data::<f32>()?[0] / rows as f32 * scores.factor;
    for p in mean.data_mut::<f32>()? {
        let (x, shifted) = (f64::from(*p), f64::from(*p) + f64::from(op.eps));
        *p = (shifted.ln() + x / shifted) as f32;
    }
    let slope = mean.data::<f32>()?;
    let [dz, de] = outputs;
    let mut scratch =
        cx.workspace.tensor(Desc::plain([cpu.pool.threads(), 2 * CODES + 2 * d], DType::F32))?;
    let lanes = Parts::new(scratch.data_mut::<f32>()?);
    let (parts, states) = (Parts::new(dz.data_mut::<f32>()?), Parts::new(state.data_mut::<f32>()?));
    let scores = &scores;
    cpu.pool.blocks(rows, |lane, row| {
        let each = 2 * CODES + 2 * d;
        // SAFETY: one part a row, of both, and a lane's own scratch.
        let (dz, state, scratch) = unsafe {
            (
                parts.slice(row * d..(row + 1) * d),
                states.slice(row * STATE..(row + 1) * STATE),
                lanes.slice(lane * each..(lane + 1) * each),
            )
        };
        cpu.isa.dispatch(RowBackward { scores, row, slope, factor, state, scratch, dz });
    });
    let mut scratch = cx.workspace.tensor(Desc::plain([cpu.pool.threads(), (d + 1) * CODES], DType::F32))?;
    let lanes = Parts::new(scratch.data_mut::<f32>()?);
    let (parts, state) = (Parts::new(de.data_mut::<f32>()?), state.data::<f32>()?);
    cpu.pool.blocks(n.div_ceil(CODES), |lane, block| {
        let codes = block * CODES..n.min((block + 1) * CODES);
        let each = (d + 1) * CODES;
        // SAFETY: one part a block, and a lane's own scratch.
        let (de, sums) = unsafe {
            (parts.slice(codes.start * d..codes.end * d), lanes.slice(lane * each..(lane + 1) * each))
        };
        cpu.isa.dispatch(ColumnBackward { scores, slope, factor, state, first: codes.start, sums, de });
    });
    Ok(())
}

/// The gradient of a latent, and the number that the rule adds to every entry of its row: H + c.
struct RowBackward<'a> {
    scores: &'a Scores<'a>,
    row: usize,
    slope: &'a [f32],
    factor: f32,
    state: &'a mut [f32],
    scratch: &'a mut [f32],
    dz: &'a mut [f32],
}

impl Kernel for RowBackward<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self) {
        let (scores, n, d) = (self.scores, self.scores.n, self.scores.d);
        let (p, rest) = self.scratch.split_at_mut(CODES);
        let (weighted, sums) = rest.split_at_mut(CODES);
        sums.fill(0.0);
        let mut along = 0.0;
        for run in (0..n).step_by(CODES) {
            let length = CODES.min(n - run);
            // SAFETY: all lie within `length` elements from `run`, or from the start of the scratch.
            unsafe {
                let mut dot = S::splat(0.0);
                for at in (0..length).step_by(S::LANES) {
                    let count = S::LANES.min(length - at);
                    let v = S::sub(scores.at::<S>(self.row, run + at, count), S::splat(self.state[0]));
                    let x = S::mul(math::exp::<S>(v), S::mul(mask::<S>(count), S::splat(self.state[1])));
                    let slope = S::load_up_to(self.slope.as_ptr().add(run + at), count);
                    dot = S::fma(x, slope, dot);
                    let each = S::sub(slope, S::sub(v, S::splat(self.state[2])));
                    S::store_up_to(p.as_mut_ptr().add(at), x, count);
                    S::store_up_to(weighted.as_mut_ptr().add(at), S::mul(x, each), count);
                }
                along += f64::from(S::sum(dot));
                for k in 0..d {
                    let e = scores.turned.as_ptr().add((k + 1) * n + run);
                    let (mut a, mut b) = (S::splat(0.0), S::splat(0.0));
                    for at in (0..length).step_by(S::LANES) {
                        let count = S::LANES.min(length - at);
                        let e = S::load_up_to(e.add(at), count);
                        a = S::fma(S::load_up_to(weighted.as_ptr().add(at), count), e, a);
                        b = S::fma(S::load_up_to(p.as_ptr().add(at), count), e, b);
                    }
                    sums[k] += S::sum(a);
                    sums[d + k] += S::sum(b);
                }
            }
        }
        self.state[3] += along as f32;
        for (k, dz) in self.dz.iter_mut().enumerate() {
            *dz = self.factor * (sums[k] - self.state[3] * sums[d + k]);
        }
    }
}

struct ColumnBackward<'a> {
    scores: &'a Scores<'a>,
    slope: &'a [f32],
    factor: f32,
    state: &'a [f32],
    first: usize,
    /// (d + 1, CODES): sums over rows of the entries' gradients, alone and times the latent.
    sums: &'a mut [f32],
    de: &'a mut [f32],
}

impl Kernel for ColumnBackward<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self) {
        let (scores, n, d) = (self.scores, self.scores.n, self.scores.d);
        let length = self.de.len() / d;
        self.sums.fill(0.0);
        let sums = self.sums.as_mut_ptr();
        for at in (0..length).step_by(S::LANES) {
            let count = S::LANES.min(length - at);
            let j = self.first + at;
            // SAFETY: `j + count <= n` and `at + count <= CODES`.
            unsafe {
                let slope = S::load_up_to(self.slope.as_ptr().add(j), count);
                for (row, state) in self.state.chunks_exact(STATE).enumerate() {
                    let v = S::sub(scores.at::<S>(row, j, count), S::splat(state[0]));
                    let x = S::mul(math::exp::<S>(v), S::splat(state[1]));
                    let each = S::sub(S::sub(slope, S::sub(v, S::splat(state[2]))), S::splat(state[3]));
                    let g = S::mul(x, each);
                    let all = sums.add(at);
                    S::store_up_to(all, S::add(S::load_up_to(all, count), g), count);
                    for k in 0..d {
                        let to = sums.add((k + 1) * CODES + at);
                        let z = S::splat(scores.z[row * d + k]);
                        S::store_up_to(to, S::fma(g, z, S::load_up_to(to, count)), count);
                    }
                }
            }
        }
        for (j, de) in self.de.chunks_exact_mut(d).enumerate() {
            for (k, de) in de.iter_mut().enumerate() {
                let e = scores.turned[(k + 1) * n + self.first + j];
                *de = self.factor * (self.sums[(k + 1) * CODES + j] - e * self.sums[j]);
            }
        }
    }
}
