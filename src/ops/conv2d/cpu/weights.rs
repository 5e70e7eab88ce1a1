//! Weights into the forms that the variants read.

use super::scratch;
use super::tile::PANEL;
use super::winograd::{F4, F4Up, Transform, products};
use crate::backend::cpu::simd::{Kernel, Simd};
use crate::backend::cpu::{Cpu, Parts};
use crate::error::{Error, Result};
use crate::exec::Cx;
use crate::ops::conv2d::Variant;
use crate::tensor::{DType, Tensor};
use half::{bf16, f16};
use std::marker::PhantomData;
use std::ops::Range;

/// Floats of a packed weight (k, c, r, s), `None` when they cannot be counted.
pub fn packed_floats(variant: Variant, [k, c, r, s]: [usize; 4]) -> Option<usize> {
    let taps = r.checked_mul(s)?;
    let transformed =
        |products: usize| k.checked_next_multiple_of(PANEL)?.checked_mul(products)?.checked_mul(c);
    let floats = match variant {
        Variant::Direct => k.checked_next_multiple_of(PANEL)?.checked_mul(taps)?.checked_mul(c)?,
        Variant::Scatter => taps.checked_mul(k)?.checked_next_multiple_of(PANEL)?.checked_mul(c)?,
        Variant::Winograd => transformed(products::<F4>())?,
        Variant::WinogradUp => transformed(products::<F4Up>())?,
    };
    floats.checked_mul(size_of::<f32>()).and(Some(floats))
}

/// Writes the packed form of `weight` to `packed`, whose memory begins with zeros or with anything.
pub fn pack(
    variant: Variant,
    cx: Cx<'_>,
    cpu: &Cpu,
    weight: &Tensor,
    shape: [usize; 4],
    packed: &mut Tensor,
) -> Result<()> {
    let [k, c, r, s] = shape;
    let from = match weight.dtype() {
        DType::F32 => File::F32(weight.data()?),
        DType::F16 => File::F16(weight.data()?),
        DType::BF16 => File::BF16(weight.data()?),
        _ => {
            let desc = weight.desc();
            return Err(Error::unsupported(format!("conv2d weight is {desc}, expected f32, f16 or bf16")));
        }
    };
    // Memory of a workspace may be longer than was asked for.
    let floats = packed_floats(variant, shape).unwrap_or(usize::MAX);
    let to = floats_mut(packed)?;
    let to =
        to.get_mut(..floats).ok_or_else(|| Error::internal("memory for a packed weight is too short"))?;
    // Kernels are read by panels of output channels; a panel is a run of the file.
    let filter = c * r * s;
    let each = if matches!(from, File::F32(_)) { 0 } else { PANEL.min(k) * filter };
    let mut memory = scratch(cx, cpu, each)?;
    let lanes = Parts::new(memory.data_mut::<f32>()?);
    let panels = k.div_ceil(PANEL);
    let panel = to.len() / panels;
    if variant == Variant::Scatter {
        to.fill(0.0);
    }
    let parts = Parts::new(to);
    // A scattered panel is the taps of all output channels, which are few.
    let jobs = if variant == Variant::Scatter { 1 } else { panels };
    cpu.pool.blocks(jobs, |lane, index| {
        // SAFETY: a lane runs one job at a time.
        let wide = unsafe { lanes.slice(lane * each..(lane + 1) * each) };
        if variant == Variant::Scatter {
            // SAFETY: there is one job.
            let all = unsafe { parts.slice(0..parts.len()) };
            for first in (0..k).step_by(PANEL) {
                let range = first * filter..k.min(first + PANEL) * filter;
                scatter(cpu.isa.dispatch(Widen { from, range, to: wide }), first, [k, c, r * s], all);
            }
            return;
        }
        let (first, last) = (index * PANEL, k.min((index + 1) * PANEL));
        let w = cpu.isa.dispatch(Widen { from, range: first * filter..last * filter, to: wide });
        // SAFETY: a panel a job.
        let to = unsafe { parts.slice(index * panel..(index + 1) * panel) };
        match variant {
            Variant::Winograd => cpu.isa.dispatch(Transform::<F4> { from: w, c, to, scheme: PhantomData }),
            Variant::WinogradUp => {
                cpu.isa.dispatch(Transform::<F4Up> { from: w, c, to, scheme: PhantomData })
            }
            _ => direct(w, last - first, [c, r * s], to),
        }
    });
    Ok(())
}

/// \[count\]\[c\]\[taps\] to \[taps\]\[c\]\[PANEL\], with zeros for the channels that are not there.
fn direct(from: &[f32], count: usize, [c, taps]: [usize; 2], to: &mut [f32]) {
    if count < PANEL {
        to.fill(0.0);
    }
    for (k, filter) in from.chunks_exact(c * taps).enumerate() {
        for (i, tap) in filter.chunks_exact(taps).enumerate() {
            for (t, &w) in tap.iter().enumerate() {
                to[(t * c + i) * PANEL + k] = w;
            }
        }
    }
}

/// \[k\]\[c\]\[taps\] from output channel `first` on to panels of \[c\]\[PANEL\] over the columns (tap, k).
fn scatter(from: &[f32], first: usize, [k, c, taps]: [usize; 3], to: &mut [f32]) {
    for (index, filter) in from.chunks_exact(c * taps).enumerate() {
        for (i, tap) in filter.chunks_exact(taps).enumerate() {
            for (t, &w) in tap.iter().enumerate() {
                let column = t * k + first + index;
                to[(column / PANEL * c + i) * PANEL + column % PANEL] = w;
            }
        }
    }
}

#[derive(Clone, Copy)]
enum File<'a> {
    F32(&'a [f32]),
    F16(&'a [f16]),
    BF16(&'a [bf16]),
}

/// A run of a file's weights as f32: the file's own memory, or `to`.
struct Widen<'a> {
    from: File<'a>,
    range: Range<usize>,
    to: &'a mut [f32],
}

impl<'a> Kernel for Widen<'a> {
    type Output = &'a [f32];
    #[inline(always)]
    fn run<S: Simd>(self) -> &'a [f32] {
        let count = self.range.len();
        let whole = count - count % S::LANES;
        match self.from {
            File::F32(all) => return &all[self.range],
            File::F16(all) => {
                let from = &all[self.range];
                let to = &mut self.to[..count];
                for i in (0..whole).step_by(S::LANES) {
                    // SAFETY: `i + LANES <= count`; f16 is its 16 bits.
                    unsafe { S::store(to.as_mut_ptr().add(i), S::load_f16(from.as_ptr().add(i).cast())) };
                }
                for i in whole..count {
                    to[i] = from[i].to_f32();
                }
            }
            File::BF16(all) => {
                let from = &all[self.range];
                let to = &mut self.to[..count];
                for i in (0..whole).step_by(S::LANES) {
                    // SAFETY: `i + LANES <= count`; bf16 is its 16 bits.
                    unsafe { S::store(to.as_mut_ptr().add(i), S::load_bf16(from.as_ptr().add(i).cast())) };
                }
                for i in whole..count {
                    to[i] = from[i].to_f32();
                }
            }
        }
        &self.to[..count]
    }
}

/// The elements of a packed tensor, to write.
fn floats_mut(packed: &mut Tensor) -> Result<&mut [f32]> {
    let bytes = packed.bytes_mut()?;
    // SAFETY: every bit pattern is an f32.
    let (head, floats, _) = unsafe { bytes.align_to_mut::<f32>() };
    if !head.is_empty() {
        return Err(Error::internal("memory for a packed weight is not aligned"));
    }
    Ok(floats)
}
