use crate::codec::{Codec, ModelArgs, TileArgs};
use crate::failure::{Result, usage};
use crate::files::{self, CODES, Job, Target};
use crate::progress;
use fqgan::Error;
use fqgan::codes::Codes;
use fqgan::error::Context;
use std::collections::HashSet;
use std::path::PathBuf;
use std::time::Instant;

/// Turn code files (.fqc) into pictures (PNG)
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  fqgan decode -m model.safetensors photo.fqc -o photo.png
  fqgan decode -m model.safetensors codes/ -o pictures/
  fqgan decode -m model.safetensors photo.fqc --codebooks sem -o semantic-part.png

Pictures of a file that holds several are numbered: name_0000.png, name_0001.png ...")]
pub struct Args {
    /// Code files, or folders of code files
    #[arg(required = true, value_name = "CODES")]
    inputs: Vec<PathBuf>,
    /// A .png file for a single picture, or a folder
    #[arg(short, long, value_name = "PATH")]
    output: PathBuf,
    /// Use these sub-codebooks only, the others count as zero: vis, sem (Dual) or vis, sem_mid, sem_high (Triple)
    #[arg(long, value_name = "NAME,...", value_delimiter = ',')]
    codebooks: Vec<String>,
    #[command(flatten)]
    tile: TileArgs,
    #[command(flatten)]
    model: ModelArgs,
}

pub fn run(args: &Args) -> Result {
    let inputs = files::collect(&args.inputs, &CODES)?;
    let jobs = match Target::new(&args.output, "png")? {
        Target::Folder(folder) => files::plan(inputs, &folder, "png")?,
        Target::File(file) if inputs.len() == 1 => {
            let jobs = files::plan_one(inputs, &file)?;
            match Codes::load(&jobs[0].input)?.info().count {
                1 => jobs,
                n => {
                    return usage(format!(
                        "-o {}: the file holds {n} pictures, name a folder",
                        file.display()
                    ));
                }
            }
        }
        Target::File(file) => {
            return usage(format!("-o {}: {} files, name a folder", file.display(), inputs.len()));
        }
    };
    let codec = Codec::open(&args.model, &args.tile)?;
    let mask = codec.mask(&args.codebooks)?;
    let mut written = HashSet::new();
    progress::each(
        &jobs,
        "code files",
        args.model.quiet,
        |j| &j.input,
        |Job { input, output }| {
            let start = Instant::now();
            let codes = Codes::load(input)?;
            files::make_parent(output)?;
            let info = codes.info();
            for (i, image) in codes.images().enumerate() {
                let picture = codec.decode(&info, image, mask).context(|| input.display())?;
                let mut output = output.clone();
                if info.count > 1 {
                    let stem = output.file_stem().unwrap_or_default().to_string_lossy().into_owned();
                    output.set_file_name(format!("{stem}_{i:04}.png"));
                }
                if !written.insert(output.clone()) {
                    let message = format!("{}: {} was just written", input.display(), output.display());
                    return Err(Error::invalid(message));
                }
                picture.save_png(&output)?;
            }
            let f = codec.factor();
            Ok(Some(format!(
                "{}: {} of {} x {} pixels, {:.2} s",
                if info.count > 1 { args.output.display() } else { output.display() },
                if info.count > 1 { format!("{} pictures", info.count) } else { "a picture".to_owned() },
                info.width * f,
                info.height * f,
                start.elapsed().as_secs_f64()
            )))
        },
    )
}
