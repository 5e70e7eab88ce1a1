use super::check;
use crate::draw;
use crate::failure::{Result, usage};
use crate::generator::{GeneratorArgs, Pair, SamplingArgs};
use fqgan::codes::Codes;
use fqgan::far::Sampling;
use fqgan::image::{Cell, Picture, grid};
use std::ops::ControlFlow;
use std::path::PathBuf;

/// New pictures, a row for each class, a column for each scale of guidance
#[derive(clap::Args)]
#[command(after_help = "\
Example:
  fqgan figure samples -g far_b_dual.pt -m fqgan_dual_ds16.pt --class 207,360,88 --scales 1,2,4 -o samples.png")]
pub struct Args {
    /// Classes by number
    #[arg(long = "class", value_name = "N,...", value_delimiter = ',', required = true)]
    classes: Vec<u32>,
    /// Scales of guidance
    #[arg(long, value_name = "SCALE,...", value_delimiter = ',', default_values_t = [1.0, 2.0, 4.0])]
    scales: Vec<f32>,
    /// A .svg or .png file
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    #[command(flatten)]
    sampling: SamplingArgs,
    #[command(flatten)]
    model: GeneratorArgs,
}

pub fn run(args: &Args) -> Result {
    check(&args.output)?;
    if args.scales.is_empty() {
        return usage("--scales: expected at least one");
    }
    let pair = Pair::open(&args.model)?;
    pair.expect_tokenizer(&format!("-o {}", args.output.display()))?;
    let info = pair.generator.codes_info(args.classes.len());
    let mut columns: Vec<Vec<Picture>> = Vec::new();
    for &guidance in &args.scales {
        // The same random numbers, so that columns differ by the scale alone.
        let sampling = Sampling { guidance, ..args.sampling.sampling() };
        let mut codes = vec![0; info.len()?];
        let goes_on = &mut |_: usize, _: usize| ControlFlow::Continue(());
        pair.generator.generate_into(&args.classes, &sampling, &mut codes, goes_on)?;
        columns.push(pair.pictures(&Codes::new(info, codes)?)?);
    }
    let captions: Vec<Vec<String>> = args
        .classes
        .iter()
        .map(|class| args.scales.iter().map(|scale| format!("{class}, scale {scale}")).collect())
        .collect();
    let mut rows: Vec<Vec<Cell<'_>>> = Vec::new();
    for (row, captions) in captions.iter().enumerate() {
        let cells = columns.iter().zip(captions);
        rows.push(cells.map(|(column, caption)| Cell { picture: &column[row], caption }).collect());
    }
    Ok(draw::save_picture(&grid(&rows, 8)?, &args.output)?)
}
