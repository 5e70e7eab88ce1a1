use crate::{recipe, run};
use fqgan::backend::Device;
use fqgan::train::data::Pictures;
use fqgan::train::init;
use fqgan::train::teacher::{TeacherJob, TeacherTrainer};
use fqgan::{Error, Result};
use std::path::PathBuf;
use std::sync::Arc;

/// Train a small teacher for the semantic branches
///
/// A CLIP-shaped tower learns the categories of pictures. In the end there are weights that `fqgan-train tokenizer
/// --teacher NAME=FILE` opens.
#[derive(clap::Args)]
#[command(after_help = "\
Example:
  fqgan-train teacher --recipe demo-teacher --data pictures/train --held-out pictures/held-out --out teacher")]
pub struct Args {
    #[command(flatten)]
    recipe: recipe::Args,
    /// Pictures to train on: a folder for each class, or tar files
    #[arg(long, value_name = "PATH", required_unless_present = "print_config")]
    data: Option<PathBuf>,
    /// Pictures of the same classes that are not trained on, to tell now and then
    #[arg(long, value_name = "PATH")]
    held_out: Option<PathBuf>,
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
    /// Threads that read pictures; 0: one a core
    #[arg(long, default_value_t = 0)]
    workers: usize,
}

pub fn run(args: &Args) -> Result<()> {
    let recipe = args.recipe.read_teacher()?;
    if args.recipe.print_config {
        print!("{}", recipe.print()?);
        return Ok(());
    }
    let (Some(data), Some(out)) = (&args.data, &args.out) else {
        return Err(Error::internal("--data and --out were not asked for"));
    };
    let stop = run::stop()?;
    let device = Device::named(&args.device, args.threads)?;
    let weights = init::teacher(&recipe.model.manifest()?, recipe.run.seed)?;
    let trainer = TeacherTrainer::new(&recipe, &device, &weights)?;
    drop(weights);
    let pictures = Arc::new(Pictures::open(data)?);
    let held_out = args.held_out.as_ref().map(Pictures::open).transpose()?;
    let left_out = |error: &Error| eprintln!("left out: {error}");
    let mut job = TeacherJob::new(&recipe, trainer, pictures, args.workers, held_out.as_ref(), left_out)?;
    run::go(&recipe.run, out, args.resume, &device, &mut job, &stop)
}
