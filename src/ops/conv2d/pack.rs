use super::{Conv2d, cpu};
use crate::backend::Device;
use crate::error::{Error, Result};
use crate::exec::{self, Cx, Prepare};
use crate::tensor::{Allocate, DType, Desc, HeapAllocator, Layout, Tensor};

/// A way to compute a convolution; each has its own form of the weight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Variant {
    /// Implicit GEMM over the taps: every shape.
    Direct,
    /// For very few output channels: one GEMM to all taps' products, then their shifted sum. Stride 1.
    Scatter,
    /// F(4x4, 3x3): a quarter of the products, four times the weights' memory. 3x3, stride 1.
    Winograd,
    /// F(4x4, 3x3) on pixels that stand four times: 25/36 of the products of `Winograd`. 3x3 of stride 1, padded by
    /// one, after up-sampling.
    WinogradUp,
}

impl Variant {
    /// Every variant.
    pub const ALL: [Variant; 4] = [Variant::Direct, Variant::Scatter, Variant::Winograd, Variant::WinogradUp];

    /// Its name in `FQGAN_KERNEL=conv2d:NAME`.
    pub const fn name(self) -> &'static str {
        match self {
            Variant::Direct => "direct",
            Variant::Scatter => "scatter",
            Variant::Winograd => "winograd",
            Variant::WinogradUp => "winograd-up",
        }
    }

    /// The variant that a weight was packed for.
    pub(super) fn of(weight: &Desc) -> Option<Variant> {
        Variant::ALL.into_iter().find(|v| weight.layout == Layout::Packed(*v as u16))
    }

    /// Whether it can compute this convolution by a kernel of r x s.
    pub(super) fn takes(self, op: &Conv2d, [r, s]: [usize; 2]) -> bool {
        let winograd = op.stride == 1 && (r, s) == (3, 3);
        match self {
            Variant::Direct => true,
            Variant::Scatter => op.stride == 1,
            Variant::Winograd => winograd,
            Variant::WinogradUp => winograd && op.upsample && op.padding == [1; 4],
        }
    }
}

/// Rearranges a weight (k, c, r, s) of f32, f16 or bf16 for the fastest variant.
#[derive(Clone, Copy, Debug)]
pub struct Pack {
    /// The convolution that the weight is for.
    pub op: Conv2d,
    /// Only forms that are no larger than the weight itself.
    pub compact: bool,
    /// A certain variant. Otherwise `FQGAN_KERNEL=conv2d:NAME` decides where that variant can, else the shape.
    pub variant: Option<Variant>,
}

impl Pack {
    /// The variant for a weight of this shape.
    ///
    /// # Errors
    /// `InvalidArgument` for an unknown name in `FQGAN_KERNEL`, `Unsupported` when `self.variant` cannot.
    fn choose(&self, [k, c, r, s]: [usize; 4]) -> Result<Variant> {
        let takes = |v: Variant| v.takes(&self.op, [r, s]);
        if let Some(variant) = self.variant {
            return if takes(variant) {
                Ok(variant)
            } else {
                Err(Error::unsupported(format!(
                    "conv2d:{} by a kernel of {r} x {s}: {:?}",
                    variant.name(),
                    self.op
                )))
            };
        }
        if let Some(name) = exec::forced_variant("conv2d") {
            let names = || Variant::ALL.map(Variant::name).join(", ");
            let forced = Variant::ALL.into_iter().find(|v| v.name() == name).ok_or_else(|| {
                Error::invalid(format!("FQGAN_KERNEL: conv2d has no {name:?}, expected one of {}", names()))
            })?;
            if takes(forced) {
                return Ok(forced);
            }
        }
        let panels = |k: usize| k.div_ceil(cpu::PANEL);
        if takes(Variant::Scatter) && 2 * panels(k * r * s) <= r * s * panels(k) {
            return Ok(Variant::Scatter);
        }
        // With fewer channels the transforms cost more than they save.
        let wide = c >= 16 && k >= 16 && !self.compact;
        let winograd = [Variant::WinogradUp, Variant::Winograd].into_iter().find(|v| wide && takes(*v));
        Ok(winograd.unwrap_or(Variant::Direct))
    }
}

impl Prepare for Pack {
    fn prepare(&self, cx: Cx<'_>, weight: &Tensor) -> Result<Tensor> {
        packed(self, cx, weight, &HeapAllocator)
    }
}

/// The weight in a variant's form, in memory of `memory`.
pub(super) fn packed(pack: &Pack, cx: Cx<'_>, weight: &Tensor, memory: &impl Allocate) -> Result<Tensor> {
    let Some(shape @ [k, c, r, s]) = weight.shape().dims() else {
        return Err(Error::invalid(format!("conv2d weight is {:?}, expected (k, c, r, s)", weight.desc())));
    };
    if k == 0 || c == 0 || r == 0 || s == 0 {
        return Err(Error::invalid(format!("conv2d weight is {:?}: no extent may be 0", weight.desc())));
    }
    let variant = pack.choose(shape)?;
    let floats = cpu::packed_floats(variant, shape)
        .ok_or_else(|| Error::invalid(format!("conv2d weight {shape:?} is too large to pack")))?;
    let mut packed = Tensor::new(
        Desc { shape: *weight.shape(), dtype: DType::F32, layout: Layout::Packed(variant as u16) },
        memory.allocate(floats * DType::F32.size())?,
    )?;
    match cx.device {
        Device::Cpu(cpu) => cpu::pack(variant, cx, cpu, weight, shape, &mut packed)?,
    }
    Ok(packed)
}
