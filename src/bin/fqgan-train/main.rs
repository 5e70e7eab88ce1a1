//! `fqgan-train`: training.

mod codes;
mod estimate;
mod far;
mod log;
mod networks;
mod recipe;
mod run;
mod step;
mod step_far;
mod teacher;
mod tokenizer;
mod traffic;

use clap::{Parser, Subcommand};
use fqgan::train::collective::Group;
use fqgan::{Error, Result};
use std::process::ExitCode;

/// Train tokenizers and generators
///
/// A run is described by a recipe, a toml file. The published ones are built in: name one, or a file.
#[derive(Parser)]
#[command(version, arg_required_else_help = true, subcommand_required = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Tokenizer(Box<tokenizer::Args>),
    Codes(codes::Args),
    Far(far::Args),
    Teacher(teacher::Args),
    Step(Box<step::Args>),
    Traffic(traffic::Args),
}

fn main() -> ExitCode {
    let result = match &Cli::parse().command {
        Command::Step(args) => alone(|| step::run(args)),
        Command::Traffic(args) => alone(|| traffic::run(args)),
        Command::Tokenizer(args) => Group::together(|group| tokenizer::run(args, group)),
        Command::Codes(args) => Group::together(|group| codes::run(args, group)),
        Command::Far(args) => Group::together(|group| far::run(args, group)),
        Command::Teacher(args) => Group::together(|group| teacher::run(args, group)),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("fqgan-train: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Work that several processes cannot share.
fn alone(work: impl FnOnce() -> Result<()>) -> Result<()> {
    match Group::told() {
        1 => work(),
        started => {
            Err(Error::invalid(format!("{started} processes were started together; `step` is for one")))
        }
    }
}
