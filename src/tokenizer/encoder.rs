use super::adapter::{self, Adapter};
use super::blocks::{AttnBlock, ResnetBlock, group_norm};
use super::config::Config;
use crate::error::Result;
use crate::exec::Exec;
use crate::nn::{Activation, Conv2d, GroupNorm, Linear, Params};
use std::sync::Arc;

/// The CNN that all branches share, and the branches.
pub(super) struct Encoder {
    conv_in: Conv2d,
    conv_blocks: Vec<Level>,
    mid: (Arc<ResnetBlock>, Arc<AttnBlock>, Arc<ResnetBlock>),
    branches: Vec<Branch>,
}

struct Level {
    res: Vec<Arc<ResnetBlock>>,
    attn: Vec<Arc<AttnBlock>>,
    downsample: Option<Conv2d>,
}

/// What leads from the shared features to one sub-codebook's latents.
struct Branch {
    adapter: Option<Adapter>,
    norm_out: GroupNorm,
    conv_out: Conv2d,
    quant_conv: Linear,
}

impl Encoder {
    /// In bf16, the layers that take the time are: the adapters, and of the levels all but the two deepest with what leads
    /// to them. An error of the others would cost more codes than it saves milliseconds.
    pub(super) fn new(top: &Params<'_>, config: &Config) -> Result<Encoder> {
        let at = top.scope("encoder");
        let exact = at.exact();
        let deep = exact.deep();
        let last = config.ch_mult.len() - 1;
        let mut width = config.ch;
        let mut conv_blocks = Vec::new();
        for (i, &mult) in config.ch_mult.iter().enumerate() {
            let at = if i + 1 >= last { &deep } else { &at }.scope(format!("conv_blocks.{i}"));
            let (mut res, mut attn) = (Vec::new(), Vec::new());
            for j in 0..config.num_res_blocks {
                res.push(ResnetBlock::new(&at.scope(format!("res.{j}")), width, config.ch * mult)?);
                width = config.ch * mult;
                if i == last {
                    attn.push(AttnBlock::new(&at.scope(format!("attn.{j}")), width)?);
                }
            }
            let downsample = match i {
                i if i == last => None,
                _ => Some(Conv2d::downsample(&at.scope("downsample.conv"), width)?),
            };
            conv_blocks.push(Level { res, attn, downsample });
        }
        Ok(Encoder {
            conv_in: Conv2d::new(&exact.scope("conv_in"), 3, config.ch)?,
            conv_blocks,
            mid: (
                ResnetBlock::new(&exact.scope("mid.0"), width, width)?,
                AttnBlock::new(&exact.scope("mid.1"), width)?,
                ResnetBlock::new(&exact.scope("mid.2"), width, width)?,
            ),
            branches: config
                .branches
                .iter()
                .map(|branch| Branch::new(top, config, branch, width))
                .collect::<Result<_>>()?,
        })
    }

    /// Pixels x (n, H, W, 3) in [-1, 1] to the features (n, h, w, c) that the branches share.
    pub(super) fn features<E: Exec>(&self, e: &E, x: &E::Value) -> Result<E::Value> {
        let mut x = self.conv_in.forward(e, x)?;
        for level in &self.conv_blocks {
            for (j, res) in level.res.iter().enumerate() {
                x = res.forward(e, x)?;
                if let Some(attn) = level.attn.get(j) {
                    x = attn.forward(e, x)?;
                }
            }
            if let Some(downsample) = &level.downsample {
                x = downsample.forward(e, &x.x)?;
            }
        }
        x = self.mid.0.forward(e, x)?;
        x = self.mid.1.forward(e, x)?;
        Ok(self.mid.2.forward(e, x)?.x)
    }

    /// Features to the latents (n, h, w, d), before normalisation, of one branch.
    pub(super) fn latents<E: Exec>(&self, e: &E, features: &E::Value, branch: usize) -> Result<E::Value> {
        let branch = &self.branches[branch];
        let x = Activation::from(match &branch.adapter {
            Some(adapter) => adapter.forward(e, features)?,
            None => features.clone(),
        });
        let norm = branch.norm_out.coefficients(e, &x)?;
        let x = branch.conv_out.forward_normed(e, &x.x, &norm)?;
        branch.quant_conv.forward(e, &x.x)
    }
}

impl Branch {
    fn new(
        top: &Params<'_>,
        config: &Config,
        branch: &super::config::Branch,
        width: usize,
    ) -> Result<Branch> {
        let exact = top.exact();
        let at = exact.scope("encoder");
        let suffix = branch.suffix();
        Ok(Branch {
            adapter: match &branch.adapter {
                Some(adapter) => {
                    let shape = adapter::Shape {
                        width,
                        hidden: adapter.hidden,
                        heads: adapter.heads,
                        layers: adapter.layers,
                        grid: config.image_size / config.downsample(),
                    };
                    Some(Adapter::new(&top.scope(&adapter.prefix), shape)?)
                }
                None => None,
            },
            norm_out: group_norm(&at, &format!("norm_out{suffix}"), width)?,
            conv_out: Conv2d::new(&at.scope(format!("conv_out{suffix}")), width, config.z_channels)?
                .without_sums(),
            quant_conv: Linear::conv1x1(
                &exact.scope(format!("quant_conv{suffix}")),
                config.z_channels,
                config.code_dim,
            )?,
        })
    }
}
