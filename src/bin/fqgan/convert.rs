use crate::failure::{Result, usage};
use crate::files;
use crate::print::say;
use fqgan::Error;
use fqgan::tensor::{Allocate, DType, Desc, HeapAllocator, Tensor};
use fqgan::tokenizer::Config;
use fqgan::weights::{self, FileType, Map, Source};
use half::{bf16, f16};
use std::path::PathBuf;

/// Turn the authors' checkpoint (.pt) into a safetensors file, or change the type of its numbers
///
/// A safetensors file opens at once, shares its memory between programs, and cannot hold code that runs.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  fqgan convert fqgan_dual_ds16.pt fqgan_dual_ds16.safetensors
  fqgan convert model.safetensors half.safetensors --dtype bf16 --drop-training")]
pub struct Args {
    /// A .pt or .safetensors file
    input: PathBuf,
    /// The .safetensors file to write
    output: PathBuf,
    /// Type of the numbers [default: as they are]
    #[arg(long, value_enum, value_name = "TYPE")]
    dtype: Option<Type>,
    /// Leave out what only training needs
    #[arg(long)]
    drop_training: bool,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Type {
    F32,
    F16,
    Bf16,
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
    let mut names = Vec::new();
    let mut descs = Vec::new();
    for (name, info) in source.listing().iter() {
        if args.drop_training && Config::only_for_training(name) {
            continue;
        }
        let FileType::Known(dtype) = info.dtype else {
            return Err(Error::unsupported(format!("{}: tensor {name} is {info}", source.name())).into());
        };
        let shape = fqgan::tensor::Shape::try_from_slice(&info.shape);
        let shape =
            shape.ok_or_else(|| Error::unsupported(format!("{}: tensor {name} is {info}", source.name())))?;
        names.push(name);
        descs.push((name, Desc::plain(shape, target(dtype, args.dtype))));
    }
    let mut strings = source.all_metadata().clone();
    strings.insert("fqgan.version".into(), env!("CARGO_PKG_VERSION").into());
    files::make_parent(&args.output)?;
    weights::save_with(&args.output, &descs, &strings, |i| {
        let tensor = source.tensor(names[i])?;
        convert(&tensor, descs[i].1.dtype)
    })?;
    let left = source.listing().len() - names.len();
    let left = if left > 0 { format!(", {left} left out") } else { String::new() };
    say!("{}: {} tensors{left}", args.output.display(), names.len())
}

/// Numbers take the wanted type; without one, only what no model can have (f64) changes.
fn target(from: DType, wanted: Option<Type>) -> DType {
    match (from, wanted) {
        (DType::F32 | DType::F16 | DType::BF16 | DType::F64, Some(Type::F32)) => DType::F32,
        (DType::F32 | DType::F16 | DType::BF16 | DType::F64, Some(Type::F16)) => DType::F16,
        (DType::F32 | DType::F16 | DType::BF16 | DType::F64, Some(Type::Bf16)) => DType::BF16,
        (DType::F64, None) => DType::F32,
        (other, _) => other,
    }
}

fn convert(tensor: &Tensor, to: DType) -> fqgan::Result<Tensor> {
    if tensor.dtype() == to {
        return Ok(tensor.clone());
    }
    let wide = tensor.to_f32()?;
    let from = wide.data::<f32>()?;
    let desc = Desc::plain(*tensor.shape(), to);
    let bytes = desc.bytes().unwrap_or(usize::MAX); // More than there is, and refused as that.
    let mut out = Tensor::new(desc, HeapAllocator.allocate(bytes)?)?;
    match to {
        DType::F16 => {
            for (to, &from) in out.data_mut::<f16>()?.iter_mut().zip(from) {
                *to = f16::from_f32(from);
                if from.is_finite() && !to.is_finite() {
                    return Err(Error::invalid(format!("{from} is too large for f16, use bf16")));
                }
            }
        }
        DType::BF16 => {
            let to = out.data_mut::<bf16>()?.iter_mut();
            to.zip(from).for_each(|(to, &from)| *to = bf16::from_f32(from));
        }
        _ => return Ok(wide),
    }
    Ok(out)
}
