use super::names::{self, join};
use super::preprocess::{Colours, resize};
use super::vit::{Block, Names, Shape};
use crate::error::Result;
use crate::exec::{Exec, Param};
use crate::nn::{Conv2d, LayerNorm};
use crate::ops::add::Add;
use crate::ops::class_token::{Prepend, Tokens};
use crate::ops::linear::Activation;
use crate::weights::infer::{count, extents};
use crate::weights::{Listing, Manifest, Source};

const CLASS: &str = "embeddings.class_embedding";
const EPS: f32 = 1e-5;
const MEAN: [f64; 3] = [0.481_454_66, 0.457_827_5, 0.408_210_73];
const STD: [f64; 3] = [0.268_629_54, 0.261_302_58, 0.275_777_11];
const NAMES: Names = Names {
    norm1: "layer_norm1",
    attention: ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.out_proj"],
    norm2: "layer_norm2",
    mlp: ["mlp.fc1", "mlp.fc2"],
    scale: None,
};

/// The extents of a tower.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClipShape {
    /// Side of its pictures in pixels.
    pub side: usize,
    /// Side of a patch.
    pub patch: usize,
    /// Elements of a token; an attention head has 64 of them.
    pub width: usize,
    /// Width of the mlp of a block.
    pub hidden: usize,
    /// Blocks.
    pub layers: usize,
}

impl ClipShape {
    /// The weights of such a tower, without a prefix.
    pub fn manifest(&self) -> Manifest {
        let ClipShape { side, patch, width, hidden, layers } = *self;
        let mut m = Manifest::default();
        m.tensor(CLASS, &[width]);
        m.tensor("embeddings.patch_embedding.weight", &[width, 3, patch, patch]);
        m.tensor("embeddings.position_embedding.weight", &[(side / patch).pow(2) + 1, width]);
        m.layer("pre_layrnorm", &[width]);
        for i in 0..layers {
            let at = format!("encoder.layers.{i}");
            for norm in [NAMES.norm1, NAMES.norm2] {
                m.layer(format!("{at}.{norm}"), &[width]);
            }
            for square in NAMES.attention {
                m.layer(format!("{at}.{square}"), &[width, width]);
            }
            let [fc1, fc2] = NAMES.mlp;
            m.layer(format!("{at}.{fc1}"), &[hidden, width]);
            m.layer(format!("{at}.{fc2}"), &[width, hidden]);
        }
        m
    }
}

/// CLIP's picture tower of any size, as Hugging Face names it, with or without `vision_model.` before the names.
pub struct Clip {
    colours: Colours,
    side: usize,
    patch_embedding: Conv2d,
    class_embedding: Param,
    position_embedding: Param,
    pre_layrnorm: LayerNorm,
    layers: Vec<Block>,
    width: usize,
}

impl Clip {
    /// Whether names are those of a CLIP tower.
    pub fn recognizes(file: &Listing) -> bool {
        names::prefix(file, CLASS).is_some()
    }

    /// The tower in a file.
    ///
    /// # Errors
    /// `Format` when a weight is missing or has a wrong shape.
    pub fn open(source: &Source) -> Result<Clip> {
        let (at, prefix) = names::tower(source, CLASS)?;
        let file = source.listing();
        let [width] = extents(file, &join(prefix, CLASS))?;
        let [_, _, patch, _] = extents(file, &join(prefix, "embeddings.patch_embedding.weight"))?;
        let [positions, _] = extents(file, &join(prefix, "embeddings.position_embedding.weight"))?;
        let [hidden, _] = extents(file, &join(prefix, "encoder.layers.0.mlp.fc1.weight"))?;
        let embeddings = at.scope("embeddings");
        let shape = Shape { width, hidden, eps: EPS, activation: Activation::QuickGelu };
        Ok(Clip {
            colours: Colours::standard(MEAN, STD)?,
            side: (positions - 1).isqrt() * patch,
            patch_embedding: Conv2d::square(
                &embeddings.scope("patch_embedding"),
                [3, width],
                [patch, patch, 0],
                false,
            )?,
            class_embedding: embeddings.get("class_embedding", &[width])?,
            position_embedding: embeddings.get("position_embedding.weight", &[positions, width])?,
            // As the checkpoints spell it.
            pre_layrnorm: LayerNorm::new(&at.scope("pre_layrnorm"), width, EPS)?,
            layers: (0..count(file, &join(prefix, "encoder.layers.")))
                .map(|i| Block::new(&at.scope(format!("encoder.layers.{i}")), &NAMES, shape))
                .collect::<Result<_>>()?,
            width,
        })
    }

    /// Elements of a class feature.
    pub fn width(&self) -> usize {
        self.width
    }

    /// The class token (n, width) after the last layer, before the final norm.
    ///
    /// # Errors
    /// The operations'.
    pub fn class_features<E: Exec>(&self, e: &E, pictures: &E::Value) -> Result<E::Value> {
        let x = self.colours.forward(e, &resize(e, pictures, self.side)?)?;
        let patches = self.patch_embedding.forward(e, &x)?.x;
        let shape = e.desc(&patches).shape;
        let patches = e.reshape(&patches, &[shape[0], shape[1] * shape[2], self.width])?;
        let [tokens] = e.apply(Prepend, &[&patches, &e.param(&self.class_embedding)?])?;
        let [tokens] = e.apply(Add, &[&tokens, &e.param(&self.position_embedding)?])?;
        let mut x = self.pre_layrnorm.forward(e, &tokens)?;
        for layer in &self.layers {
            x = layer.forward(e, &x)?;
        }
        let [class] = e.apply(Tokens { first: 0, count: 1 }, &[&x])?;
        e.reshape(&class, &[shape[0], self.width])
    }
}
