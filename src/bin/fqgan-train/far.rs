use crate::{recipe, run};
use fqgan::backend::Device;
use fqgan::tokenizer::{Options, Tokenizer};
use fqgan::train::codes::Stored;
use fqgan::train::far::{FarJob, FarTrainer};
use fqgan::train::init;
use fqgan::weights::{Map, Source};
use fqgan::{Error, Result};
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
    #[arg(long, value_name = "PATH", required_unless_present = "print_config")]
    codes: Option<PathBuf>,
    /// Codes that are not trained on, whose first view is predicted now and then
    #[arg(long, value_name = "PATH")]
    held_out: Option<PathBuf>,
    /// The tokenizer of the codes, to see what new ones look like
    #[arg(long, value_name = "FILE")]
    tokenizer: Option<PathBuf>,
    /// Where everything goes
    #[arg(long, value_name = "FOLDER", required_unless_present = "print_config")]
    out: Option<PathBuf>,
    /// Go on where the run in the folder was cut; begin it if there is none
    #[arg(long)]
    resume: bool,
    /// Where to compute: auto, cpu, cuda, or cuda:1 for the second GPU
    #[arg(long, default_value = "auto", value_name = "DEVICE")]
    device: String,
    /// 0: one a core
    #[arg(long, default_value_t = 0)]
    threads: usize,
}

pub fn run(args: &Args) -> Result<()> {
    let recipe = args.recipe.read_far()?;
    if args.recipe.print_config {
        print!("{}", recipe.print()?);
        return Ok(());
    }
    let (Some(codes), Some(out)) = (&args.codes, &args.out) else {
        return Err(Error::internal("--codes and --out were not asked for"));
    };
    let stop = run::stop()?;
    let device = Device::named(&args.device, args.threads)?;
    let codes = Stored::open(codes)?;
    let held_out = args.held_out.as_ref().map(Stored::open).transpose()?;
    let tokenizer = match &args.tokenizer {
        Some(path) => Some(Tokenizer::open(&device, &Source::open(path, Map::On)?, &Options::default())?),
        None => None,
    };
    let weights = init::far(&recipe.model.config()?, recipe.run.seed)?;
    let trainer = FarTrainer::new(&recipe, &device, &weights)?;
    drop(weights);
    let mut job = FarJob::new(&recipe, &device, trainer, codes, held_out, tokenizer)?;
    run::go(&recipe.run, out, args.resume, &device, &mut job, &stop)
}
