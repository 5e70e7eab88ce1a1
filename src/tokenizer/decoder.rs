use super::blocks::{AttnBlock, ResnetBlock, group_norm};
use super::config::Config;
use crate::error::Result;
use crate::exec::Exec;
use crate::nn::{Conv2d, GroupNorm, Linear, Params};
use std::sync::Arc;

/// From the sub-codebooks' rows, side by side in the channels, to pixels.
pub(super) struct Decoder {
    post_quant_conv: Linear,
    conv_in: Conv2d,
    mid: (Arc<ResnetBlock>, Arc<AttnBlock>, Arc<ResnetBlock>),
    conv_blocks: Vec<Level>,
    norm_out: GroupNorm,
    conv_out: Conv2d,
}

struct Level {
    res: Vec<Arc<ResnetBlock>>,
    attn: Vec<Arc<AttnBlock>>,
    upsample: Option<Conv2d>,
}

impl Decoder {
    /// In bf16, the levels above the deepest are: they take the time, and errors made deeper spread further.
    pub(super) fn new(top: &Params<'_>, config: &Config) -> Result<Decoder> {
        let at = top.scope("decoder");
        let exact = at.exact();
        let levels = config.ch_mult.len();
        let mut width = config.ch * config.ch_mult[levels - 1];
        let deepest = width;
        let mut conv_blocks = Vec::new();
        for (i, &mult) in config.ch_mult.iter().rev().enumerate() {
            let at = if i == 0 { &exact } else { &at }.scope(format!("conv_blocks.{i}"));
            let (mut res, mut attn) = (Vec::new(), Vec::new());
            for j in 0..=config.num_res_blocks {
                res.push(ResnetBlock::new(&at.scope(format!("res.{j}")), width, config.ch * mult)?);
                width = config.ch * mult;
                if i == 0 {
                    attn.push(AttnBlock::new(&at.scope(format!("attn.{j}")), width)?);
                }
            }
            let upsample = if i + 1 == levels {
                None
            } else {
                Some(Conv2d::upsample(&at.scope("upsample.conv"), width)?)
            };
            conv_blocks.push(Level { res, attn, upsample });
        }
        Ok(Decoder {
            post_quant_conv: Linear::conv1x1(
                &top.exact().scope("post_quant_conv"),
                config.branches.len() * config.code_dim,
                config.z_channels,
            )?,
            conv_in: Conv2d::new(&exact.scope("conv_in"), config.z_channels, deepest)?,
            mid: (
                ResnetBlock::new(&exact.scope("mid.0"), deepest, deepest)?,
                AttnBlock::new(&exact.scope("mid.1"), deepest)?,
                ResnetBlock::new(&exact.scope("mid.2"), deepest, deepest)?,
            ),
            conv_blocks,
            norm_out: group_norm(&at, "norm_out", width)?,
            conv_out: Conv2d::new(&at.scope("conv_out"), width, 3)?.without_sums(),
        })
    }

    /// Embeddings (n, h, w, k * d) to pixels (n, H, W, 3), about [-1, 1].
    pub(super) fn forward<E: Exec>(&self, e: &E, embeddings: E::Value) -> Result<E::Value> {
        let x = self.post_quant_conv.forward(e, &embeddings)?;
        let mut x = self.conv_in.forward(e, &x)?;
        x = self.mid.0.forward(e, x)?;
        x = self.mid.1.forward(e, x)?;
        x = self.mid.2.forward(e, x)?;
        for level in &self.conv_blocks {
            for (j, res) in level.res.iter().enumerate() {
                x = res.forward(e, x)?;
                if let Some(attn) = level.attn.get(j) {
                    x = attn.forward(e, x)?;
                }
            }
            if let Some(upsample) = &level.upsample {
                x = upsample.forward(e, &x.x)?;
            }
        }
        let norm = self.norm_out.coefficients(e, &x)?;
        Ok(self.conv_out.forward_normed(e, &x.x, &norm)?.x)
    }
}
