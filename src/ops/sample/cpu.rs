use super::picks::busy;
use super::{Draw, Sample};
use crate::backend::cpu::simd::{Kernel, Simd, math};
use crate::backend::cpu::{Cpu, Parts};
use crate::error::{Error, Result};
use crate::exec::Cx;
use crate::rng::Stream;
use crate::tensor::{DType, Desc, Tensor};
use std::sync::atomic::{AtomicUsize, Ordering};

/// Of a nucleus, how many are sorted at first; four times as many whenever they do not suffice.
const SORTED: usize = 256;

pub(super) fn sample(op: &Sample, cx: Cx<'_>, cpu: &Cpu, logits: &Tensor, out: &mut Tensor) -> Result<()> {
    let n = logits.shape()[1];
    let lanes = cpu.pool.threads();
    let mut values = cx.workspace.tensor(Desc::plain([lanes, n], DType::F32))?;
    let mut order = cx.workspace.tensor(Desc::plain([lanes, n], DType::U32))?;
    let (values, order) = (Parts::new(values.data_mut::<f32>()?), Parts::new(order.data_mut::<u32>()?));
    let logits = logits.data::<f32>()?;
    let out = out.data_mut::<u32>()?;
    let images = out.len();
    let out = Parts::new(out);
    let bad = AtomicUsize::new(usize::MAX);
    cpu.pool.blocks(images, |lane, image| {
        // SAFETY: one part a lane, and one a block.
        let (values, order, code) = unsafe {
            (
                values.slice(lane * n..(lane + 1) * n),
                order.slice(lane * n..(lane + 1) * n),
                out.slice(image..image + 1),
            )
        };
        let conditional = &logits[image * n..(image + 1) * n];
        let null = op.guided().then(|| &logits[(images + image) * n..][..n]);
        let finite = cpu.isa.dispatch(Guide { op, conditional, null, values: &mut *values });
        if !finite {
            bad.fetch_min(image, Ordering::Relaxed);
            return;
        }
        let floor = top_k(op.top_k, values, order);
        cpu.isa.dispatch(Exponentials { values: &mut *values, floor });
        if op.top_p < 1.0 {
            top_p(f64::from(op.top_p), values, order);
        }
        let u =
            Stream::of_code(op.seed, op.image.wrapping_add(image as u32), op.position, op.sub_code).uniform();
        code[0] = draw(values, f64::from(u));
    });
    match bad.into_inner() {
        usize::MAX => Ok(()),
        image => Err(op.not_finite(image)),
    }
}

/// Draws where the picks are, and keeps what was drawn there.
pub(super) fn draw_next(
    op: &Draw<'_>,
    cx: Cx<'_>,
    cpu: &Cpu,
    logits: &Tensor,
    out: &mut Tensor,
) -> Result<()> {
    let picks = op.picks;
    let (mut place, mut last, mut all) = (
        picks.place.try_borrow_mut().map_err(busy)?,
        picks.last.try_borrow_mut().map_err(busy)?,
        picks.all.try_borrow_mut().map_err(busy)?,
    );
    let ([positions, images, k], place) = (super::dims("codes", all.desc())?, place.data_mut::<u32>()?);
    if place[0] as usize >= positions {
        return Err(Error::invalid(format!("position {} of {positions}", place[0])));
    }
    let mut drawn = cx.workspace.tensor(Desc::plain([images], DType::U32))?;
    sample(&Sample { position: place[0], ..op.sample }, cx, cpu, logits, &mut drawn)?;
    let (drawn, sub_code) = (drawn.data::<u32>()?, op.sample.sub_code as usize);
    let here = &mut all.data_mut::<u32>()?[place[0] as usize * images * k..][..images * k];
    for (codes, &code) in here.chunks_exact_mut(k).zip(drawn) {
        codes[sub_code] = code;
    }
    let rows = last.data_mut::<u32>()?.chunks_exact_mut(k).zip(out.data_mut::<u32>()?);
    for ((codes, out), &code) in rows.zip(drawn.iter().cycle()) {
        (codes[sub_code], *out) = (code, code);
    }
    place[0] += u32::from(sub_code + 1 == k);
    Ok(())
}

/// Steps 1 and 2. Returns whether all values are finite.
struct Guide<'a> {
    op: &'a Sample,
    conditional: &'a [f32],
    null: Option<&'a [f32]>,
    values: &'a mut [f32],
}

impl Kernel for Guide<'_> {
    type Output = bool;
    #[inline(always)]
    fn run<S: Simd>(self) -> bool {
        // SAFETY: `first + n` is at most the length of all slices.
        unsafe {
            let (scale, temperature) = (S::splat(self.op.guidance), S::splat(self.op.temperature));
            let mut wrong = S::splat(0.0);
            for first in (0..self.values.len()).step_by(S::LANES) {
                let n = S::LANES.min(self.values.len() - first);
                let mut v = S::load_n(self.conditional.as_ptr().add(first), n);
                if let Some(null) = self.null {
                    let null = S::load_n(null.as_ptr().add(first), n);
                    v = S::fma(scale, S::sub(v, null), null);
                }
                v = S::div(v, temperature);
                // 0 for a finite number, NaN for any other.
                wrong = S::fma(v, S::splat(0.0), wrong);
                S::store_n(self.values.as_mut_ptr().add(first), v, n);
            }
            S::sum(wrong) == 0.0
        }
    }
}

/// The least value that stays: the k-th largest, or minus infinity.
fn top_k(k: usize, values: &[f32], scratch: &mut [u32]) -> f32 {
    if k == 0 || k >= values.len() {
        return f32::NEG_INFINITY;
    }
    if k == 1 {
        return values.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    }
    // As integers of the same order, for there are no NaN; the other way round, so that the k-th comes first.
    for (key, value) in scratch.iter_mut().zip(values) {
        let bits = (value + 0.0).to_bits();
        *key = !if bits >> 31 == 1 { !bits } else { bits | 1 << 31 };
    }
    let key = !*scratch.select_nth_unstable(k - 1).1;
    f32::from_bits(if key >> 31 == 1 { key & !(1 << 31) } else { !key })
}

/// e^(value - largest), and 0 for what is below the floor.
struct Exponentials<'a> {
    values: &'a mut [f32],
    floor: f32,
}

impl Kernel for Exponentials<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self) {
        let whole = self.values.len() / S::LANES * S::LANES;
        // SAFETY: `whole` and `first + n` are at most the length.
        unsafe {
            let mut largest = S::splat(f32::NEG_INFINITY);
            for first in (0..whole).step_by(S::LANES) {
                largest = S::max(largest, S::load(self.values.as_ptr().add(first)));
            }
            let largest = self.values[whole..].iter().fold(S::max_lane(largest), |a, &b| a.max(b));
            let (zero, floor) = (S::splat(0.0), S::splat(self.floor));
            for first in (0..self.values.len()).step_by(S::LANES) {
                let n = S::LANES.min(self.values.len() - first);
                let p = self.values.as_mut_ptr().add(first);
                let v = S::load_n(p, n);
                let e = math::exp::<S>(S::sub(v, S::splat(largest)));
                S::store_n(p, S::select_gt(floor, v, zero, e), n);
            }
        }
    }
}

/// Sets what is outside the nucleus to 0.
fn top_p(p: f64, values: &mut [f32], order: &mut [u32]) {
    let limit = p * values.iter().map(|&v| f64::from(v)).sum::<f64>();
    for (i, at) in order.iter_mut().enumerate() {
        *at = i as u32;
    }
    let before = |a: &u32, b: &u32| values[*b as usize].total_cmp(&values[*a as usize]).then(a.cmp(b));
    let (mut sorted, mut sum) = (0, 0.0);
    let kept = 'all: loop {
        let unsorted = &mut order[sorted..];
        let take = (sorted * 3).max(SORTED).min(unsorted.len());
        if take == 0 {
            break sorted;
        }
        if take < unsorted.len() {
            unsorted.select_nth_unstable_by(take - 1, before);
        }
        unsorted[..take].sort_unstable_by(before);
        for (i, &at) in unsorted[..take].iter().enumerate() {
            if sum > limit {
                break 'all sorted + i;
            }
            sum += f64::from(values[at as usize]);
        }
        sorted += take;
    };
    for &at in &order[kept..] {
        values[at as usize] = 0.0;
    }
}

/// The first code at which the cumulative sum passes u of the whole.
fn draw(values: &[f32], u: f64) -> u32 {
    let limit = u * values.iter().map(|&v| f64::from(v)).sum::<f64>();
    let (mut sum, mut last) = (0.0, 0);
    for (i, &v) in values.iter().enumerate() {
        if v > 0.0 {
            sum += f64::from(v);
            last = i;
            if sum > limit {
                break;
            }
        }
    }
    last as u32
}
