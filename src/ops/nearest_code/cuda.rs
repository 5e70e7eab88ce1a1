use super::PANEL;
use crate::backend::cuda::{Arg, Cuda, Launch};
use crate::error::{Error, Result};
use crate::exec::Cx;
use crate::ops::launch::{Wrong, int, typed};
use crate::tensor::{DType, Desc, Layout, Tensor};

const THREADS: u32 = 128;
/// Latents of a thread.
const LATENTS: usize = 4;
/// What the kernel without a known width has room for.
const WIDEST: usize = 511;
/// Blocks that fill a device; codes are split for the rest.
const BLOCKS: usize = 264;
/// Panels of a split at least: what a block brings to shared memory at a time, for 8 dimensions.
const PANELS: usize = 56;

pub(super) fn nearest_code(
    cx: Cx<'_>,
    cuda: &Cuda,
    z: &Tensor,
    codebook: &Tensor,
    out: &mut Tensor,
) -> Result<()> {
    let [codes, d] = [codebook.shape()[0], codebook.shape()[1]];
    let rows = z.shape().count() / d;
    if d > WIDEST {
        return Err(Error::unsupported(format!("nearest_code of {d} dimensions on a GPU")));
    }
    let panels = codes.div_ceil(PANEL);
    let blocks = rows.div_ceil(LATENTS * THREADS as usize);
    let each = panels.div_ceil(BLOCKS.div_ceil(blocks.max(1)).max(1)).max(PANELS);
    let splits = panels.div_ceil(each);
    let mut found = cx.workspace.tensor(Desc::plain([splits, rows], DType::I64))?;
    let mut wrong = Wrong::new(cx, cuda)?;
    let mut unit;
    let (kernel, z) = match d {
        8 => (typed(z.dtype(), ["fqgan_nearest_code_search8_f32", "fqgan_nearest_code_search8_bf16"]), z),
        _ => {
            unit = cx.workspace.tensor(Desc::plain([d, rows], DType::F32))?;
            let args = [Arg::read(z)?, Arg::write(&mut unit)?, rows.into(), int(d)?, wrong.arg()?];
            let kernel = typed(z.dtype(), ["fqgan_nearest_code_unit_f32", "fqgan_nearest_code_unit_bf16"]);
            cuda.launch(kernel, Launch::over(rows, THREADS), &args)?;
            ("fqgan_nearest_code_search_f32", &unit)
        }
    };
    let args = [
        Arg::read(z)?,
        Arg::read(codebook)?,
        Arg::write(&mut found)?,
        rows.into(),
        int(d)?,
        int(panels)?,
        int(each)?,
        wrong.arg()?,
    ];
    cuda.launch(kernel, Launch::blocks(blocks, THREADS).rows(splits), &args)?;
    let args = [Arg::read(&found)?, Arg::write(out)?, rows.into(), int(splits)?];
    cuda.launch("fqgan_nearest_code_choose_u32", Launch::over(rows, THREADS), &args)?;
    match wrong.first(cx, cuda)? {
        None => Ok(()),
        Some(row) => Err(Error::invalid(format!("row {row} of {rows} latents holds NaN or infinity"))),
    }
}

/// A codebook of f32 in panels.
pub(super) fn pack(cx: Cx<'_>, cuda: &Cuda, codebook: &Tensor, layout: Layout) -> Result<Tensor> {
    let [codes, d] = [codebook.shape()[0], codebook.shape()[1]];
    let panels = codes.div_ceil(PANEL);
    let mut packed = cx.workspace.tensor(Desc::plain([panels, d + 1, PANEL], DType::F32))?;
    let mut wrong = Wrong::new(cx, cuda)?;
    let args = [Arg::read(codebook)?, Arg::write(&mut packed)?, int(codes)?, int(d)?, wrong.arg()?];
    cuda.launch("fqgan_nearest_code_pack_f32", Launch::over(panels * PANEL, THREADS), &args)?;
    if let Some(row) = wrong.first(cx, cuda)? {
        return Err(Error::invalid(format!("codebook row {row} holds NaN or infinity")));
    }
    Tensor::new(Desc { layout, ..*codebook.desc() }, packed.storage().clone())
}
