use super::{FarRecipe, FarTrainer};
use crate::backend::Device;
use crate::error::Result;
use crate::far::{Generator, Options, Sampling};
use crate::image::{Cell, Picture, grid};
use crate::tensor::Tensor;
use crate::tokenizer::{Grid, Tokenizer};
use crate::train::checkpoint::Contents;
use crate::train::codes::{Batches, Stored};
use crate::train::collective::Group;
use crate::train::report::{Report, Scalar};
use crate::train::run::Job;
use crate::weights::{Source, save};
use std::path::Path;
use std::sync::Arc;

/// A generator's run over stored codes.
pub struct FarJob {
    recipe: FarRecipe,
    device: Device,
    trainer: FarTrainer,
    codes: Arc<Stored>,
    /// Begun with the first step, when it is known which that is.
    batches: Option<Batches>,
    held_out: Option<Stored>,
    tokenizer: Option<Tokenizer>,
}

/// Held-out pictures that pass the network at once.
const AT_ONCE: usize = 16;
/// Classes that are shown, a row each, and pictures of each.
const ROWS: usize = 10;
const COLUMNS: usize = 8;

impl FarJob {
    /// A run on `codes`, looked at by those that are `held_out`, and by pictures that `tokenizer` makes of new ones.
    ///
    /// # Errors
    /// `InvalidArgument` when codes or tokenizer are not of the recipe's extents.
    pub fn new(
        recipe: &FarRecipe,
        device: &Device,
        trainer: FarTrainer,
        codes: Stored,
        held_out: Option<Stored>,
        tokenizer: Option<Tokenizer>,
    ) -> Result<FarJob> {
        for stored in std::iter::once(&codes).chain(&held_out) {
            recipe.takes(stored)?;
        }
        if let Some(tokenizer) = &tokenizer {
            recipe.takes_tokenizer(tokenizer.config())?;
        }
        let (recipe, device) = (recipe.clone(), device.clone());
        Ok(FarJob { recipe, device, trainer, codes: Arc::new(codes), batches: None, held_out, tokenizer })
    }

    /// What is trained.
    pub fn trainer(&self) -> &FarTrainer {
        &self.trainer
    }

    /// The nats of each sub-code of pictures, summed over these.
    fn surprise(&self, stored: &Stored, pictures: &[usize]) -> Result<Vec<f64>> {
        let len = stored.about().view_len();
        let mut codes = vec![0; pictures.len() * len];
        for (&picture, codes) in pictures.iter().zip(codes.chunks_exact_mut(len)) {
            stored.codes(picture, 0, codes)?;
        }
        let classes: Vec<u32> = pictures.iter().map(|&picture| stored.label(picture)).collect();
        let nats = self.trainer.surprise(&classes, &codes)?;
        Ok(nats.into_iter().map(|nats| nats * pictures.len() as f64).collect())
    }

    /// The generator as it is now.
    fn generator(&self) -> Result<Generator> {
        let metadata = self.trainer.config().metadata();
        let source = Source::from_tensors(self.trainer.weights().clone(), metadata);
        Generator::open(&self.device, &source, &Options::default())
    }
}

impl Job for FarJob {
    fn group(&self) -> Group {
        self.trainer.group().clone()
    }

    fn steps(&self) -> u64 {
        self.trainer.state.steps
    }

    fn step(&mut self) -> Result<Report> {
        let run = &self.recipe.run;
        let batches = match &mut self.batches {
            Some(batches) => batches,
            empty => {
                let steps = self.trainer.state.steps;
                let group = self.trainer.group();
                let (each, balanced) = (group.share(run.batch)?, self.recipe.balance);
                let batches = Batches::new(self.codes.clone(), each, run.seed, balanced, steps)?;
                empty.insert(batches.part(group.rank(), group.size()))
            }
        };
        let batch = batches.next()?;
        self.trainer.step(&batch.labels, &batch.codes)
    }

    fn contents(&self) -> Result<Contents> {
        let mut contents = self.trainer.state.contents()?;
        contents.metadata.insert("recipe".into(), self.recipe.print()?);
        Ok(contents)
    }

    fn restore(&mut self, source: &Source) -> Result<()> {
        self.batches = None;
        self.trainer.restore(source)
    }

    /// `held_out_log2p`, the mean logarithm of a picture's probability; its negative, `held_out_bits`; and the bits of
    /// a code of each sub-codebook, `held_out_bits_1` and so on.
    fn validate(&mut self) -> Result<Vec<Scalar>> {
        let Some(stored) = &self.held_out else { return Ok(Vec::new()) };
        let (all, wanted) = (stored.len(), self.recipe.run.validate.min(stored.len()));
        let mut sums = vec![0.0; stored.k()];
        let pictures: Vec<usize> = (0..wanted).map(|i| i * all / wanted).collect();
        let group = self.trainer.group();
        // Each process takes every so-many-th lot; what it does not reach counts nothing.
        for round in pictures.chunks(AT_ONCE * group.size()) {
            let pictures = round.chunks(AT_ONCE).nth(group.rank()).unwrap_or_default();
            let nats = match pictures {
                [] => vec![0.0; sums.len()],
                some => self.surprise(stored, some)?,
            };
            for nats in group.gather_numbers(&nats)? {
                sums.iter_mut().zip(nats).for_each(|(sum, nats)| *sum += nats);
            }
        }
        let each: Vec<f64> = sums.iter().map(|sum| sum / wanted as f64 / std::f64::consts::LN_2).collect();
        let bits = each.iter().sum::<f64>() * stored.about().positions() as f64;
        let scalar = |name: String, value: f64| Scalar { name, value };
        let mut scalars = vec![scalar("held_out_log2p".into(), -bits), scalar("held_out_bits".into(), bits)];
        scalars.extend(
            each.iter().enumerate().map(|(i, &bits)| scalar(format!("held_out_bits_{}", i + 1), bits)),
        );
        Ok(scalars)
    }

    /// A row of new pictures of each of the first classes, where there is a tokenizer.
    fn pictures(&mut self) -> Result<Vec<(String, Picture)>> {
        let Some(tokenizer) = &self.tokenizer else { return Ok(Vec::new()) };
        let config = self.trainer.config();
        let rows = ROWS.min(config.classes);
        let classes: Vec<u32> = (0..rows * COLUMNS).map(|at| (at / COLUMNS) as u32).collect();
        let sampling = Sampling { seed: self.recipe.run.seed, ..Sampling::default() };
        let codes = self.generator()?.generate(&classes, &sampling)?;
        let cells = Grid { height: config.grid_height, width: config.grid_width };
        let side = tokenizer.config().downsample();
        let mut made = vec![Picture::new(cells.width * side, cells.height * side)?; classes.len()];
        let mut views: Vec<_> = made.iter_mut().map(Picture::view_mut).collect();
        tokenizer.decode_into(codes.data(), cells, 0, &mut views)?;
        let mut page = Vec::new();
        for row in made.chunks(COLUMNS) {
            page.push(row.iter().map(|picture| Cell { picture, caption: "" }).collect());
        }
        Ok(vec![("samples".into(), grid(&page, 2)?)])
    }

    fn export(&self, path: &Path) -> Result<()> {
        let weights = self.trainer.weights();
        let tensors: Vec<(&str, Tensor)> =
            weights.iter().map(|(name, tensor)| (name.as_str(), tensor.clone())).collect();
        let mut metadata = self.trainer.config().metadata();
        metadata.insert("recipe".into(), self.recipe.print()?);
        save(path, &tensors, &metadata)
    }
}
