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
    let command = Cli::parse().command;
    let started = Group::told();
    if started > 1 && !matches!(command, Command::Tokenizer(_)) {
        eprintln!(
            "fqgan-train: {started} processes were started together; only `tokenizer` is for more than one"
        );
        return ExitCode::FAILURE;
    }
    let result = match command {
        Command::Tokenizer(args) => tokenizer::run(&args),
        Command::Codes(args) => codes::run(&args),
        Command::Far(args) => far::run(&args),
        Command::Teacher(args) => teacher::run(&args),
        Command::Step(args) => step::run(&args),
        Command::Traffic(args) => traffic::run(&args),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("fqgan-train: {error}");
            ExitCode::FAILURE
        }
    }
}
