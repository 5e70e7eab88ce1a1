use crate::codec::{Codec, ComputeArgs};
use crate::compare::Row;
use crate::failure::Result;
use crate::files;
use crate::print::say;
use fqgan::backend::Device;
use fqgan::codes::{Codes, Info};
use fqgan::image::{Load, PixelFormat, ViewMut};
use fqgan::nn::Precision;
use fqgan::tokenizer::{Config, Grid};
use fqgan::weights::{Map, Source, formula};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

/// Encode and decode three photographs that come with the program
///
/// Without --model the full-size Dual f16 model runs on weights that a formula makes, as no trained ones are
/// shipped: its pictures are noise, but its speed is real, and its codes are compared with those that the
/// authors' implementation gives for the same weights.
#[derive(clap::Args)]
pub struct Args {
    /// The comparison picture to write
    #[arg(short, long, value_name = "FILE", default_value = "fqgan-demo.png")]
    output: PathBuf,
    /// Use these weights instead
    #[arg(short, long, value_name = "FILE")]
    model: Option<PathBuf>,
    #[command(flatten)]
    compute: ComputeArgs,
}

const PHOTOGRAPHS: [(&str, &[u8]); 3] = [
    ("astronaut", include_bytes!("../../../assets/photographs/astronaut.png")),
    ("chelsea", include_bytes!("../../../assets/photographs/chelsea.png")),
    ("coffee", include_bytes!("../../../assets/photographs/coffee.png")),
];
/// What the authors' implementation makes of the first photograph with the formula's weights.
const GOLDEN: &[u8] = include_bytes!("../../../tests/golden/tokenizer_dual_vq16.safetensors");
/// The seed of those weights.
const SEED: u64 = 1;
/// Where the two nearest codes are closer than this, rounding may decide.
const GAP: f32 = 1e-3;

pub fn run(args: &Args) -> Result {
    let device = args.compute.device()?;
    let source = match &args.model {
        Some(file) => Source::open(file, Map::On)?,
        None => formula_weights()?,
    };
    let codec = Codec::whole(args.compute.tokenizer(&device, &source, Precision::F32)?);
    describe(&codec, &device)?;
    let mut rows = Vec::new();
    for (name, file) in PHOTOGRAPHS {
        let size = codec.tokenizer.config().image_size;
        let picture = Load::default().decode(file)?.center_crop(size)?;
        let start = Instant::now();
        let codes = codec.encode(&picture)?;
        let encoded = start.elapsed().as_secs_f64();
        let start = Instant::now();
        let back = codec.decode(&codes.info(), codes.data(), 0)?;
        let decoded = start.elapsed().as_secs_f64();
        let packing = if rows.is_empty() { " (the first time weights are packed)" } else { "" };
        say!("\n{name}: encoded in {encoded:.2} s, decoded in {decoded:.2} s{packing}")?;
        show(&codec, &codes)?;
        if rows.is_empty() && args.model.is_none() {
            compare(&codec, &codes)?;
        }
        rows.push(Row::new(&codec, picture, &codes, back)?);
    }
    files::make_parent(&args.output)?;
    Row::page(&rows)?.save_png(&args.output)?;
    say!("\nOriginals, reconstructions and what each sub-codebook holds: {}", args.output.display())
}

fn formula_weights() -> Result<Source> {
    say!(
        "The paper's trained weights are not shipped: these are made by a formula, so the pictures will be noise."
    )?;
    let start = Instant::now();
    let manifest = Config::published(2, 16)?.manifest();
    let mut entries = Vec::new();
    for (name, shape) in manifest.iter() {
        let shape = fqgan::tensor::Shape::try_from_slice(shape);
        let shape = shape.ok_or_else(|| fqgan::Error::internal(format!("{name} has too many axes")))?;
        entries.push(formula::Entry::by_rule(name, shape));
    }
    let source = formula::source(&entries, SEED)?;
    let millions = manifest.parameters() as f64 / 1e6;
    say!("Made {millions:.1} million weights in {:.1} s.", start.elapsed().as_secs_f64())?;
    Ok(source)
}

fn describe(codec: &Codec, device: &Device) -> Result {
    let config = codec.tokenizer.config();
    say!(
        "Tokenizer with sub-codebooks {}, {} codes of {} elements each, down-sampling {}; {device}.",
        codec.codebooks().join(", "),
        config.codebook_size,
        config.code_dim,
        codec.factor()
    )
}

/// The upper left codes of each sub-codebook.
fn show(codec: &Codec, codes: &Codes) -> Result {
    let info = codes.info();
    let (height, width, bytes) = (info.height, info.width, info.packed_len()?);
    say!(
        "  {} x {height} x {width} codes, {bytes} bytes as a file; the first of each sub-codebook:",
        info.k
    )?;
    for (name, book) in codec.codebooks().iter().zip(codes.data().chunks_exact(height * width)) {
        let first: Vec<String> = book.iter().take(width.min(10)).map(|c| format!("{c:5}")).collect();
        say!("  {name:>8} {} ...", first.join(" "))?;
    }
    Ok(())
}

/// Codes and reconstruction against the golden case's.
fn compare(codec: &Codec, codes: &Codes) -> Result {
    let golden = Source::from_bytes(Arc::new(GOLDEN.to_vec()))?;
    let info = codes.info();
    let cells = info.height * info.width;
    let mut wanted = Vec::new();
    let (mut equal, mut close) = (0, 0);
    for (name, found) in codec.codebooks().iter().zip(codes.data().chunks_exact(cells)) {
        let tensor = golden.tensor(&format!("codes_{name}"))?;
        let gaps = golden.tensor(&format!("gap_{name}"))?;
        for ((found, want), gap) in found.iter().zip(tensor.data::<i32>()?).zip(gaps.data::<f32>()?) {
            equal += usize::from(i64::from(*found) == i64::from(*want));
            close += usize::from(i64::from(*found) != i64::from(*want) && *gap <= GAP);
            wanted.push(*want as u32);
        }
    }
    let tied =
        if close > 0 { format!(" ({close} more where two codes are all but tied)") } else { String::new() };
    say!("  {equal} of {} codes equal those of the authors' implementation{tied}", wanted.len())?;
    let error = error_of(codec, &info, &wanted, golden.tensor("reconstruction")?.data()?)?;
    say!("  its codes decode to its picture with a relative error of {error:.1e}")
}

fn error_of(codec: &Codec, info: &Info, codes: &[u32], want: &[f32]) -> Result<f64> {
    let (height, width) = (info.height * codec.factor(), info.width * codec.factor());
    let mut planes = vec![0.0; 3 * height * width];
    let view = ViewMut::floats(&mut planes, width, height, 0, PixelFormat::RgbF32Planar)?;
    let grid = Grid { height: info.height, width: info.width };
    codec.tokenizer.decode_into(codes, grid, 0, &mut [view])?;
    let square = |x: f32| f64::from(x).powi(2);
    let wrong: f64 = planes.iter().zip(want).map(|(a, b)| square(a - b)).sum();
    Ok((wrong / want.iter().map(|x| square(*x)).sum::<f64>()).sqrt())
}
