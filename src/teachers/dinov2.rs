use super::names::{self, join};
use super::preprocess::{Colours, resize};
use super::vit::{Block, Names, Shape};
use crate::error::{Error, Result};
use crate::exec::{Exec, Param};
use crate::nn::{Conv2d, LayerNorm};
use crate::ops::add::Add;
use crate::ops::class_token::{Prepend, Tokens};
use crate::ops::linear::Activation;
use crate::ops::resize_grid::ResizeGrid;
use crate::weights::infer::{count, extents};
use crate::weights::{Listing, Source};

const CLASS: &str = "embeddings.cls_token";
const EPS: f32 = 1e-6;
/// Side of the pictures that the semantic loss shows it.
const SIDE: usize = 224;
const MEAN: [f64; 3] = [0.485, 0.456, 0.406];
const STD: [f64; 3] = [0.229, 0.224, 0.225];

/// The published files' names, and those of newer versions of transformers.
const NAMES: [Names; 2] = [
    Names {
        norm1: "norm1",
        attention: [
            "attention.attention.query",
            "attention.attention.key",
            "attention.attention.value",
            "attention.output.dense",
        ],
        norm2: "norm2",
        mlp: ["mlp.fc1", "mlp.fc2"],
        scale: Some(["layer_scale1.lambda1", "layer_scale2.lambda1"]),
    },
    Names {
        norm1: "norm1",
        attention: ["attention.q_proj", "attention.k_proj", "attention.v_proj", "attention.o_proj"],
        norm2: "norm2",
        mlp: ["mlp.fc1", "mlp.fc2"],
        scale: Some(["layer_scale1.lambda1", "layer_scale2.lambda1"]),
    },
];

/// DINOv2 of any size with a plain mlp, as Hugging Face names it.
pub struct DinoV2 {
    colours: Colours,
    projection: Conv2d,
    cls_token: Param,
    position_embeddings: Param,
    /// Side of the grid that the position embeddings are made for.
    grid: usize,
    layer: Vec<Block>,
    layernorm: LayerNorm,
    width: usize,
}

impl DinoV2 {
    /// Whether names are those of DINOv2.
    pub fn recognizes(file: &Listing) -> bool {
        names::prefix(file, CLASS).is_some()
    }

    /// The tower in a file.
    ///
    /// # Errors
    /// `Format` when a weight is missing or has a wrong shape.
    pub fn open(source: &Source) -> Result<DinoV2> {
        let (at, prefix) = names::tower(source, CLASS)?;
        let file = source.listing();
        let [_, _, width] = extents(file, &join(prefix, CLASS))?;
        let projection = "embeddings.patch_embeddings.projection";
        let [_, _, patch, _] = extents(file, &join(prefix, &format!("{projection}.weight")))?;
        let table = join(prefix, "embeddings.position_embeddings");
        let [_, positions, _] = extents(file, &table)?;
        let grid = (positions - 1).isqrt();
        if grid == 0 || grid * grid + 1 != positions || !SIDE.is_multiple_of(patch) {
            return Err(Error::format(format!(
                "{}: tensor {table} of {positions} positions and patches of {patch} pixels: expected 1 + a square, \
                 and patches that divide {SIDE}",
                source.name()
            )));
        }
        let [hidden, _] = extents(file, &join(prefix, "encoder.layer.0.mlp.fc1.weight"))?;
        let shape = Shape { width, hidden, eps: EPS, activation: Activation::Gelu };
        let first = format!("encoder.layer.0.{}.weight", NAMES[1].attention[0]);
        let names = &NAMES[usize::from(file.contains(&join(prefix, &first)))];
        Ok(DinoV2 {
            colours: Colours::standard(MEAN, STD)?,
            projection: Conv2d::square(&at.scope(projection), [3, width], [patch, patch, 0], true)?,
            cls_token: at.get(CLASS, &[1, 1, width])?,
            position_embeddings: at.get("embeddings.position_embeddings", &[1, positions, width])?,
            grid,
            layer: (0..count(file, &join(prefix, "encoder.layer.")))
                .map(|i| Block::new(&at.scope(format!("encoder.layer.{i}")), names, shape))
                .collect::<Result<_>>()?,
            layernorm: LayerNorm::new(&at.scope("layernorm"), width, EPS)?,
            width,
        })
    }

    /// Elements of a class feature.
    pub fn width(&self) -> usize {
        self.width
    }

    /// The class token (n, width) after the final norm.
    ///
    /// # Errors
    /// The operations'.
    pub fn class_features<E: Exec>(&self, e: &E, pictures: &E::Value) -> Result<E::Value> {
        let x = self.colours.forward(e, &resize(e, pictures, SIDE)?)?;
        let patches = self.projection.forward(e, &x)?.x;
        let shape = e.desc(&patches).shape;
        let patches = e.reshape(&patches, &[shape[0], shape[1] * shape[2], self.width])?;
        let (class, table) = self.positions(e, [shape[1], shape[2]])?;
        let [patches] = e.apply(Add, &[&patches, &table])?;
        let [tokens] = e.apply(Prepend, &[&patches, &class])?;
        let mut x = tokens;
        for layer in &self.layer {
            x = layer.forward(e, &x)?;
        }
        let [class] = e.apply(Tokens { first: 0, count: 1 }, &[&x])?;
        self.layernorm.forward(e, &e.reshape(&class, &[shape[0], self.width])?)
    }

    /// The class token with its position, (width), and the table of the patches' positions, (h * w, width).
    fn positions<E: Exec>(&self, e: &E, to: [usize; 2]) -> Result<(E::Value, E::Value)> {
        let (from, width) = (self.grid, self.width);
        let all = e.param(&self.position_embeddings)?;
        let [first] = e.apply(Tokens { first: 0, count: 1 }, &[&all])?;
        let [class] = e.apply(Add, &[&e.param(&self.cls_token)?, &first])?;
        let [rest] = e.apply(Tokens { first: 1, count: from * from }, &[&all])?;
        let mut table = e.reshape(&rest, &[from * from, width])?;
        if to != [from; 2] {
            [table] = e.apply(ResizeGrid { from: [from; 2], to }, &[&table])?;
        }
        Ok((e.reshape(&class, &[width])?, table))
    }
}
