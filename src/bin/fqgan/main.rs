//! `fqgan`: the command line.

mod codec;
mod compare;
mod convert;
mod decode;
mod demo;
#[cfg(all(feature = "eval", feature = "train"))]
mod draw;
mod encode;
#[cfg(all(feature = "eval", feature = "train"))]
mod eval;
mod failure;
#[cfg(all(feature = "eval", feature = "train"))]
mod figure;
mod files;
mod generate;
mod generator;
mod grid;
mod inspect;
#[cfg(all(feature = "eval", feature = "train"))]
mod page;
mod print;
mod progress;
#[cfg(all(feature = "eval", feature = "train"))]
mod ranks;
mod reconstruct;
#[cfg(all(feature = "eval", feature = "train"))]
mod sample;
mod score;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// Pictures to codes and back, and new pictures
///
/// FQGAN's tokenizer turns a picture into a small grid of numbers (codes), and codes into a picture. A
/// 256 x 256 picture becomes 2 or 3 grids of 16 x 16 or 32 x 32 codes: about 1 to 6 KB. The FAR generator
/// makes codes of new pictures.
#[derive(Parser)]
#[command(version, arg_required_else_help = true, subcommand_required = true, after_help = EXAMPLES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "\
Examples:
  fqgan demo                                             see it work, without any file
  fqgan encode -m model.safetensors photo.jpg -o photo.fqc
  fqgan decode -m model.safetensors photo.fqc -o back.png
  fqgan reconstruct -m model.safetensors photos/ -o out/ --compare

'fqgan COMMAND --help' explains a command. Exit codes: 0 all done, 1 something failed, 2 wrong usage.";

#[derive(Subcommand)]
enum Command {
    Encode(encode::Args),
    Decode(decode::Args),
    Reconstruct(reconstruct::Args),
    Generate(generate::Args),
    #[cfg(all(feature = "eval", feature = "train"))]
    Sample(sample::Args),
    Score(score::Args),
    #[cfg(all(feature = "eval", feature = "train"))]
    Eval(eval::Args),
    #[cfg(all(feature = "eval", feature = "train"))]
    Figure(figure::Args),
    Demo(demo::Args),
    Inspect(inspect::Args),
    Convert(convert::Args),
}

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Encode(args) => encode::run(&args),
        Command::Decode(args) => decode::run(&args),
        Command::Reconstruct(args) => reconstruct::run(&args),
        Command::Generate(args) => generate::run(&args),
        #[cfg(all(feature = "eval", feature = "train"))]
        Command::Sample(args) => ranks::together(|ranks| sample::run(&args, ranks)),
        Command::Score(args) => score::run(&args),
        #[cfg(all(feature = "eval", feature = "train"))]
        Command::Eval(args) => ranks::together(|ranks| eval::run(&args, ranks)),
        #[cfg(all(feature = "eval", feature = "train"))]
        Command::Figure(args) => figure::run(&args),
        Command::Demo(args) => demo::run(&args),
        Command::Inspect(args) => inspect::run(&args),
        Command::Convert(args) => convert::run(&args),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}
