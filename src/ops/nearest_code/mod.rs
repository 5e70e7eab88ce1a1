//! Vector quantisation: the index of the codebook row that is nearest to a latent, both L2-normalised. Between
//! unit vectors |z - e|^2 = 2 - 2 z.e, so the nearest is the one of the largest dot product.

mod cpu;
#[cfg(feature = "cuda")]
mod cuda;

use super::check::{expect_type, inputs};
use super::unit::unit;
use crate::backend::Device;
use crate::error::{Error, Result};
use crate::exec::{Cost, Cx, Op, Prepare};
use crate::tensor::{Allocate, DType, Desc, HeapAllocator, Layout, Shape, Tensor};

/// Codes a panel: a vector of the widest level, a whole number of vectors of the others.
const PANEL: usize = 16;
/// The layout that [`Codebook`] makes: for each panel of 16 codes d + 1 rows of 16 values, first the start of
/// their scores, then their entries, a dimension a row. Codes past the last score minus infinity.
const PANELS: Layout = Layout::Packed(1);
/// Beyond this, an f32 lane could not count the panels.
const MOST: usize = 1 << 26;

/// argmin over e of |z / max(|z|, 1e-12) - e / max(|e|, 1e-12)|^2, the first of equals.
///
/// Inputs: z (..., d) f32, or on a GPU bf16, as the encoder gives it; codebook (N, d) as [`Codebook`] packs it, or plain
/// f32, which is then packed in the call. Output: (...) u32.
///
/// # Errors
/// `InvalidArgument`, naming the row, when a latent holds a NaN or an infinity.
#[derive(Clone, Copy, Debug)]
pub struct NearestCode;

impl Op for NearestCode {
    const NAME: &'static str = "nearest_code";

    fn outputs(&self, all: &[Desc]) -> Result<[Desc; 1]> {
        let [z, codebook] = inputs::<2>(all)?;
        expect_type("z", &z, &[DType::F32, DType::BF16])?;
        if !matches!(codebook.layout, PANELS | Layout::Plain) || codebook.dtype != DType::F32 {
            return Err(Error::unsupported(format!("codebook is {codebook}, expected packed or plain f32")));
        }
        let (Some((&d, leading)), &[n, width]) = (z.shape.split_last(), &codebook.shape[..]) else {
            return Err(Error::invalid(format!(
                "z is {z} and codebook {codebook}, expected (..., d), (N, d)"
            )));
        };
        if n == 0 || width == 0 {
            return Err(Error::invalid(format!("codebook has shape {}: no code to choose", codebook.shape)));
        }
        if d != width {
            return Err(Error::invalid(format!("z has {d} dimensions, the codebook {width}")));
        }
        let shape = Shape::try_from_slice(leading).ok_or_else(|| Error::internal("too many axes"))?;
        Ok([Desc::plain(shape, DType::U32)])
    }

    fn cost(&self, all: &[Desc]) -> Cost {
        let (z, codebook) = (all[0].shape.count() as f64, &all[1].shape);
        Cost { flops: 2.0 * z * codebook[0] as f64, bytes: 4.0 * (z + codebook.count() as f64) }
    }

    fn forward(&self, cx: Cx<'_>, all: &[&Tensor], outputs: &mut [Tensor; 1]) -> Result<()> {
        let packed;
        let codebook = match (all[1].desc().layout, cx.device) {
            (Layout::Packed(_), _) => all[1],
            (Layout::Plain, Device::Cpu(_)) => {
                packed = Codebook.prepare(cx, all[1])?;
                &packed
            }
            #[cfg(feature = "cuda")]
            (Layout::Plain, Device::Cuda(cuda)) => {
                packed = cuda::pack(cx, cuda, all[1], PANELS)?;
                &packed
            }
        };
        match cx.device {
            #[cfg(feature = "cuda")]
            Device::Cuda(cuda) => cuda::nearest_code(cx, cuda, all[0], codebook, &mut outputs[0]),
            Device::Cpu(_) if all[0].dtype() != DType::F32 => Err(cx.unsupported(Self::NAME, all[0].desc())),
            Device::Cpu(cpu) => cpu::nearest_code(cx, cpu, all[0], codebook, &mut outputs[0]),
        }
    }
}

/// Packs a codebook (N, d) of raw rows of any floating type, N and d at least 1, for [`NearestCode`].
#[derive(Clone, Copy, Debug)]
pub struct Codebook;

impl Prepare for Codebook {
    fn prepare(&self, cx: Cx<'_>, weight: &Tensor) -> Result<Tensor> {
        let [n, d] = super::check::dims("codebook", weight.desc())?;
        if n == 0 || n > MOST || d == 0 {
            return Err(Error::invalid(format!(
                "codebook has shape {}, expected 1 to {MOST} codes of at least 1 dimension",
                weight.shape()
            )));
        }
        let raw = if weight.storage().on_device() { cx.download(weight)? } else { weight.clone() };
        let raw = raw.to_f32()?;
        let raw = raw.data::<f32>()?;
        let panels = n.div_ceil(PANEL);
        let bytes = (d + 1).checked_mul(panels * PANEL * 4);
        let bytes = bytes.ok_or_else(|| Error::invalid("codebook too large to address"))?;
        let flat = Desc::plain([panels, d + 1, PANEL], DType::F32);
        let mut packed = Tensor::new(flat, HeapAllocator.allocate(bytes)?)?;
        let mut row = vec![0.0; d];
        for (index, panel) in packed.data_mut::<f32>()?.chunks_exact_mut((d + 1) * PANEL).enumerate() {
            for lane in 0..PANEL {
                let code = index * PANEL + lane;
                if code >= n {
                    panel[lane] = f32::NEG_INFINITY;
                    continue;
                }
                let norm = unit(&raw[code * d..][..d], &mut row)
                    .ok_or_else(|| Error::invalid(format!("codebook row {code} holds NaN or infinity")))?;
                // A row too small to become a unit vector is nearer than its dot product says: distances count
                // -|e|^2 / 2 too. For all others that is the same constant, left out.
                panel[lane] =
                    if norm < 1e-12 { (0.5 - 0.5 * (norm * 1e12) * (norm * 1e12)) as f32 } else { 0.0 };
                for (dimension, &v) in row.iter().enumerate() {
                    panel[(dimension + 1) * PANEL + lane] = v;
                }
            }
        }
        let packed = Tensor::new(
            Desc { shape: *weight.shape(), dtype: DType::F32, layout: PANELS },
            packed.storage().clone(),
        )?;
        cx.device.keep(&packed)
    }
}
