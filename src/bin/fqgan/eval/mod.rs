//! `fqgan eval`: figures of models and of pictures.

mod measure;
mod reconstruction;
mod samples;

use crate::failure::Result;
use crate::ranks::Ranks;
use clap::Subcommand;

/// Measure models on many pictures
#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    Reconstruction(reconstruction::Args),
    Samples(samples::Args),
}

pub fn run(args: &Args, ranks: &Ranks) -> Result {
    match &args.what {
        What::Reconstruction(args) => reconstruction::run(args, ranks),
        What::Samples(args) => samples::run(args, ranks),
    }
}
