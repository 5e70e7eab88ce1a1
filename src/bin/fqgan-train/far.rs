use crate::{estimate, recipe, run};
use fqgan::Result;
use fqgan::tokenizer::{Options, Tokenizer};
use fqgan::train::codes::Stored;
use fqgan::train::collective::Group;
use fqgan::train::far::{FarJob, FarTrainer};
use fqgan::train::init;
use fqgan::weights::{Map, Source};
use std::path::PathBuf;

/// Train a generator on codes
///
/// Leaves checkpoints, the numbers of every step, pictures if it has a tokenizer, and in the end weights that `fqgan
/// generate` opens.
#[derive(clap::Args)]
#[command(after_help = "\
Example:
  fqgan-train far --recipe far-b --codes codes/train --held-out codes/held-out \\
      --tokenizer fqgan_dual_ds16.safetensors --out run")]
pub struct Args {
    #[command(flatten)]
    recipe: recipe::Args,
    /// Codes to train on: a file that `fqgan-train codes` wrote, or the folder of all shards
    #[arg(long, value_name = "PATH", required_unless_present_any = ["print_config", "dry_run"])]
    codes: Option<PathBuf>,
    /// Codes that are not trained on, whose first view is predicted now and then
    #[arg(long, value_name = "PATH")]
    held_out: Option<PathBuf>,
    /// The tokenizer of the codes, to see what new ones look like
    #[arg(long, value_name = "FILE")]
    tokenizer: Option<PathBuf>,
    #[command(flatten)]
    run: run::Args,
}

pub fn run(args: &Args, group: &Group) -> Result<()> {
    let recipe = args.recipe.read_far()?;
    if args.recipe.print_config {
        print!("{}", recipe.print()?);
        return Ok(());
    }
    let device = args.run.device(&recipe.run, group)?;
    let group = &group.clone().on(&device)?;
    let weights = init::far(&recipe.model.config()?, recipe.run.seed)?;
    if args.run.dry_run {
        let mut part = recipe.clone();
        part.run.accumulate = 1;
        let mut trainer = FarTrainer::new(&part, &device, &weights)?;
        let config = trainer.config().clone();
        let codes = config.positions() * config.codebooks;
        return estimate::print(&recipe.run, estimate::count(&trainer.state.weights), |pictures| {
            let any = |count: usize, of: usize| (0..count).map(|i| (i * 37 % of) as u32).collect::<Vec<_>>();
            trainer.step(&any(pictures, config.classes), &any(pictures * codes, config.codebook_size))?;
            Ok(trainer.workspace_bytes() + trainer.state.bytes())
        });
    }
    let stop = run::stop()?;
    let codes = Stored::open(run::missing(&args.codes, "--codes")?)?;
    run::agree(group, &recipe.print()?)?;
    run::agree_on_codes(group, &codes)?;
    let held_out = args.held_out.as_ref().map(Stored::open).transpose()?;
    let tokenizer = match &args.tokenizer {
        Some(path) => Some(Tokenizer::open(&device, &Source::open(path, Map::On)?, &Options::default())?),
        None => None,
    };
    let trainer = FarTrainer::new(&recipe, &device, &weights)?.with_group(group);
    drop(weights);
    let mut job = FarJob::new(&recipe, &device, trainer, codes, held_out, tokenizer)?;
    run::go(&args.run, &recipe.run, &device, &mut job, &stop)
}
