use super::check;
use crate::codec::{Codec, ModelArgs, TileArgs};
use crate::draw::{self, Bar, Bars};
use crate::failure::Result;
use crate::grid::Grid;
use fqgan::exec::{Spent, profile};
use fqgan::far::{Generator, Options, Sampling};
use fqgan::image::Picture;
use fqgan::weights::{Map, Source};
use std::ops::ControlFlow;
use std::path::PathBuf;

/// Time by operation: of encoding and decoding a picture, and of generating one where there is a generator
///
/// Each is done once beforehand, which packs the weights.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  fqgan figure profile -m fqgan_dual_ds16.pt -o profile.svg
  fqgan figure profile -m fqgan_dual_ds16.pt -g far_b_dual.pt -o profile.svg")]
pub struct Args {
    #[command(flatten)]
    model: ModelArgs,
    /// A generator's weights
    #[arg(short, long, value_name = "FILE")]
    generator: Option<PathBuf>,
    /// The generator's rows and columns of codes, where its file does not say them
    #[arg(long, value_name = "ROWSxCOLUMNS", requires = "generator")]
    grid: Option<Grid>,
    /// A .svg or .png file
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
}

pub fn run(args: &Args) -> Result {
    check(&args.output)?;
    let codec = Codec::open(&args.model, &TileArgs { tile: None })?;
    let size = codec.tokenizer.config().image_size;
    let picture = Picture::new(size, size)?;
    let codes = codec.encode(&picture)?;
    codec.decode(&codes.info(), codes.data(), 0)?;
    let (encoded, encoding) = profile(|| codec.encode(&picture));
    let (decoded, decoding) = profile(|| codec.decode(&codes.info(), codes.data(), 0));
    encoded?;
    decoded?;
    let pixels = format!("{size} x {size} pixels");
    let mut sets = vec![
        set(&format!("encode a picture of {pixels}"), &encoding),
        set(&format!("decode a picture of {pixels}"), &decoding),
    ];
    if let Some(path) = &args.generator {
        let device = args.model.compute.device()?;
        let source = Grid::of(args.grid, Source::open(path, Map::On)?);
        let options = Options { memory_limit: args.model.compute.memory_limit(), ..Options::default() };
        let generator = Generator::open(&device, &source, &options)?;
        let mut codes = vec![0; generator.codes_info(1).len()?];
        let sampling = Sampling::default();
        let goes_on = &mut |_: usize, _: usize| ControlFlow::Continue(());
        generator.generate_into(&[0], &sampling, &mut codes, goes_on)?;
        let (made, making) = profile(|| generator.generate_into(&[0], &sampling, &mut codes, goes_on));
        made?;
        sets.push(set(&format!("generate a picture, guidance {}", sampling.guidance), &making));
    }
    Ok(draw::save(&draw::bars(&sets)?, &args.output)?)
}

fn set(what: &str, spent: &[Spent]) -> Bars {
    let all: f64 = spent.iter().map(|s| s.time.as_secs_f64()).sum();
    let bar = |s: &Spent| {
        let seconds = s.time.as_secs_f64();
        Bar {
            name: s.name.replace('_', " "),
            value: seconds,
            words: format!(
                "{:.1} %, {:.2} ms in {} runs, {:.0} GFLOP/s",
                100.0 * seconds / all,
                1e3 * seconds,
                s.runs,
                s.flops / seconds.max(1e-12) / 1e9
            ),
        }
    };
    Bars {
        caption: format!("{what}: {:.1} ms in operations", 1e3 * all),
        bars: spent.iter().map(bar).collect(),
    }
}
