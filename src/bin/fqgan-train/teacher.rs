use crate::{estimate, recipe, run};
use fqgan::train::collective::Group;
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
    #[arg(long, value_name = "PATH", required_unless_present_any = ["print_config", "dry_run"])]
    data: Option<PathBuf>,
    /// Pictures of the same classes that are not trained on, to tell now and then
    #[arg(long, value_name = "PATH")]
    held_out: Option<PathBuf>,
    #[command(flatten)]
    run: run::Args,
    /// Threads that read pictures; 0: one a core
    #[arg(long, default_value_t = 0)]
    workers: usize,
}

pub fn run(args: &Args, group: &Group) -> Result<()> {
    let recipe = args.recipe.read_teacher()?;
    if args.recipe.print_config {
        print!("{}", recipe.print()?);
        return Ok(());
    }
    let device = args.run.device(&recipe.run, group)?;
    let group = &group.clone().on(&device)?;
    run::agree(group, &recipe.print()?)?;
    let weights = init::teacher(&recipe.model.manifest()?, recipe.run.seed)?;
    let mut trainer = TeacherTrainer::new(&recipe, &device, &weights)?.with_group(group);
    drop(weights);
    if args.run.dry_run {
        let side = recipe.model.image_size;
        return estimate::print(&recipe.run, estimate::count(&trainer.state.weights), |pictures| {
            trainer.step(&estimate::noise(pictures, side)?, &vec![0; pictures])?;
            Ok(trainer.workspace_bytes() + trainer.state.bytes())
        });
    }
    let stop = run::stop()?;
    let data = run::missing(&args.data, "--data")?;
    let pictures = Arc::new(Pictures::open(data)?);
    run::agree_on_pictures(group, &pictures)?;
    let held_out = args.held_out.as_ref().map(Pictures::open).transpose()?;
    let left_out = |error: &Error| run::left_out(group, error);
    let mut job = TeacherJob::new(&recipe, trainer, pictures, args.workers, held_out.as_ref(), left_out)?;
    run::go(&args.run, &recipe.run, &device, &mut job, &stop)
}
