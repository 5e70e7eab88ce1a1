//! StyleGAN2's discriminator (Karras et al., 2020): residual blocks that blur before they make the picture smaller, and one
//! word about the whole of it. Weights have the names of the widespread PyTorch implementation and are used times
//! 1 / sqrt(inputs of an output), the equalised learning rate.
//!
//! There the activation is sqrt(2) times the leaky ReLU, and a block's sum is divided by sqrt(2). Here those factors are
//! part of the next layer's: it is linear, and so the result is the same.

use crate::error::{Error, Result};
use crate::exec::{Exec, Param};
use crate::nn::{Numerics, Params};
use crate::ops::activation::LeakyRelu;
use crate::ops::add::Add;
use crate::ops::batch_deviation::BatchDeviation;
use crate::ops::blur::Blur;
use crate::ops::concat::Concat;
use crate::ops::conv2d::Conv2d;
use crate::ops::scale::Scale;
use crate::weights::infer::{count, extents};
use crate::weights::{Manifest, Source};
use std::f64::consts::{FRAC_1_SQRT_2, SQRT_2};

/// A name that its files have.
pub(super) const FIRST: &str = "convs.0.0.weight";
const LEAKY: LeakyRelu = LeakyRelu { slope: 0.2 };
/// Side of the last feature map.
const LAST: usize = 4;
/// The most channels that a fresh network has.
const MOST: usize = 512;
/// Pictures whose differences are looked at together.
const SET: BatchDeviation = BatchDeviation { group: 4 };

/// The network.
pub struct StyleGan2 {
    from_rgb: Layer,
    blocks: Vec<Block>,
    last: Layer,
    linear: [Layer; 2],
}

/// Blur or not, convolution, leaky ReLU or not.
struct Layer {
    weight: Param,
    bias: Param,
    shape: [usize; 4],
    scale: f32,
    op: Conv2d,
    blur: Option<Blur>,
    active: bool,
}

struct Block {
    first: Layer,
    second: Layer,
    skip: Layer,
}

/// How a layer's weight is laid out, and what becomes of it: its names, its shape as a convolution's, `gain`.
struct Plan<'a> {
    weight: &'a str,
    bias: Option<&'a str>,
    shape: [usize; 4],
    gain: f64,
    op: Conv2d,
    blur: Option<Blur>,
    active: bool,
}

impl Layer {
    fn new(at: &Params<'_>, plan: Plan<'_>) -> Result<Layer> {
        let Plan { weight, bias, shape, gain, op, blur, active } = plan;
        let [k, c, r, s] = shape;
        let stored: &[usize] = if weight.starts_with("final_linear") { &[k, c * r * s] } else { &shape };
        Ok(Layer {
            weight: at.get(weight, stored)?,
            bias: match bias {
                Some(name) => at.get(name, &[k])?,
                None => at.zeros(format!("{weight}.bias"), k)?,
            },
            shape,
            scale: (gain / ((c * r * s) as f64).sqrt()) as f32,
            op,
            blur,
            active,
        })
    }

    fn forward<E: Exec>(&self, e: &E, x: &E::Value) -> Result<E::Value> {
        let weight = e.reshape(&e.param(&self.weight)?, &self.shape)?;
        let [weight] = e.apply(Scale(self.scale), &[&weight])?;
        let bias = e.param(&self.bias)?;
        let [y] = match self.blur {
            Some(blur) => {
                let [x] = e.apply(blur, &[x])?;
                e.apply(self.op, &[&x, &weight, &bias])?
            }
            None => e.apply(self.op, &[x, &weight, &bias])?,
        };
        if !self.active {
            return Ok(y);
        }
        let [y] = e.apply(LEAKY, &[&y])?;
        Ok(y)
    }
}

impl StyleGan2 {
    /// The network in a file, of as many blocks and channels as there are.
    ///
    /// # Errors
    /// `Format` when a weight is missing or has a wrong shape.
    pub fn open(source: &Source) -> Result<StyleGan2> {
        let file = source.listing();
        let at = Params::new(source, Numerics::default());
        let [width, ..] = extents::<4>(file, FIRST)?;
        let (none, same) = (Conv2d { padding: [0; 4], ..Conv2d::same(1) }, Conv2d::same(3));
        let down = Conv2d { stride: 2, ..none };
        let from_rgb = Layer::new(
            &at,
            Plan {
                weight: FIRST,
                bias: Some("convs.0.1.bias"),
                shape: [width, 3, 1, 1],
                gain: 1.0,
                op: none,
                blur: None,
                active: true,
            },
        )?;
        let mut from = width;
        let mut blocks = Vec::new();
        for i in 1..count(file, "convs.") {
            let name = |rest: &str| format!("convs.{i}.{rest}");
            let [to, ..] = extents::<4>(file, &name("conv2.1.weight"))?;
            // What the first activation was not multiplied by; later blocks are sums of their own size.
            let gain = if i == 1 { SQRT_2 } else { 1.0 };
            let layer = |names: [Option<&str>; 2], shape, gain, op, blur, active| {
                let [weight, bias] = names.map(|rest| rest.map(name));
                let weight = &weight.unwrap_or_default();
                Layer::new(&at, Plan { weight, bias: bias.as_deref(), shape, gain, op, blur, active })
            };
            let names = [Some("conv1.0.weight"), Some("conv1.1.bias")];
            let first = layer(names, [from, from, 3, 3], gain, same, None, true)?;
            // The second's own activation would be multiplied by sqrt(2) and the sum divided by it.
            let names = [Some("conv2.1.weight"), Some("conv2.2.bias")];
            let blur = Some(Blur { before: 2, after: 2 });
            let second = layer(names, [to, from, 3, 3], SQRT_2, down, blur, true)?;
            let blur = Some(Blur { before: 1, after: 1 });
            let names = [Some("skip.1.weight"), None];
            let skip = layer(names, [to, from, 1, 1], gain * FRAC_1_SQRT_2, down, blur, false)?;
            blocks.push(Block { first, second, skip });
            from = to;
        }
        if blocks.is_empty() {
            return Err(Error::format(format!("{}: a discriminator without a block", source.name())));
        }
        let rest = |weight, bias, shape, gain, op, active| {
            Layer::new(&at, Plan { weight, bias: Some(bias), shape, gain, op, blur: None, active })
        };
        let last = rest("final_conv.0.weight", "final_conv.1.bias", [from, from + 1, 3, 3], 1.0, same, true)?;
        // A linear layer of all of the last feature map is a convolution of its size.
        let first = rest(
            "final_linear.0.weight",
            "final_linear.0.bias",
            [from, from, LAST, LAST],
            SQRT_2,
            none,
            true,
        )?;
        let second =
            rest("final_linear.1.weight", "final_linear.1.bias", [1, from, 1, 1], SQRT_2, none, false)?;
        Ok(StyleGan2 { from_rgb, blocks, last, linear: [first, second] })
    }

    /// Whether a name is a weight's: the blur's filters that files have are no weights.
    pub(super) fn owns(&self, name: &str) -> bool {
        let begins = ["convs.", "final_conv.", "final_linear."].iter().any(|begin| name.starts_with(begin));
        begins && (name.ends_with(".weight") || name.ends_with(".bias"))
    }

    /// Logits (n, 1, 1, 1) of pictures (n, side, side, 3), `side` being 4 times 2 a block.
    ///
    /// # Errors
    /// The operations'.
    pub fn forward<E: Exec>(&self, e: &E, pictures: &E::Value) -> Result<E::Value> {
        let mut x = self.from_rgb.forward(e, pictures)?;
        for block in &self.blocks {
            let h = block.second.forward(e, &block.first.forward(e, &x)?)?;
            let skip = block.skip.forward(e, &x)?;
            [x] = e.apply(Add, &[&h, &skip])?;
        }
        let [deviation] = e.apply(SET, &[&x])?;
        let [x] = e.apply(Concat, &[&x, &deviation])?;
        let x = self.last.forward(e, &x)?;
        self.linear[1].forward(e, &self.linear[0].forward(e, &x)?)
    }

    /// The weights of a fresh network for pictures of `side` pixels: `width` channels at first, twice as many after each
    /// block, 512 at most.
    ///
    /// # Errors
    /// `InvalidArgument` when `side` is not a power of two from 8 on, or `width` is 0.
    pub fn manifest(side: usize, width: usize) -> Result<Manifest> {
        if !side.is_power_of_two() || side < 2 * LAST || width == 0 {
            return Err(Error::invalid(format!(
                "StyleGAN2's discriminator of {width} channels for pictures of {side} pixels: expected some channels, and a \
                 power of two of at least {}",
                2 * LAST
            )));
        }
        let mut m = Manifest::default();
        let mut from = width;
        m.tensor(FIRST, &[width, 3, 1, 1]);
        m.tensor("convs.0.1.bias", &[width]);
        for i in 1..=(side / LAST).ilog2() {
            let to = (2 * from).min(MOST.max(width));
            m.tensor(format!("convs.{i}.conv1.0.weight"), &[from, from, 3, 3]);
            m.tensor(format!("convs.{i}.conv1.1.bias"), &[from]);
            m.tensor(format!("convs.{i}.conv2.1.weight"), &[to, from, 3, 3]);
            m.tensor(format!("convs.{i}.conv2.2.bias"), &[to]);
            m.tensor(format!("convs.{i}.skip.1.weight"), &[to, from, 1, 1]);
            from = to;
        }
        m.tensor("final_conv.0.weight", &[from, from + 1, 3, 3]);
        m.tensor("final_conv.1.bias", &[from]);
        m.layer("final_linear.0", &[from, from * LAST * LAST]);
        m.layer("final_linear.1", &[1, from]);
        Ok(m)
    }
}
