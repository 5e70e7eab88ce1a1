use super::check;
use crate::codec::{Codec, ModelArgs, PictureArgs};
use crate::compare::Row;
use crate::draw;
use crate::failure::Result;
use crate::files::{self, PICTURES};
use std::path::PathBuf;

/// What each sub-codebook holds: originals, reconstructions, and what each sub-codebook alone gives (the paper's figure 3)
#[derive(clap::Args)]
#[command(after_help = "\
Example:
  fqgan figure parts -m fqgan_triple_ds16.pt dog.jpg bird.jpg -o figure3.png")]
pub struct Args {
    /// Pictures, or folders of pictures: a row each
    #[arg(required = true, value_name = "PICTURE")]
    inputs: Vec<PathBuf>,
    /// A .svg or .png file
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    picture: PictureArgs,
}

pub fn run(args: &Args) -> Result {
    check(&args.output)?;
    let inputs = files::collect(&args.inputs, &PICTURES)?;
    let codec = Codec::open_for(&args.model, &args.picture)?;
    let mut rows = Vec::new();
    for input in &inputs {
        let (original, codes) = codec.encode_file(&input.path, &args.picture)?;
        let back = codec.decode(&codes.info(), codes.data(), 0)?;
        rows.push(Row::new(&codec, original, &codes, back)?);
    }
    Ok(draw::save_picture(&Row::page(&rows)?, &args.output)?)
}
