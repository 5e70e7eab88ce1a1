use super::{Conv2d, cpu};
#[cfg(feature = "cuda")]
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
    /// Two by two outputs at once: 25/36 of the products. 3x3, stride 2.
    WinogradDown,
    /// F(6x6, 3x3): 64/81 of the products of `Winograd` for four times its error. 3x3, stride 1, operands of f32.
    Winograd6,
    /// As `Winograd`, from weights that stay as they are and are transformed as they are used, which hides behind the
    /// reading of a quarter of the memory. 3x3, stride 1, operands of f32, channels in whole vectors.
    WinogradLate,
}

impl Variant {
    /// Every variant.
    pub const ALL: [Variant; 7] = [
        Variant::Direct,
        Variant::Scatter,
        Variant::Winograd,
        Variant::WinogradUp,
        Variant::WinogradDown,
        Variant::Winograd6,
        Variant::WinogradLate,
    ];

    /// Its name in `FQGAN_KERNEL=conv2d:NAME`.
    pub const fn name(self) -> &'static str {
        match self {
            Variant::Direct => "direct",
            Variant::Scatter => "scatter",
            Variant::Winograd => "winograd",
            Variant::WinogradUp => "winograd-up",
            Variant::WinogradDown => "winograd-down",
            Variant::Winograd6 => "winograd6",
            Variant::WinogradLate => "winograd-late",
        }
    }

    /// The variant that a weight was packed for.
    pub(super) fn of(weight: &Desc) -> Option<Variant> {
        Variant::ALL.into_iter().find(|v| weight.layout == Layout::Packed(*v as u16))
    }

    /// Whether it can compute this convolution by a kernel of r x s over c channels, in operands of this type.
    pub(super) fn takes(self, op: &Conv2d, operands: DType, [k, c, r, s]: [usize; 4]) -> bool {
        // Operands of 16 bits are multiplied in pairs of channels.
        let paired = operands == DType::F32 || (operands == DType::BF16 && c.is_multiple_of(2));
        let square = (r, s) == (3, 3) && paired;
        match self {
            Variant::Direct => paired,
            Variant::Scatter => operands == DType::F32 && op.stride == 1,
            Variant::Winograd => square && op.stride == 1,
            Variant::WinogradUp => square && op.stride == 1 && op.upsample && op.padding == [1; 4],
            Variant::WinogradDown => square && op.stride == 2,
            Variant::Winograd6 => square && op.stride == 1 && operands == DType::F32,
            Variant::WinogradLate => {
                square && op.stride == 1 && operands == DType::F32 && cpu::late_takes([k, c])
            }
        }
    }
}

/// Input times output channels up to which the wide tiles of [`Variant::Winograd6`] pay, and their weights, seven
/// times the original, are not many.
const SMALL: usize = 256 * 128;
/// Input times output channels from which on transformed weights are more to read than there is to compute; and where
/// few pixels are expected.
const LARGE: usize = 512 * 256;
const LARGE_OF_FEW: usize = 256 * 256;

/// Rearranges a weight (k, c, r, s) of f32, f16 or bf16 for the fastest variant.
#[derive(Clone, Copy, Debug)]
pub struct Pack {
    /// The convolution that the weight is for.
    pub op: Conv2d,
    /// Only forms that are no larger than the weight itself.
    pub compact: bool,
    /// Few pixels are expected.
    pub few: bool,
    /// F32, or BF16: weights and (transformed) pixels are rounded, products are summed in f32. Without a `variant`,
    /// only where the processor has instructions for it and where it gains.
    pub operands: DType,
    /// A certain variant. Otherwise `FQGAN_KERNEL=conv2d:NAME` decides where that variant can, else the shape.
    pub variant: Option<Variant>,
}

impl Pack {
    /// The variant and its operands for a weight of this shape.
    ///
    /// # Errors
    /// `InvalidArgument` for an unknown name in `FQGAN_KERNEL`, `Unsupported` when `self.variant` cannot.
    fn choose(&self, cx: Cx<'_>, [k, c, r, s]: [usize; 4]) -> Result<(Variant, DType)> {
        let takes = |v: Variant, operands: DType| v.takes(&self.op, operands, [k, c, r, s]);
        if let Some(variant) = self.variant {
            return if takes(variant, self.operands) {
                Ok((variant, self.operands))
            } else {
                Err(Error::unsupported(format!(
                    "conv2d:{} of {} by a kernel of {r} x {s} over {c} channels: {:?}",
                    variant.name(),
                    self.operands,
                    self.op
                )))
            };
        }
        let cpu = cx.cpu("packing a weight of conv2d")?;
        // Three channels of a photograph are cheap, and their rounding is all of the picture's.
        let narrow = self.operands == DType::BF16 && cpu.isa.multiplies_bf16() && c >= 16;
        let operands = if narrow && c.is_multiple_of(2) { DType::BF16 } else { DType::F32 };
        if let Some(name) = exec::forced_variant("conv2d") {
            let names = || Variant::ALL.map(Variant::name).join(", ");
            let forced = Variant::ALL.into_iter().find(|v| v.name() == name).ok_or_else(|| {
                Error::invalid(format!("FQGAN_KERNEL: conv2d has no {name:?}, expected one of {}", names()))
            })?;
            if takes(forced, operands) {
                return Ok((forced, operands));
            }
        }
        let panels = |k: usize| k.div_ceil(cpu::PANEL);
        if takes(Variant::Scatter, DType::F32) && 2 * panels(k * r * s) <= r * s * panels(k) {
            return Ok((Variant::Scatter, DType::F32));
        }
        // With fewer channels the transforms cost more than they save.
        let wide = c >= 16 && k >= 16 && !self.compact;
        let transforms = [
            Variant::WinogradUp,
            Variant::Winograd6,
            Variant::WinogradLate,
            Variant::Winograd,
            Variant::WinogradDown,
        ];
        // Where a network has these many weights, it has few pixels: the wide tiles would be half empty.
        let pays = |v: Variant| match v {
            Variant::Winograd6 => c * k <= SMALL,
            Variant::WinogradLate => c * k >= if self.few { LARGE_OF_FEW } else { LARGE },
            _ => true,
        };
        let fits = |v: &Variant| takes(*v, operands) && pays(*v);
        let variant = transforms.into_iter().find(|v| wide && fits(v)).unwrap_or(Variant::Direct);
        Ok((variant, operands))
    }
}

/// The most elements that a mapped weight (k, c, 3, 3) of f32 is packed into, unless it is to be compact.
pub fn most_elements([k, c]: [usize; 2]) -> usize {
    let terms = match k.saturating_mul(c) {
        ..=SMALL => 64,
        LARGE.. if cpu::late_takes([k, c]) => return 0,
        _ => 36,
    };
    k.next_multiple_of(cpu::PANEL).saturating_mul(c).saturating_mul(terms)
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
    #[cfg(feature = "cuda")]
    if let Device::Cuda(cuda) = cx.device {
        return super::cuda::pack(cuda, weight, pack.operands);
    }
    let (variant, operands) = pack.choose(cx, shape)?;
    if variant == Variant::WinogradLate {
        let desc =
            Desc { layout: Layout::Packed(variant as u16), ..Desc::plain(*weight.shape(), DType::F32) };
        return Tensor::new(desc, weight.to_f32()?.storage().clone());
    }
    let elements = cpu::packed_elements(variant, operands, shape)
        .ok_or_else(|| Error::invalid(format!("conv2d weight {shape:?} is too large to pack")))?;
    let mut packed = Tensor::new(
        Desc { shape: *weight.shape(), dtype: operands, layout: Layout::Packed(variant as u16) },
        memory.allocate(elements * operands.size())?,
    )?;
    cpu::pack(variant, cx, cx.cpu("packing a weight of conv2d")?, weight, shape, &mut packed)?;
    Ok(packed)
}
