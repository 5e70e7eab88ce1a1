//! The generator as the commands use it: its arguments, and the codes of files on its grid.

use crate::codec::{Codec, ComputeArgs};
use crate::failure::Result;
use crate::grid::Grid;
use clap::{Args, ValueEnum};
use fqgan::Error;
use fqgan::backend::Device;
use fqgan::codes::{Codes, Info};
use fqgan::error::Context;
use fqgan::far::{Generator, Options, Sampling};
use fqgan::image::Picture;
use fqgan::nn::Precision;
use fqgan::weights::{Map, Source};
use std::path::{Path, PathBuf};

/// Which generator, which tokenizer beside it, and how they compute.
#[derive(Args)]
pub struct GeneratorArgs {
    /// The generator's weights: a .safetensors file, or the authors' .pt
    #[arg(short, long, value_name = "FILE")]
    generator: PathBuf,
    /// Its rows and columns of codes, where the file does not say them, as the authors' .pt do not [default: what
    /// the file says, or 16x16]
    #[arg(long, value_name = "ROWSxCOLUMNS")]
    grid: Option<Grid>,
    /// The tokenizer's weights, for pictures; where only code files are read and written it is not needed
    #[arg(short, long, value_name = "FILE")]
    model: Option<PathBuf>,
    /// The generator's weights: f32 is exact, bf16 and int8 take a half and a quarter of the memory and of the time
    /// to read it
    #[arg(long, value_enum, default_value_t, value_name = "TYPE")]
    precision: WeightsArg,
    #[command(flatten)]
    compute: ComputeArgs,
    /// Print errors only
    #[arg(short, long)]
    pub quiet: bool,
}

#[cfg(all(feature = "eval", feature = "train"))]
impl GeneratorArgs {
    /// A number that tells these weights from others.
    pub fn fingerprint(&self) -> fqgan::Result<u32> {
        let files = std::iter::once(&self.generator).chain(&self.model);
        files.map(|file| Source::open(file, Map::On)?.fingerprint()).try_fold(0u32, |all, one| {
            // Two equal files are not none.
            Ok(all.rotate_left(1) ^ one?)
        })
    }
}

/// How codes are drawn.
#[derive(Args)]
pub struct SamplingArgs {
    /// How much the class counts: 1 not more than it would, 2 as in the paper
    #[arg(long, value_name = "SCALE", default_value_t = 2.0)]
    guidance: f32,
    /// Number that the random choices follow from
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// Below 1 likelier codes are drawn more often, above 1 less
    #[arg(long, value_name = "T", default_value_t = 1.0)]
    temperature: f32,
    /// Draw from the N likeliest codes only; 1 always takes the likeliest [default: all]
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    top_k: usize,
    /// Draw from the likeliest codes that together have this probability only
    #[arg(long, value_name = "P", default_value_t = 1.0)]
    top_p: f32,
}

impl SamplingArgs {
    pub fn sampling(&self) -> Sampling {
        Sampling {
            guidance: self.guidance,
            temperature: self.temperature,
            top_k: self.top_k,
            top_p: self.top_p,
            seed: self.seed,
            ..Sampling::default()
        }
    }
}

#[derive(Clone, Copy, Default, ValueEnum)]
enum WeightsArg {
    #[default]
    F32,
    Bf16,
    Int8,
}

/// An open generator, and a tokenizer where there is one.
pub struct Pair {
    pub generator: Generator,
    codec: Option<Codec>,
}

impl Pair {
    pub fn open(args: &GeneratorArgs) -> Result<Pair> {
        let device = args.compute.device()?;
        let precision = match args.precision {
            WeightsArg::F32 => Precision::F32,
            WeightsArg::Bf16 => Precision::Bf16,
            WeightsArg::Int8 => Precision::Int8,
        };
        let options = Options { precision, memory_limit: args.compute.memory_limit() };
        let source = Grid::of(args.grid, Source::open(&args.generator, Map::On)?);
        let generator = Generator::open(&device, &source, &options)?;
        let mut pair = Pair { generator, codec: None };
        if let Some(model) = &args.model {
            pair.codec = Some(pair.tokenizer(args, model, &device)?);
        }
        Ok(pair)
    }

    fn tokenizer(&self, args: &GeneratorArgs, model: &Path, device: &Device) -> Result<Codec> {
        let source = Source::open(model, Map::On)?;
        let codec = Codec::whole(args.compute.tokenizer(device, &source, Precision::F32)?);
        let (g, t) = (self.generator.config(), codec.tokenizer.config());
        if (g.codebooks, g.codebook_size) != (t.branches.len(), t.codebook_size) {
            let message = format!(
                "the generator has {} sub-codebooks of {}, the tokenizer {} of {}: they do not belong together",
                g.codebooks,
                g.codebook_size,
                t.branches.len(),
                t.codebook_size
            );
            return Err(Error::invalid(message).into());
        }
        Ok(codec)
    }

    /// Fails where pictures are needed and there is no tokenizer.
    pub fn expect_tokenizer(&self, why: &str) -> Result {
        match self.codec {
            Some(_) => Ok(()),
            None => {
                crate::failure::usage(format!("{why} needs the tokenizer: name its weights with --model"))
            }
        }
    }

    fn codec(&self) -> fqgan::Result<&Codec> {
        self.codec
            .as_ref()
            .ok_or_else(|| Error::invalid("pictures need the tokenizer: name its weights with --model"))
    }

    /// Names of the sub-codes.
    pub fn names(&self) -> Vec<String> {
        match &self.codec {
            Some(codec) => codec.codebooks().into_iter().map(str::to_owned).collect(),
            None => (0..self.generator.config().codebooks).map(|k| format!("sub-code {k}")).collect(),
        }
    }

    /// Height and width of pictures.
    #[cfg(all(feature = "eval", feature = "train"))]
    pub fn picture_size(&self) -> fqgan::Result<[usize; 2]> {
        let (config, factor) = (self.generator.config(), self.codec()?.factor());
        Ok([config.grid_height * factor, config.grid_width * factor])
    }

    /// The pictures of codes.
    pub fn pictures(&self, codes: &Codes) -> fqgan::Result<Vec<Picture>> {
        let codec = self.codec()?;
        codes.images().map(|image| codec.decode(&codes.info(), image, 0)).collect()
    }

    /// The codes of a file: of a code file all, of a picture those of its centre crop on the generator's grid.
    pub fn codes_of(&self, file: &Path) -> fqgan::Result<Codes> {
        let is_codes = file.extension().is_some_and(|e| e.eq_ignore_ascii_case("fqc"));
        let codes = if is_codes { Codes::load(file)? } else { self.encode(file)? };
        let (have, want) = (codes.info(), self.generator.codes_info(codes.info().count));
        if have != want {
            let text =
                |i: &Info| format!("{} x {} x {} codes of {}", i.k, i.height, i.width, i.codebook_size);
            return Err(Error::invalid(format!(
                "{}: {} an image, the generator has {}",
                file.display(),
                text(&have),
                text(&want)
            )));
        }
        Ok(codes)
    }

    fn encode(&self, file: &Path) -> fqgan::Result<Codes> {
        let codec = self.codec().context(|| file.display())?;
        let (g, f) = (self.generator.config(), codec.factor());
        if g.grid_width != g.grid_height {
            return Err(Error::unsupported(format!(
                "{}: the generator's grid of {} x {} is no square, give codes instead",
                file.display(),
                g.grid_width,
                g.grid_height
            )));
        }
        let picture = codec.load(file, Some(g.grid_width * f))?;
        codec.encode(&picture).context(|| file.display())
    }
}
