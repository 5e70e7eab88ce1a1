use crate::{networks, recipe, run};
use fqgan::backend::Device;
use fqgan::backend::cpu::Cpu;
use fqgan::train::data::Pictures;
use fqgan::train::{TokenizerJob, TokenizerNetwork, Trainer, init};
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
    #[arg(long, value_name = "PATH", required_unless_present = "print_config")]
    data: Option<PathBuf>,
    /// Pictures that are not trained on, to look at
    #[arg(long, value_name = "PATH")]
    held_out: Option<PathBuf>,
    /// Where everything goes
    #[arg(long, value_name = "FOLDER", required_unless_present = "print_config")]
    out: Option<PathBuf>,
    /// Go on where the run in the folder was cut; begin it if there is none
    #[arg(long)]
    resume: bool,
    /// 0: one a core
    #[arg(long, default_value_t = 0)]
    threads: usize,
    /// Threads that read pictures; 0: one a core
    #[arg(long, default_value_t = 0)]
    workers: usize,
}

pub fn run(args: &Args) -> Result<()> {
    let recipe = args.recipe.read()?;
    if args.recipe.print_config {
        print!("{}", recipe.print()?);
        return Ok(());
    }
    let (Some(data), Some(out)) = (&args.data, &args.out) else {
        return Err(Error::internal("--data and --out were not asked for"));
    };
    let stop = run::stop()?;
    let teachers = args.networks.open(&recipe)?;
    let pictures = Arc::new(Pictures::open(data)?);
    let held_out = match &args.held_out {
        Some(path) => {
            TokenizerJob::held_out(&recipe, &Pictures::open(path)?, |error| eprintln!("left out: {error}"))?
        }
        None => Vec::new(),
    };
    let widths: BTreeMap<String, usize> =
        teachers.towers.iter().map(|(name, tower)| (name.clone(), tower.width())).collect();
    let weights = init::tokenizer(&recipe, &widths, recipe.run.seed)?;
    let discriminator = match recipe.adversarial.enabled {
        true => Some(init::discriminator(recipe.adversarial.width, recipe.run.seed)?),
        false => None,
    };
    let device = Device::Cpu(Arc::new(Cpu::new(args.threads)?));
    let network = TokenizerNetwork::open(&recipe, &weights, discriminator.as_ref(), teachers)?;
    let trainer = Trainer::new(&recipe, &device, network, &weights, discriminator.as_ref())?;
    let mut job = TokenizerJob::new(&recipe, &device, trainer, pictures, args.workers, held_out);
    run::go(&recipe.run, out, args.resume, &mut job, &stop)
}
