use super::{TeacherRecipe, TeacherTrainer};
use crate::error::{Error, Result};
use crate::image::Picture;
use crate::tensor::Tensor;
use crate::train::checkpoint::Contents;
use crate::train::collective::Group;
use crate::train::data::{Feed, Pictures};
use crate::train::report::{Report, Scalar};
use crate::train::run::Job;
use crate::weights::{Source, save};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

/// A teacher's run over pictures in categories.
pub struct TeacherJob {
    recipe: TeacherRecipe,
    trainer: TeacherTrainer,
    feed: Feed,
    /// Pictures and their categories.
    held_out: Vec<(Picture, u32)>,
}

/// Held-out pictures that pass the network at once.
const AT_ONCE: usize = 16;

impl TeacherJob {
    /// A run on `pictures`, which `workers` threads read (0: one a core), looked at by pictures that are `held_out`, at
    /// most `run.validate` of them, evenly taken from all. What of these cannot be read is left out, and `unreadable` is
    /// told.
    ///
    /// # Errors
    /// `InvalidArgument` when the categories are not as many as the recipe's, or the two have others.
    pub fn new(
        recipe: &TeacherRecipe,
        trainer: TeacherTrainer,
        pictures: Arc<Pictures>,
        workers: usize,
        held_out: Option<&Pictures>,
        unreadable: impl FnMut(&Error),
    ) -> Result<TeacherJob> {
        let (all, wanted) = (pictures.classes().len(), recipe.model.classes);
        if all != wanted {
            return Err(Error::invalid(format!(
                "the pictures are of {all} categories, the recipe has model.classes = {wanted}"
            )));
        }
        if let Some(held_out) = held_out.filter(|held_out| held_out.classes() != pictures.classes()) {
            return Err(Error::invalid(format!(
                "the held-out pictures are of other categories: {:?}, expected {:?}",
                held_out.classes(),
                pictures.classes()
            )));
        }
        let held_out = match held_out {
            Some(held_out) => held_out.middles(recipe.model.image_size, recipe.run.validate, unreadable)?,
            None => Vec::new(),
        };
        let feed = Feed::new(pictures, &recipe.data, [recipe.run.batch, workers], recipe.run.seed);
        let feed = feed.part(trainer.group().rank(), trainer.group().size());
        Ok(TeacherJob { recipe: recipe.clone(), trainer, feed, held_out })
    }

    /// What is trained.
    pub fn trainer(&self) -> &TeacherTrainer {
        &self.trainer
    }

    /// Of how many pictures the category has the largest logit.
    fn right(&self, some: &[(Picture, u32)]) -> Result<usize> {
        let side = self.recipe.model.image_size;
        let mut pixels = vec![0.0; some.len() * side * side * 3];
        for ((picture, _), pixels) in some.iter().zip(pixels.chunks_exact_mut(side * side * 3)) {
            picture.view().read_into(pixels, 0..side)?;
        }
        let logits = self.trainer.predict(&Tensor::from_slice([some.len(), side, side, 3], &pixels)?)?;
        let rows = logits.data::<f32>()?.chunks_exact(self.recipe.model.classes);
        Ok(rows.zip(some).filter(|(row, (_, label))| largest(row) == *label as usize).count())
    }
}

impl Job for TeacherJob {
    fn group(&self) -> Group {
        self.trainer.group().clone()
    }

    fn steps(&self) -> u64 {
        self.trainer.state.steps
    }

    fn step(&mut self) -> Result<Report> {
        let (batch, warnings) = self.feed.next(self.trainer.state.steps)?;
        let mut report = self.trainer.step(&batch.pictures, &batch.labels)?;
        report.warnings.extend(warnings);
        Ok(report)
    }

    fn contents(&self) -> Result<Contents> {
        let mut contents = self.trainer.state.contents()?;
        contents.metadata.insert("recipe".into(), self.recipe.print()?);
        Ok(contents)
    }

    fn restore(&mut self, source: &Source) -> Result<()> {
        self.feed.restart();
        self.trainer.restore(source)
    }

    /// `held_out_accuracy`, the share of pictures whose category has the largest logit.
    fn validate(&mut self) -> Result<Vec<Scalar>> {
        if self.held_out.is_empty() {
            return Ok(Vec::new());
        }
        let group = self.trainer.group();
        let mut right = 0.0;
        // Each process takes every so-many-th lot.
        for lot in self.held_out.chunks(AT_ONCE).skip(group.rank()).step_by(group.size()) {
            right += self.right(lot)? as f64;
        }
        let right: f64 = group.gather_numbers(&[right])?.concat().iter().sum();
        let share = right / self.held_out.len() as f64;
        Ok(vec![Scalar { name: "held_out_accuracy".into(), value: share }])
    }

    fn pictures(&mut self) -> Result<Vec<(String, Picture)>> {
        Ok(Vec::new())
    }

    fn export(&self, path: &Path) -> Result<()> {
        let weights = self.trainer.state.in_use();
        let tensors: Vec<(&str, Tensor)> =
            weights.iter().map(|(name, tensor)| (name.as_str(), tensor.clone())).collect();
        save(path, &tensors, &BTreeMap::from([("recipe".to_string(), self.recipe.print()?)]))
    }
}

/// The place of the largest, the first of several.
fn largest(values: &[f32]) -> usize {
    let mut best = 0;
    for (at, value) in values.iter().enumerate() {
        if *value > values[best] {
            best = at;
        }
    }
    best
}
