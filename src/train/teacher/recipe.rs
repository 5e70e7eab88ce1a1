use crate::error::{Error, Result};
use crate::teachers::ClipShape;
use crate::train::data::Augment;
use crate::train::recipe::{self, Optimizer, Run};
use crate::weights::Manifest;
use serde::{Deserialize, Serialize};

/// The training of a small tower that tells categories of pictures, where no published one can be had.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TeacherRecipe {
    /// What tells it from a tokenizer's.
    pub kind: Kind,
    /// The run's length and what it leaves behind.
    pub run: Run,
    /// What becomes of a picture before the network sees it. Its side is the model's.
    pub data: Augment,
    /// The network.
    pub model: Tower,
    /// The optimiser: AdamW.
    pub optimizer: Optimizer,
}

/// A recipe's first key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A teacher's.
    Teacher,
}

/// The extents of a CLIP-shaped tower, and the categories that its class token is asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tower {
    /// Side of the pictures.
    pub image_size: usize,
    /// Side of a patch.
    pub patch: usize,
    /// Elements of a token, a multiple of 64: an attention head has as many.
    pub width: usize,
    /// Width of the mlp of a block.
    pub hidden: usize,
    /// Blocks.
    pub layers: usize,
    /// Categories.
    pub classes: usize,
}

/// The layer that makes categories of class tokens.
pub(super) const CLASSIFIER: &str = "classifier";

impl Default for TeacherRecipe {
    fn default() -> TeacherRecipe {
        TeacherRecipe {
            kind: Kind::Teacher,
            run: Run::default(),
            data: Augment::default(),
            model: Tower { image_size: 64, patch: 8, width: 128, hidden: 512, layers: 4, classes: 9 },
            optimizer: Optimizer { decay: 0.05, ..Optimizer::default() },
        }
    }
}

impl Tower {
    /// The extents as towers have them.
    ///
    /// # Errors
    /// `InvalidArgument` that names a key whose value no network can have.
    pub fn shape(&self) -> Result<ClipShape> {
        let Tower { image_size, patch, width, hidden, layers, classes } = *self;
        let keys = ["image_size", "patch", "width", "hidden", "layers", "classes"];
        for (key, value) in keys.into_iter().zip([image_size, patch, width, hidden, layers, classes]) {
            if !(1..=1 << 16).contains(&value) {
                let most = 1 << 16;
                return Err(Error::invalid(format!("recipe: model.{key} is {value}, expected 1 to {most}")));
            }
        }
        if !image_size.is_multiple_of(patch) {
            return Err(Error::invalid(format!(
                "recipe: model.image_size is {image_size}, expected a multiple of model.patch, {patch}"
            )));
        }
        if !width.is_multiple_of(64) {
            return Err(Error::invalid(format!(
                "recipe: model.width is {width}, expected a multiple of 64, what an attention head has"
            )));
        }
        Ok(ClipShape { side: image_size, patch, width, hidden, layers })
    }

    /// All weights: the tower's and the classifier's.
    ///
    /// # Errors
    /// As [`Tower::shape`].
    pub fn manifest(&self) -> Result<Manifest> {
        let mut manifest = self.shape()?.manifest();
        manifest.layer(CLASSIFIER, &[self.classes, self.width]);
        Ok(manifest)
    }
}

impl TeacherRecipe {
    /// The recipe that a toml text is, after `overrides` of the form `model.layers=6` have replaced values.
    ///
    /// # Errors
    /// `InvalidArgument` that names the line or the key.
    pub fn parse(text: &str, overrides: &[String]) -> Result<TeacherRecipe> {
        let mut recipe: TeacherRecipe = recipe::over(&TeacherRecipe::default(), text, overrides)?;
        recipe.data.fit(recipe.model.image_size)?;
        recipe.run.check()?;
        if recipe.run.accumulate != 1 {
            return Err(Error::invalid("recipe: run.accumulate: a teacher's batch goes through whole"));
        }
        recipe.model.shape()?;
        Ok(recipe)
    }

    /// The whole recipe as toml, defaults included.
    ///
    /// # Errors
    /// `Internal`, if ever.
    pub fn print(&self) -> Result<String> {
        recipe::print(self)
    }
}
