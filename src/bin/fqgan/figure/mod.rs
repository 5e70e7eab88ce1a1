//! `fqgan figure`: the paper's pictures, and plots of what was measured.

mod codes;
mod numbers;
mod parts;
mod profile;
mod samples;

use crate::failure::{Result, usage};
use clap::Subcommand;
use std::path::Path;

/// Draw figures: what sub-codebooks hold, codes by class, rates, usage, samples, time by operation
///
/// Each is written as .svg or .png, as its name says, and can be read in black and white.
#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    Parts(parts::Args),
    Codes(codes::Args),
    Rates(numbers::RatesArgs),
    Usage(numbers::UsageArgs),
    Samples(samples::Args),
    Profile(profile::Args),
}

pub fn run(args: &Args) -> Result {
    match &args.what {
        What::Parts(args) => parts::run(args),
        What::Codes(args) => codes::run(args),
        What::Rates(args) => numbers::rates(args),
        What::Usage(args) => numbers::usages(args),
        What::Samples(args) => samples::run(args),
        What::Profile(args) => profile::run(args),
    }
}

/// Refuses other kinds of files before the work begins.
fn check(output: &Path) -> Result {
    let is = |kind: &str| output.extension().is_some_and(|e| e.eq_ignore_ascii_case(kind));
    if is("svg") || is("png") {
        return Ok(crate::files::make_parent(output)?);
    }
    usage(format!("-o {}: expected a .svg or a .png file", output.display()))
}
