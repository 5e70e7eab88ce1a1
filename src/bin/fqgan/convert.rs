use crate::failure::{Result, usage};
use crate::files;
use crate::grid::Grid;
use crate::print::say;
use fqgan::far;
use fqgan::tensor::DType;
use fqgan::tokenizer::Config;
use fqgan::weights::{self, Map, Metadata, Source};
use std::path::PathBuf;

/// Turn the authors' checkpoint (.pt) into a safetensors file, or change the type of its numbers
///
/// A safetensors file opens at once, shares its memory between programs, and cannot hold code that runs.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  fqgan convert fqgan_dual_ds16.pt fqgan_dual_ds16.safetensors
  fqgan convert model.safetensors half.safetensors --dtype bf16 --drop-training
  fqgan convert far_b_dual.pt far_b_dual_int8.safetensors --dtype int8")]
pub struct Args {
    /// A .pt or .safetensors file
    input: PathBuf,
    /// The .safetensors file to write
    output: PathBuf,
    /// Type of the numbers [default: as they are]; int8, for generators: matrices in bytes with a scale for each
    /// row, all else as it is
    #[arg(long, value_enum, value_name = "TYPE")]
    dtype: Option<Type>,
    /// Rows and columns of a generator's codes, to stand in the file: the authors' .pt do not say them
    #[arg(long, value_name = "ROWSxCOLUMNS")]
    grid: Option<Grid>,
    /// Leave out what only training needs
    #[arg(long)]
    drop_training: bool,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Type {
    F32,
    F16,
    Bf16,
    Int8,
}

pub fn run(args: &Args) -> Result {
    if args.output.extension().is_none_or(|e| !e.eq_ignore_ascii_case("safetensors")) {
        return usage(format!("{}: expected a name that ends in .safetensors", args.output.display()));
    }
    let there = |path: &PathBuf| std::fs::canonicalize(path).ok();
    if there(&args.input).is_some_and(|input| there(&args.output) == Some(input)) {
        return usage(format!("{} would be written over: choose another name", args.input.display()));
    }
    let source = Source::open(&args.input, Map::On)?;
    let keep = |name: &str| !(args.drop_training && Config::only_for_training(name));
    let is_generator = far::Config::recognizes(source.listing());
    let no_generator = |what: &str| usage(format!("{} is no generator: {what}", args.input.display()));
    if args.grid.is_some() && !is_generator {
        return no_generator("only those have a grid");
    }
    let mut strings = Metadata::from([("fqgan.version".to_owned(), env!("CARGO_PKG_VERSION").to_owned())]);
    strings.extend(args.grid.map(Grid::metadata).unwrap_or_default());
    files::make_parent(&args.output)?;
    let to = |dtype| weights::convert(&source, &args.output, keep, dtype, &strings);
    let written = match args.dtype {
        None => to(None)?,
        Some(Type::F32) => to(Some(DType::F32))?,
        Some(Type::F16) => to(Some(DType::F16))?,
        Some(Type::Bf16) => to(Some(DType::BF16))?,
        Some(Type::Int8) => {
            if !is_generator {
                return no_generator("only those have int8 weights");
            }
            let manifest = far::Config::infer(&source)?.manifest();
            let matrix = |name: &str| manifest.is_matrix(name);
            weights::convert_to_int8(&source, &args.output, keep, matrix, &strings)?
        }
    };
    let left = source.listing().iter().filter(|(name, _)| !keep(name)).count();
    let left = if left > 0 { format!(", {left} left out") } else { String::new() };
    say!("{}: {written} tensors{left}", args.output.display())
}
