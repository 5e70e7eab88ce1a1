//! Weights into the forms that the variants read.

use super::scratch;
use super::winograd;
use crate::backend::cpu::simd::{Kernel, Simd};
use crate::backend::cpu::{Cpu, Parts};
use crate::error::{Error, Result};
use crate::exec::Cx;
use crate::ops::conv2d::Variant;
use crate::ops::tile::{Operand, PANEL};
use crate::tensor::{DType, Tensor};
use half::{bf16, f16};
use std::ops::Range;

/// Elements of a packed weight (k, c, r, s), `None` when they cannot be counted.
pub fn packed_elements(variant: Variant, operands: DType, [k, c, r, s]: [usize; 4]) -> Option<usize> {
    let taps = r.checked_mul(s)?;
    let panels = k.checked_next_multiple_of(PANEL)?.checked_mul(c)?;
    let elements = match variant {
        Variant::Direct => panels.checked_mul(taps)?,
        Variant::WinogradLate => k.checked_mul(c)?.checked_mul(taps)?,
        Variant::Scatter => taps.checked_mul(k)?.checked_next_multiple_of(PANEL)?.checked_mul(c)?,
        _ => panels.checked_mul(winograd::terms(variant, operands)?)?,
    };
    elements.checked_mul(size_of::<f32>()).and(Some(elements))
}

/// Writes the packed form of `weight` to `packed`, whose memory begins with anything.
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
    // Kernels are read by panels of output channels; a panel is a run of the file.
    let filter = c * r * s;
    let each = if matches!(from, File::F32(_)) { 0 } else { PANEL.min(k) * filter };
    let mut memory = scratch(cx, cpu, each)?;
    let lanes = Parts::new(memory.data_mut::<f32>()?);
    // A scattered panel is the taps of all output channels, which are few.
    let jobs = if variant == Variant::Scatter { 1 } else { k.div_ceil(PANEL) };
    let operands = packed.dtype();
    // Memory of a workspace may be longer than was asked for.
    let bytes = packed_elements(variant, operands, shape).map(|n| n * operands.size());
    let to = bytes.and_then(|n| packed.bytes_mut().ok()?.get_mut(..n));
    let to = to.ok_or_else(|| Error::internal("memory for a packed weight is too short"))?;
    let each_job = to.len() / jobs;
    let parts = Parts::new(to);
    cpu.pool.blocks(jobs, |lane, index| {
        // SAFETY: a lane runs one job at a time.
        let wide = unsafe { lanes.slice(lane * each..(lane + 1) * each) };
        // SAFETY: a part a job.
        let to = unsafe { parts.slice(index * each_job..(index + 1) * each_job) };
        if variant == Variant::Scatter {
            let to = elements::<f32>(to);
            to.fill(0.0);
            for first in (0..k).step_by(PANEL) {
                let range = first * filter..k.min(first + PANEL) * filter;
                scatter(cpu.isa.dispatch(Widen { from, range, to: wide }), first, [k, c, r * s], to);
            }
            return;
        }
        let range = index * PANEL * filter..k.min((index + 1) * PANEL) * filter;
        let w = cpu.isa.dispatch(Widen { from, range, to: wide });
        match (variant, operands) {
            (Variant::Direct, DType::BF16) => direct(w, [c, r * s], elements::<bf16>(to)),
            (Variant::Direct, _) => direct(w, [c, r * s], elements::<f32>(to)),
            _ => winograd::pack(variant, operands, cpu, w, c, to),
        }
    });
    Ok(())
}

/// Bytes of packed memory as the elements that they are.
pub fn elements<O: Operand>(bytes: &mut [u8]) -> &mut [O] {
    // SAFETY: every bit pattern is an operand.
    let (head, elements, _) = unsafe { bytes.align_to_mut::<O>() };
    // Buffers are aligned to a cache line and panels are whole lines.
    debug_assert!(head.is_empty());
    elements
}

/// \[k\]\[c\]\[taps\] to \[taps\]\[c / CHANNELS\]\[PANEL\]\[CHANNELS\], with zeros past k.
fn direct<O: Operand>(from: &[f32], [c, taps]: [usize; 2], to: &mut [O]) {
    if from.len() < PANEL * c * taps {
        to.fill(O::narrow(0.0));
    }
    for (k, filter) in from.chunks_exact(c * taps).enumerate() {
        for (i, tap) in filter.chunks_exact(taps).enumerate() {
            for (t, &w) in tap.iter().enumerate() {
                let step = (t * c + i) / O::CHANNELS;
                to[(step * PANEL + k) * O::CHANNELS + i % O::CHANNELS] = O::narrow(w);
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
