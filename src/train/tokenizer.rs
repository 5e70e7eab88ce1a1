use super::checkpoint::Contents;
use super::collective::Group;
use super::data::{Feed, Pictures};
use super::optim::Tensors;
use super::recipe::Recipe;
use super::report::{Report, Scalar};
use super::run::Job;
use super::step::Trainer;
use super::usage::Usage;
use crate::backend::Device;
use crate::error::{Error, Result};
use crate::image::{Cell, Picture, grid, psnr};
use crate::tensor::Tensor;
use crate::tokenizer::{Options, Tokenizer};
use crate::weights::{Metadata, Source, save};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

/// A tokenizer's run over pictures.
pub struct TokenizerJob {
    recipe: Recipe,
    device: Device,
    trainer: Trainer,
    feed: Feed,
    held_out: Vec<Picture>,
}

/// Held-out pictures that are shown.
const SHOWN: usize = 8;
/// Pictures that are encoded at once.
const AT_ONCE: usize = 16;

impl TokenizerJob {
    /// A run on `pictures`, which `workers` threads read (0: one a core), looked at by `held_out`.
    pub fn new(
        recipe: &Recipe,
        device: &Device,
        trainer: Trainer,
        pictures: Arc<Pictures>,
        workers: usize,
        held_out: Vec<Picture>,
    ) -> TokenizerJob {
        let feed = Feed::new(pictures, &recipe.data, [recipe.run.batch, workers], recipe.run.seed);
        let feed = feed.part(trainer.group().rank(), trainer.group().size());
        TokenizerJob { recipe: recipe.clone(), device: device.clone(), trainer, feed, held_out }
    }

    /// The middles of at most `run.validate` pictures, evenly taken from all. Those that cannot be read are left out,
    /// and `unreadable` is told.
    ///
    /// # Errors
    /// `InvalidArgument` when none can be read.
    pub fn held_out(
        recipe: &Recipe,
        pictures: &Pictures,
        unreadable: impl FnMut(&Error),
    ) -> Result<Vec<Picture>> {
        let found = pictures.middles(recipe.model.image_size, recipe.run.validate, unreadable)?;
        Ok(found.into_iter().map(|(picture, _)| picture).collect())
    }

    /// What is trained.
    pub fn trainer(&self) -> &Trainer {
        &self.trainer
    }

    /// The weights that are of use: the average where there is one.
    fn weights(&self) -> Tensors {
        let state = &self.trainer.state;
        let all = if state.average.is_empty() { &state.weights } else { &state.average };
        all.clone()
    }

    /// The tokenizer as it is now.
    fn tokenizer(&self) -> Result<Tokenizer> {
        let source = Source::from_tensors(self.weights(), Metadata::new());
        Tokenizer::open(&self.device, &source, &Options::default())
    }

    /// Pictures there and back, from the sub-codebooks of `mask`; their codes go to `codes`.
    fn reconstruct(
        tokenizer: &Tokenizer,
        pictures: &[Picture],
        mask: u32,
        mut codes: impl FnMut(usize, &[u32]) -> Result<()>,
    ) -> Result<Vec<Picture>> {
        let Some(first) = pictures.first() else { return Ok(Vec::new()) };
        let grid = tokenizer.grid(first.width(), first.height())?;
        let (k, cells) = (tokenizer.config().branches.len(), grid.height * grid.width);
        let mut found = vec![0; pictures.len() * k * cells];
        let views: Vec<_> = pictures.iter().map(Picture::view).collect();
        tokenizer.encode_into(&views, &mut found)?;
        for (number, found) in found.chunks_exact(cells).enumerate() {
            codes(number % k, found)?;
        }
        let mut back = pictures.to_vec();
        let mut views: Vec<_> = back.iter_mut().map(Picture::view_mut).collect();
        tokenizer.decode_into(&found, grid, mask, &mut views)?;
        Ok(back)
    }
}

impl Job for TokenizerJob {
    fn group(&self) -> Group {
        self.trainer.group().clone()
    }

    fn steps(&self) -> u64 {
        self.trainer.state.steps
    }

    fn step(&mut self) -> Result<Report> {
        let (batch, warnings) = self.feed.next(self.trainer.state.steps)?;
        let mut report = self.trainer.step(&batch.pictures)?;
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

    fn validate(&mut self) -> Result<Vec<Scalar>> {
        if self.held_out.is_empty() {
            return Ok(Vec::new());
        }
        let tokenizer = self.tokenizer()?;
        let config = tokenizer.config();
        let mut usage = vec![Usage::new(config.codebook_size); config.branches.len()];
        let mut sum = 0.0;
        let group = self.group();
        // Each process takes every so-many-th lot of pictures; what it does not reach counts nothing.
        for round in self.held_out.chunks(AT_ONCE * group.size()) {
            let pictures = round.chunks(AT_ONCE).nth(group.rank()).unwrap_or_default();
            let mut codes = vec![Vec::new(); usage.len()];
            let back = Self::reconstruct(&tokenizer, pictures, 0, |branch, found| {
                codes[branch].extend_from_slice(found);
                Ok(())
            })?;
            // Of pictures that are equal, no number would be the mean.
            let psnr = pictures.iter().zip(&back).map(|(a, b)| psnr(a, b).min(100.0)).sum::<f64>();
            sum += group.gather_numbers(&[psnr])?.concat().iter().sum::<f64>();
            for (usage, codes) in usage.iter_mut().zip(codes) {
                usage.add(&group.gather_lists(&codes)?)?;
            }
        }
        let mut scalars =
            vec![Scalar { name: "held_out_psnr".into(), value: sum / self.held_out.len() as f64 }];
        for (branch, usage) in config.branches.iter().zip(&usage) {
            scalars.push(Scalar { name: format!("held_out_usage{}", branch.suffix()), value: usage.share() });
        }
        Ok(scalars)
    }

    fn pictures(&mut self) -> Result<Vec<(String, Picture)>> {
        let shown = SHOWN.min(self.held_out.len());
        if shown == 0 {
            return Ok(Vec::new());
        }
        let all = (0..shown).map(|i| self.held_out[i * self.held_out.len() / shown].clone());
        let all: Vec<Picture> = all.collect();
        let tokenizer = self.tokenizer()?;
        let names: Vec<String> = tokenizer.config().names().map(str::to_string).collect();
        let mut rows = vec![("".to_string(), Self::reconstruct(&tokenizer, &all, 0, |_, _| Ok(()))?)];
        if names.len() > 1 {
            for (number, name) in names.into_iter().enumerate() {
                rows.push((name, Self::reconstruct(&tokenizer, &all, 1 << number, |_, _| Ok(()))?));
            }
        }
        rows.insert(0, (String::new(), all));
        let mut page = Vec::new();
        for (caption, pictures) in &rows {
            page.push(pictures.iter().map(|picture| Cell { picture, caption }).collect());
        }
        Ok(vec![("reconstructions".into(), grid(&page, 2)?)])
    }

    fn export(&self, path: &Path) -> Result<()> {
        let weights = self.weights();
        let tensors: Vec<(&str, Tensor)> =
            weights.iter().map(|(name, tensor)| (name.as_str(), tensor.clone())).collect();
        save(path, &tensors, &BTreeMap::from([("recipe".to_string(), self.recipe.print()?)]))
    }
}
