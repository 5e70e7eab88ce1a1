use crate::codec::{Codec, ModelArgs, PictureArgs};
use crate::failure::Result;
use crate::files::{self, Job, PICTURES, Target};
use crate::print::say;
use crate::progress;
use fqgan::Error;
use fqgan::codes::{Codes, Info};
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Turn pictures into code files (.fqc)
///
/// Pictures are PNG, JPEG or WebP files, or folders of them. Each is scaled so that its shorter side is 256
/// pixels and cut to the square in the middle, unless --size or --keep-size says otherwise. Only 256 x 256 is
/// what the models were trained for; codes at other sizes work, but there is no reference for them. Transparency is
/// ignored, of an animation the first picture is taken, and photographs are turned as the camera noted.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  fqgan encode -m model.safetensors photo.jpg -o photo.fqc
  fqgan encode -m model.safetensors photos/ -o codes/        a code file for each picture
  fqgan encode -m model.safetensors photos/ -o all.fqc       all pictures in one code file
  fqgan encode -m model.safetensors --keep-size --tile large.png -o large.fqc")]
pub struct Args {
    /// Pictures, or folders of pictures
    #[arg(required = true, value_name = "PICTURE")]
    inputs: Vec<PathBuf>,
    /// A .fqc file for all pictures together, or a folder for one each
    #[arg(short, long, value_name = "PATH")]
    output: PathBuf,
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    picture: PictureArgs,
}

pub fn run(args: &Args) -> Result {
    let target = Target::new(&args.output, "fqc")?;
    let inputs = files::collect(&args.inputs, &PICTURES)?;
    match target {
        Target::Folder(folder) => each_alone(args, &files::plan(inputs, &folder, "fqc")?),
        Target::File(file) => all_together(args, &files::plan_one(inputs, &file)?, &file),
    }
}

fn each_alone(args: &Args, jobs: &[Job]) -> Result {
    let codec = Codec::open_for(&args.model, &args.picture)?;
    progress::each(
        jobs,
        "pictures",
        args.model.quiet,
        |j| &j.input,
        |job| {
            let start = Instant::now();
            let (_, codes) = codec.encode_file(&job.input, &args.picture)?;
            files::make_parent(&job.output)?;
            codes.save(&job.output)?;
            Ok(Some(note(&codes, &job.output, start)?))
        },
    )
}

fn all_together(args: &Args, jobs: &[Job], file: &Path) -> Result {
    let codec = Codec::open_for(&args.model, &args.picture)?;
    let quiet = args.model.quiet;
    let start = Instant::now();
    let mut all: Option<(Info, Vec<u32>)> = None;
    progress::each(
        jobs,
        "pictures",
        quiet,
        |j| &j.input,
        |job| {
            let (_, codes) = codec.encode_file(&job.input, &args.picture)?;
            let info = codes.info();
            let (sum, data) = all.get_or_insert((Info { count: 0, ..info }, Vec::new()));
            if (sum.height, sum.width) != (info.height, info.width) {
                return Err(Error::invalid(format!(
                    "{}: a grid of {} x {} codes, the first picture has {} x {}; one file holds one size",
                    job.input.display(),
                    info.width,
                    info.height,
                    sum.width,
                    sum.height
                )));
            }
            sum.count += 1;
            data.extend(codes.into_data());
            Ok(None)
        },
    )
    .inspect_err(|_| eprintln!("fqgan: {} was not written", file.display()))?;
    let Some((info, data)) = all else { return Ok(()) };
    let codes = Codes::new(info, data)?;
    files::make_parent(file)?;
    codes.save(file)?;
    if quiet { Ok(()) } else { say!("{}", note(&codes, file, start)?) }
}

fn note(codes: &Codes, file: &Path, start: Instant) -> fqgan::Result<String> {
    let info = codes.info();
    let pictures = if info.count == 1 { String::new() } else { format!("{} pictures, ", info.count) };
    Ok(format!(
        "{}: {pictures}{} x {} x {} codes, {} bytes, {:.2} s",
        file.display(),
        info.k,
        info.height,
        info.width,
        info.packed_len()?,
        start.elapsed().as_secs_f64()
    ))
}
