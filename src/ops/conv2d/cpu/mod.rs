//! Convolution on the processor. Every variant stages the pixels that a block of outputs needs into scratch
//! of its thread first: padded with zeros, up-sampled, normalised. So the arithmetic after it knows no borders.

mod direct;
mod scatter;
mod stage;
mod sums;
mod weights;
mod winograd;

pub use crate::ops::tile::PANEL;
pub use weights::{pack, packed_elements};
pub use winograd::late_takes;

use super::pack::packed;
use super::{Conv2d, Geometry, Pack, SUMS, Variant};
use crate::backend::cpu::{Cpu, Parts, Values, Written, far};
use crate::error::{Error, Result};
use crate::exec::Cx;
use crate::ops::tile::Operand;
use crate::tensor::{DType, Desc, Layout, Tensor};
use half::bf16;

/// What all blocks of a convolution share.
struct Job<'a> {
    g: Geometry,
    cpu: &'a Cpu,
    x: Values<'a>,
    weight: &'a Tensor,
    bias: &'a [f32],
    /// (n, 2, c): scale and shift.
    coefficients: Option<&'a [f32]>,
    silu: bool,
    residual: Option<Values<'a>>,
    out: Written<'a>,
    /// (n, parts, SUMS, k), where the variant gathers them.
    sums: Option<Parts<'a, f32>>,
}

pub fn forward(
    op: &Conv2d,
    g: &Geometry,
    cx: Cx<'_>,
    cpu: &Cpu,
    inputs: &[&Tensor],
    out: &mut Tensor,
    sums: Option<&mut Tensor>,
) -> Result<()> {
    if g.n * g.oh * g.ow == 0 {
        return Ok(());
    }
    let made;
    let weight = match inputs[1].desc().layout {
        Layout::Plain => {
            // A transform of the filters pays from some hundred outputs on.
            let pack = Pack { compact: g.n * g.oh * g.ow < 256, ..op.pack() };
            made = packed(&pack, cx, inputs[1], cx.workspace)?;
            &made
        }
        Layout::Packed(_) => inputs[1],
    };
    let variant =
        Variant::of(weight.desc()).ok_or_else(|| Error::internal("the weight's packing is unknown"))?;
    let gathers = gathered(inputs[1].desc(), g).is_some();
    let mut sums = sums.map(|t| t.data_mut::<f32>()).transpose()?;
    // Of a weight that is packed here nobody knew the variant when the sums were shaped: they are gathered beside.
    let parts = winograd::units(variant, weight.dtype(), g).filter(|&units| units <= sums::parts(g));
    let mut beside = match parts.filter(|_| sums.is_some() && !gathers) {
        Some(parts) => Some(cx.workspace.tensor(Desc::plain([g.n, parts, SUMS, g.k], DType::F32))?),
        None => None,
    };
    let own = beside.as_mut().map(|t| t.data_mut::<f32>()).transpose()?;
    let mut rest = inputs[3..].iter();
    let mut next = |present: bool| if present { rest.next() } else { None };
    let job = Job {
        g: *g,
        cpu,
        x: Values::of(inputs[0])?,
        weight,
        bias: inputs[2].data()?,
        coefficients: next(op.norm.is_some()).map(|t| t.data()).transpose()?,
        silu: op.norm.is_some_and(|n| n.silu),
        residual: next(op.residual).map(|t| Values::of(t)).transpose()?,
        out: Written::of(out)?,
        sums: own.or(sums.as_deref_mut().filter(|_| gathers)).map(Parts::new),
    };
    run(&job, variant, cx)?;
    match (sums.filter(|_| !gathers), beside) {
        (Some(sums), Some(own)) => sums::take(g, own.data()?, sums),
        (Some(sums), None) => sums::fill(g, cpu, Values::of(out)?, sums),
        (None, _) => {}
    }
    Ok(())
}

/// The outputs, and the sums where the variant gathers them.
fn run(job: &Job<'_>, variant: Variant, cx: Cx<'_>) -> Result<()> {
    match (variant, job.weight.dtype()) {
        (Variant::Direct, DType::BF16) => direct::forward::<bf16>(job, cx),
        (Variant::Direct, _) => direct::forward::<f32>(job, cx),
        (Variant::Scatter, _) => scatter::forward(job, cx),
        (_, operands) => winograd::forward(variant, operands, job, cx),
    }
}

/// Parts of an image that sums are taken over.
pub fn sum_parts(weight: &Desc, g: &Geometry) -> usize {
    gathered(weight, g).unwrap_or_else(|| sums::parts(g))
}

/// The same where the weight's variant gathers the sums.
fn gathered(weight: &Desc, g: &Geometry) -> Option<usize> {
    winograd::units(Variant::of(weight)?, weight.dtype, g)
}

impl Job<'_> {
    /// The elements of the packed weight.
    fn weights<O: Operand>(&self) -> Result<&[O]> {
        let (g, desc) = (&self.g, self.weight.desc());
        let count = Variant::of(desc).and_then(|v| packed_elements(v, O::DTYPE, [g.k, g.c, g.r, g.s]));
        let bytes = self.weight.storage().as_bytes()?;
        let fits = |n: &usize| n * size_of::<O>() <= bytes.len() && bytes.as_ptr().cast::<O>().is_aligned();
        match count.filter(fits) {
            Some(count) if desc.dtype == O::DTYPE => {
                // SAFETY: in bounds and aligned; every bit pattern is an element.
                Ok(unsafe { std::slice::from_raw_parts(bytes.as_ptr().cast(), count) })
            }
            _ => Err(Error::invalid(format!("{desc}: its memory is not what conv2d packed"))),
        }
    }
}

/// Scratch of `each` floats for every thread.
fn scratch(cx: Cx<'_>, cpu: &Cpu, each: usize) -> Result<Tensor> {
    cx.workspace.tensor(Desc::plain([cpu.pool.threads(), each], DType::F32))
}

impl Geometry {
    /// Whether outputs are written past the caches.
    fn far(&self) -> bool {
        far(self.n * self.oh * self.ow * self.k)
    }
}
