use crate::{estimate, networks, recipe, run};
use fqgan::backend::Device;
use fqgan::train::collective::Group;
use fqgan::train::data::Pictures;
use fqgan::train::{Recipe, Teachers, TokenizerJob, TokenizerNetwork, Trainer, init};
use fqgan::weights::{Map, Source};
use fqgan::{Error, Result};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

/// Train a tokenizer
///
/// Leaves checkpoints, the numbers of every step, pictures, and in the end weights that `fqgan` opens.
#[derive(clap::Args)]
#[command(after_help = "\
Example:
  fqgan-train tokenizer --recipe demo-tokenizer --data pictures/train --held-out pictures/held-out --out run
  fqgan-train tokenizer --recipe demo-tokenizer --data pictures/train --held-out pictures/held-out --out run --resume")]
pub struct Args {
    #[command(flatten)]
    recipe: recipe::Args,
    #[command(flatten)]
    networks: networks::Args,
    /// Pictures to train on: a folder for each class, a folder, or tar files
    #[arg(long, value_name = "PATH", required_unless_present_any = ["print_config", "dry_run"])]
    data: Option<PathBuf>,
    /// Pictures that are not trained on, to look at
    #[arg(long, value_name = "PATH")]
    held_out: Option<PathBuf>,
    /// Begin with these weights instead of fresh ones; prediction heads that the file has not are fresh
    #[arg(long, value_name = "FILE")]
    finetune: Option<PathBuf>,
    /// Begin with this discriminator: its own file, or a checkpoint of a run
    #[arg(long, value_name = "FILE", requires = "finetune")]
    discriminator: Option<PathBuf>,
    #[command(flatten)]
    run: run::Args,
    /// Threads that read pictures; 0: one a core
    #[arg(long, default_value_t = 0)]
    workers: usize,
}

pub fn run(args: &Args, group: &Group) -> Result<()> {
    let recipe = &args.recipe.read()?;
    if args.recipe.print_config {
        print!("{}", recipe.print()?);
        return Ok(());
    }
    let device = args.run.device(&recipe.run, group)?;
    let group = &group.clone().on(&device)?;
    let teachers = args.networks.open(recipe)?;
    let mut trainer = trainer(args, recipe, &device, teachers)?.with_group(group);
    if args.run.dry_run {
        let side = recipe.model.image_size;
        return estimate::print(&recipe.run, estimate::count(&trainer.state.weights), |pictures| {
            trainer.try_step(&estimate::noise(pictures, side)?)?;
            Ok(trainer.workspace_bytes() + trainer.state.bytes())
        });
    }
    let data = run::missing(&args.data, "--data")?;
    let stop = run::stop()?;
    let pictures = Arc::new(Pictures::open(data)?);
    run::agree(group, &recipe.print()?)?;
    run::agree_on_pictures(group, &pictures)?;
    let held_out = match &args.held_out {
        Some(path) => {
            TokenizerJob::held_out(recipe, &Pictures::open(path)?, |error| run::left_out(group, error))?
        }
        None => Vec::new(),
    };
    let mut job = TokenizerJob::new(recipe, &device, trainer, pictures, args.workers, held_out);
    run::go(&args.run, &recipe.run, &device, &mut job, &stop)
}

/// The run before its first step.
fn trainer(args: &Args, recipe: &Recipe, device: &Device, teachers: Teachers) -> Result<Trainer> {
    let widths: BTreeMap<String, usize> =
        teachers.towers.iter().map(|(name, tower)| (name.clone(), tower.width())).collect();
    let mut weights = init::tokenizer(recipe, &widths, recipe.run.seed)?;
    if let Some(path) = &args.finetune {
        weights = over(weights, &Source::open(path, Map::Off)?, recipe)?;
    }
    let discriminator = match (recipe.adversarial.enabled, &args.discriminator) {
        (true, Some(path)) => Some(Source::open_part(path, Map::Off, "discriminator")?),
        (true, None) => Some(init::discriminator(recipe, recipe.run.seed)?),
        (false, _) => None,
    };
    let network = TokenizerNetwork::open(recipe, &weights, discriminator.as_ref(), teachers)?;
    Trainer::new(recipe, device, network, &weights, discriminator.as_ref())
}

/// The weights of a file, and of those that it has not the prediction heads of `fresh`.
fn over(fresh: Source, given: &Source, recipe: &Recipe) -> Result<Source> {
    let head = |name: &str| recipe.loss.semantic.iter().any(|semantic| name.starts_with(&semantic.head));
    let of = |name: &str| match given.get(name)? {
        Some(tensor) => Ok((name.to_string(), tensor.to_f32()?)),
        None if head(name) => Ok((name.to_string(), fresh.tensor(name)?)),
        None => Err(Error::format(format!("{}: tensor {name} is missing", given.name()))),
    };
    let all = fresh.names().map(of).collect::<Result<Vec<_>>>()?;
    Ok(Source::from_tensors(all, BTreeMap::new()))
}
