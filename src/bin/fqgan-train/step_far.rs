//! A generator's step.

use crate::step;
use fqgan::backend::Device;
use fqgan::far::Noise;
use fqgan::image::Picture;
use fqgan::tokenizer::{Options, Tokenizer};
use fqgan::train::codes::Stored;
use fqgan::train::far::{FarRecipe, FarTrainer};
use fqgan::train::init;
use fqgan::weights::{Map, Source};
use fqgan::{Error, Result};
use std::path::{Path, PathBuf};
use std::time::Instant;

/// What a generator's step is on: stored codes, or pictures that a tokenizer encodes.
#[derive(clap::Args)]
pub struct Args {
    /// Of a generator: stored codes, the first views of the first pictures; or else --pictures
    #[arg(long, value_name = "PATH", conflicts_with = "pictures")]
    codes: Option<PathBuf>,
    /// With --codes: how many pictures
    #[arg(long, value_name = "N", requires = "codes")]
    count: Option<usize>,
    /// Of a generator with --pictures: their classes
    #[arg(long, value_name = "CLASS", value_delimiter = ',', requires = "pictures")]
    labels: Vec<u32>,
    /// Of a generator with --pictures: what encodes them
    #[arg(long, value_name = "FILE", requires = "pictures")]
    tokenizer: Option<PathBuf>,
}

impl Args {
    /// Whether any was.
    pub fn given(&self) -> bool {
        self.codes.is_some() || !self.labels.is_empty() || self.tokenizer.is_some()
    }
}

/// Classes, and codes (n, positions, k).
type Batch = (Vec<u32>, Vec<u32>);

pub fn run(args: &step::Args) -> Result<()> {
    let recipe = args.recipe.read_far()?;
    if args.recipe.print_config {
        print!("{}", recipe.print()?);
        return Ok(());
    }
    let device = Device::named(&args.device, args.threads)?;
    let (classes, codes) = match (&args.far.codes, &args.far.tokenizer) {
        (Some(path), _) => stored(&recipe, path, args.far.count.unwrap_or(2))?,
        (None, Some(path)) => encoded(&recipe, &device, path, &args.pictures, &args.far.labels)?,
        (None, None) => {
            return Err(Error::invalid(
                "a generator's step wants --codes, or --pictures with --tokenizer and --labels",
            ));
        }
    };
    let weights = match &args.weights {
        Some(path) => Source::open(path, Map::On)?,
        None => init::far(&recipe.model.config()?, args.seed)?,
    };
    let trainer = FarTrainer::new(&recipe, &device, &weights)?;
    let began = Instant::now();
    let (report, _) = trainer.gradients(&classes, &codes, &Noise::default())?;
    step::tell(args, &report, began)
}

/// The first views of the first pictures.
fn stored(recipe: &FarRecipe, path: &Path, count: usize) -> Result<Batch> {
    let stored = Stored::open(path)?;
    recipe.takes(&stored)?;
    if !(1..=stored.len()).contains(&count) {
        return Err(Error::invalid(format!(
            "--count {count}: {} has {} pictures",
            path.display(),
            stored.len()
        )));
    }
    let len = stored.about().view_len();
    let mut codes = vec![0; count * len];
    for (picture, codes) in codes.chunks_exact_mut(len).enumerate() {
        stored.codes(picture, 0, codes)?;
    }
    Ok(((0..count).map(|picture| stored.label(picture)).collect(), codes))
}

/// The codes of the middles of pictures.
fn encoded(
    recipe: &FarRecipe,
    device: &Device,
    tokenizer: &Path,
    pictures: &[PathBuf],
    labels: &[u32],
) -> Result<Batch> {
    if labels.len() != pictures.len() {
        return Err(Error::invalid(format!("{} --labels of {} --pictures", labels.len(), pictures.len())));
    }
    let classes = recipe.model.classes as u32;
    if let Some(label) = labels.iter().find(|label| **label > classes) {
        return Err(Error::invalid(format!(
            "--labels {label}: the recipe has classes 0 to {}, and {classes} for none",
            classes - 1
        )));
    }
    let tokenizer = Tokenizer::open(device, &Source::open(tokenizer, Map::On)?, &Options::default())?;
    let (k, side) = (tokenizer.config().branches.len(), tokenizer.config().image_size);
    recipe.takes_tokenizer(tokenizer.config())?;
    let middle =
        |path: &PathBuf| Picture::load(path)?.center_crop(side).map_err(|e| e.context(path.display()));
    let pictures = pictures.iter().map(middle).collect::<Result<Vec<_>>>()?;
    let grid = tokenizer.grid(side, side)?;
    let positions = grid.height * grid.width;
    let mut planes = vec![0; pictures.len() * k * positions];
    tokenizer.encode_into(&pictures.iter().map(Picture::view).collect::<Vec<_>>(), &mut planes)?;
    // A plane a sub-codebook, to a tuple a position.
    let of = |at: usize| planes[(at / k / positions * k + at % k) * positions + at / k % positions];
    Ok((labels.to_vec(), (0..planes.len()).map(of).collect()))
}
