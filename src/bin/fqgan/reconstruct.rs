use crate::codec::{Codec, ModelArgs, PictureArgs};
use crate::compare::Row;
use crate::failure::{Result, usage};
use crate::files::{self, PICTURES, Target};
use crate::progress;
use fqgan::image::psnr;
use std::path::PathBuf;
use std::time::Instant;

/// Turn pictures into codes and back, to see what the codes keep
///
/// With --compare each result shows the original, the reconstruction, what each sub-codebook holds alone (the
/// others count as zero), and the difference, four times as bright.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  fqgan reconstruct -m model.safetensors photo.jpg -o back.png
  fqgan reconstruct -m model.safetensors photos/ -o comparisons/ --compare")]
pub struct Args {
    /// Pictures, or folders of pictures
    #[arg(required = true, value_name = "PICTURE")]
    inputs: Vec<PathBuf>,
    /// A .png file for a single picture, or a folder
    #[arg(short, long, value_name = "PATH")]
    output: PathBuf,
    /// Show original, reconstruction, each sub-codebook alone, and the difference side by side
    #[arg(long)]
    compare: bool,
    /// Use these sub-codebooks only, the others count as zero: vis, sem (Dual) or vis, sem_mid, sem_high (Triple)
    #[arg(long, value_name = "NAME,...", value_delimiter = ',')]
    codebooks: Vec<String>,
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    picture: PictureArgs,
}

pub fn run(args: &Args) -> Result {
    let inputs = files::collect(&args.inputs, &PICTURES)?;
    let jobs = match Target::new(&args.output, "png")? {
        Target::Folder(folder) => files::plan(inputs, &folder, "png")?,
        Target::File(file) if inputs.len() == 1 => files::plan_one(inputs, &file)?,
        Target::File(file) => {
            return usage(format!("-o {}: {} pictures, name a folder", file.display(), inputs.len()));
        }
    };
    let codec = Codec::open_for(&args.model, &args.picture)?;
    let mask = codec.mask(&args.codebooks)?;
    progress::each(
        &jobs,
        "pictures",
        args.model.quiet,
        |j| &j.input,
        |job| {
            let start = Instant::now();
            let (original, codes) = codec.encode_file(&job.input, &args.picture)?;
            let back = codec.decode(&codes.info(), codes.data(), mask)?;
            let psnr = psnr(&original, &back);
            files::make_parent(&job.output)?;
            if args.compare {
                Row::page(&[Row::new(&codec, original, &codes, back)?])?.save_png(&job.output)?;
            } else {
                back.save_png(&job.output)?;
            }
            let seconds = start.elapsed().as_secs_f64();
            Ok(Some(format!("{}: PSNR {psnr:.2} dB, {seconds:.2} s", job.output.display())))
        },
    )
}
