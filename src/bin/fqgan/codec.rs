//! The tokenizer as the commands use it: its arguments, and pictures to codes and back.

use crate::failure::{Result, usage};
use clap::{Args, ValueEnum};
use fqgan::Error;
use fqgan::backend::Device;
use fqgan::codes::{Codes, Info};
use fqgan::error::Context;
use fqgan::image::{Load, Picture};
use fqgan::nn::Precision;
use fqgan::tokenizer::{Grid, Options, Tiling, Tokenizer};
use fqgan::weights::{Map, Source};
use std::path::{Path, PathBuf};

/// Which tokenizer, and how it computes.
#[derive(Args)]
pub struct ModelArgs {
    /// The tokenizer's weights: a .safetensors file, or the authors' .pt
    #[arg(short, long, value_name = "FILE")]
    pub model: PathBuf,
    /// f32 is exact; bf16 is faster where the processor multiplies it, and changes a few codes in a hundred
    #[arg(long, value_enum, default_value_t, value_name = "TYPE")]
    precision: OperandsArg,
    #[command(flatten)]
    pub compute: ComputeArgs,
    /// Print errors only
    #[arg(short, long)]
    pub quiet: bool,
}

/// Where a model computes.
#[derive(Args)]
pub struct ComputeArgs {
    /// Where to compute
    #[arg(long, value_enum, default_value_t, value_name = "DEVICE")]
    pub device: DeviceArg,
    /// Threads [default: one per physical core]
    #[arg(long, value_name = "N")]
    pub threads: Option<usize>,
    /// Most working memory in MiB
    #[arg(long, value_name = "MIB")]
    memory_limit: Option<usize>,
}

#[derive(Clone, Copy, Default, ValueEnum)]
pub enum DeviceArg {
    /// The best there is
    #[default]
    Auto,
    Cpu,
    /// The first GPU of NVIDIA's
    Cuda,
}

#[derive(Clone, Copy, Default, ValueEnum)]
enum OperandsArg {
    #[default]
    F32,
    Bf16,
}

impl ModelArgs {
    /// The operands' type, by name.
    pub fn type_name(&self) -> &'static str {
        match self.precision {
            OperandsArg::F32 => "f32",
            OperandsArg::Bf16 => "bf16",
        }
    }
}

/// What of a picture is encoded.
#[derive(Args)]
pub struct PictureArgs {
    /// Scale the shorter side to N pixels and take the square in the middle [default: the model's size, 256]
    #[arg(long, value_name = "N", conflicts_with = "keep_size")]
    pub size: Option<usize>,
    /// Take the whole picture at its own size; sides are trimmed to a multiple of the model's factor (8 or 16)
    #[arg(long)]
    pub keep_size: bool,
    #[command(flatten)]
    pub tile: TileArgs,
}

/// How large pictures are cut.
#[derive(Args)]
pub struct TileArgs {
    /// Work through large pictures in overlapping tiles, so that memory does not grow with the picture
    #[arg(
        long, value_name = "SIDE", num_args = 0..=1, require_equals = true, default_missing_value = "0",
        help = "Work in overlapping tiles of SIDE pixels, so that memory does not grow with the picture \
                [default SIDE: the model's size, 256]"
    )]
    pub tile: Option<usize>,
}

impl ComputeArgs {
    pub fn device(&self) -> Result<Device> {
        if self.threads == Some(0) {
            return usage("--threads 0: expected at least 1");
        }
        let name = match self.device {
            DeviceArg::Auto => "auto",
            DeviceArg::Cpu => "cpu",
            DeviceArg::Cuda => "cuda",
        };
        Ok(Device::named(name, self.threads.unwrap_or(0))?)
    }

    /// Most bytes of working memory.
    pub fn memory_limit(&self) -> Option<usize> {
        self.memory_limit.map(|mib| mib.saturating_mul(1 << 20))
    }

    pub fn tokenizer(&self, device: &Device, source: &Source, precision: Precision) -> Result<Tokenizer> {
        let options = Options { memory_limit: self.memory_limit(), precision };
        Ok(Tokenizer::open(device, source, &options)?)
    }
}

/// An open tokenizer.
pub struct Codec {
    pub tokenizer: Tokenizer,
    tiling: Option<Tiling>,
}

impl Codec {
    pub fn open(args: &ModelArgs, tile: &TileArgs) -> Result<Codec> {
        let device = args.compute.device()?;
        let source = Source::open(&args.model, Map::On)?;
        let precision = match args.precision {
            OperandsArg::F32 => Precision::F32,
            OperandsArg::Bf16 => Precision::Bf16,
        };
        let tokenizer = args.compute.tokenizer(&device, &source, precision)?;
        let mut codec = Codec { tokenizer, tiling: None };
        codec.tiling = match tile.tile {
            None => None,
            Some(0) => Some(Tiling::trained(&codec.tokenizer)),
            Some(side) => {
                let f = codec.factor();
                if !side.is_multiple_of(f) || side < 2 * f {
                    return usage(format!("--tile={side}: expected a multiple of {f}, at least {}", 2 * f));
                }
                Some(Tiling { tile: side, overlap: (side / f).div_ceil(4) * f })
            }
        };
        Ok(codec)
    }

    /// As [`Codec::open`], to encode pictures of the sizes that `args` ask for.
    pub fn open_for(model: &ModelArgs, args: &PictureArgs) -> Result<Codec> {
        let codec = Codec::open(model, &args.tile)?;
        let f = codec.factor();
        match args.size {
            Some(size) if size == 0 || !size.is_multiple_of(f) => {
                usage(format!("--size {size}: expected a multiple of {f}"))
            }
            _ => Ok(codec),
        }
    }

    pub fn whole(tokenizer: Tokenizer) -> Codec {
        Codec { tokenizer, tiling: None }
    }

    /// Pixels of a side that become one code.
    pub fn factor(&self) -> usize {
        self.tokenizer.config().downsample()
    }

    /// Names of the sub-codebooks, in order.
    pub fn codebooks(&self) -> Vec<&str> {
        self.tokenizer.config().names().collect()
    }

    /// The mask of sub-codebooks by name; 0, all, when none is named.
    pub fn mask(&self, names: &[String]) -> Result<u32> {
        let known = self.codebooks();
        let mut mask = 0;
        for name in names {
            match known.iter().position(|k| k == name) {
                Some(bit) => mask |= 1 << bit,
                None => {
                    return usage(format!(
                        "--codebooks {name}: the model has no such sub-codebook, it has {}",
                        known.join(", ")
                    ));
                }
            }
        }
        Ok(mask)
    }

    /// A picture file, at the size that it is encoded at, and its codes.
    pub fn encode_file(&self, path: &Path, args: &PictureArgs) -> fqgan::Result<(Picture, Codes)> {
        let size = args.size.unwrap_or(self.tokenizer.config().image_size);
        let picture = self.load(path, (!args.keep_size).then_some(size))?;
        let codes = self.encode(&picture).context(|| path.display())?;
        Ok((picture, codes))
    }

    /// A picture file's centre crop of that size, or all of it, but for what is no multiple of the factor.
    pub fn load(&self, path: &Path, size: Option<usize>) -> fqgan::Result<Picture> {
        let load = Load::default();
        let picture = load.file(path)?;
        let (width, height) = (picture.width(), picture.height());
        let Some(size) = size else {
            let f = self.factor();
            if width < f || height < f {
                return Err(Error::invalid(format!(
                    "{}: {width} x {height} pixels, expected at least {f} x {f}",
                    path.display()
                )));
            }
            return picture.center(width / f * f, height / f * f);
        };
        // A thin strip would be blown up to more memory than there is, only to be cut.
        let (longer, shorter) = (width.max(height) as u128, width.min(height) as u128);
        if (size as u128).pow(2) * longer / shorter > u128::from(load.max_pixels) {
            return Err(Error::invalid(format!(
                "{}: {width} x {height} pixels are too thin to scale the shorter side to {size}",
                path.display()
            )));
        }
        picture.center_crop(size)
    }

    /// The codes of a picture.
    pub fn encode(&self, picture: &Picture) -> fqgan::Result<Codes> {
        let config = self.tokenizer.config();
        let Grid { height, width } = self.tokenizer.grid(picture.width(), picture.height())?;
        let (k, codebook_size) = (config.branches.len(), config.codebook_size);
        let info = Info { count: 1, k, height, width, codebook_size };
        let mut codes = vec![0; info.len()?];
        match self.tiling {
            Some(tiling) => self.tokenizer.encode_tiled_into(&picture.view(), tiling, &mut codes)?,
            None => self.tokenizer.encode_into(&[picture.view()], &mut codes)?,
        }
        Codes::new(info, codes)
    }

    /// The picture of one image's codes.
    pub fn decode(&self, info: &Info, codes: &[u32], mask: u32) -> fqgan::Result<Picture> {
        let config = self.tokenizer.config();
        if (info.k, info.codebook_size) != (config.branches.len(), config.codebook_size) {
            return Err(Error::invalid(format!(
                "the codes are of {} sub-codebooks of {}, the model has {} of {}",
                info.k,
                info.codebook_size,
                config.branches.len(),
                config.codebook_size
            )));
        }
        let f = self.factor();
        let grid = Grid { height: info.height, width: info.width };
        let mut picture = Picture::new(info.width.saturating_mul(f), info.height.saturating_mul(f))?;
        let mut view = picture.view_mut();
        match self.tiling {
            Some(tiling) => self.tokenizer.decode_tiled_into(codes, grid, mask, tiling, &mut view)?,
            None => self.tokenizer.decode_into(codes, grid, mask, &mut [view])?,
        }
        Ok(picture)
    }
}
