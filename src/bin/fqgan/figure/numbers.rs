use super::check;
use crate::draw::{self, Curve, Named};
use crate::failure::{Result, usage};
use clap::ValueEnum;
use fqgan::Error;
use serde_json::Value;
use std::path::{Path, PathBuf};

/// Rate and distortion: what was measured of models, over the bits of a pixel
#[derive(clap::Args)]
#[command(after_help = "\
Example:
  fqgan figure rates dual16.json triple16.json dual8.json triple8.json --of rfid -o rates.svg")]
pub struct RatesArgs {
    /// Files that `fqgan eval reconstruction --json` wrote; a point each, by the file's name
    #[arg(required = true, value_name = "FILE")]
    inputs: Vec<PathBuf>,
    /// What is drawn over the bits
    #[arg(long, value_enum, default_value_t, value_name = "FIGURE")]
    of: Figure,
    /// A .svg or .png file
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
}

#[derive(Clone, Copy, Default, ValueEnum)]
enum Figure {
    #[default]
    Psnr,
    Ssim,
    Lpips,
    Rfid,
}

/// How often each code came, the most frequent first, a panel for each sub-codebook
#[derive(clap::Args)]
#[command(after_help = "\
Example:
  fqgan figure usage dual16.json triple16.json -o usage.png")]
pub struct UsageArgs {
    /// Files that `fqgan eval reconstruction --json` wrote
    #[arg(required = true, value_name = "FILE")]
    inputs: Vec<PathBuf>,
    /// A .svg or .png file
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
}

pub fn rates(args: &RatesArgs) -> Result {
    check(&args.output)?;
    let (key, name) = match args.of {
        Figure::Psnr => ("psnr", "PSNR, dB"),
        Figure::Ssim => ("ssim", "SSIM"),
        Figure::Lpips => ("lpips", "LPIPS"),
        Figure::Rfid => ("rfid", "rFID"),
    };
    let mut points = Vec::new();
    for path in &args.inputs {
        let json = read(path)?;
        let (Some(bits), Some(value)) = (json["bits_per_pixel"].as_f64(), json[key].as_f64()) else {
            return usage(format!(
                "{}: expected bits_per_pixel and {key}, as `fqgan eval reconstruction --json` writes them",
                path.display()
            ));
        };
        points.push(Named { name: stem(path), place: (bits, value) });
    }
    Ok(draw::save(&draw::points(&points, ["bits a pixel", name])?, &args.output)?)
}

pub fn usages(args: &UsageArgs) -> Result {
    check(&args.output)?;
    let (mut curves, mut columns) = (Vec::new(), 1);
    for path in &args.inputs {
        let json = read(path)?;
        let counts: Option<Vec<Vec<u64>>> = serde_json::from_value(json["histograms"].clone()).ok();
        let names: Option<Vec<String>> = serde_json::from_value(json["codebooks"].clone()).ok();
        let (Some(counts), Some(names)) = (counts, names) else {
            return usage(format!(
                "{}: expected codebooks and histograms, as `fqgan eval reconstruction --json` writes them",
                path.display()
            ));
        };
        columns = columns.max(counts.len());
        for (i, (name, counts)) in names.iter().zip(&counts).enumerate() {
            let share = 100.0 * json["usage"][i].as_f64().unwrap_or_default();
            let caption = format!("{}: {name}, {share:.1} % used", stem(path));
            curves.push(Curve::of_counts(caption, counts));
        }
    }
    Ok(draw::save(&draw::panels(&curves, columns, ["codes", "count"])?, &args.output)?)
}

fn stem(path: &Path) -> String {
    path.file_stem().map(|s| s.to_string_lossy().into_owned()).unwrap_or_default()
}

fn read(path: &Path) -> Result<Value> {
    let text = std::fs::read_to_string(path)
        .map_err(|e| Error::io(format_args!("reading {}", path.display()), &e))?;
    Ok(serde_json::from_str(&text).map_err(|e| Error::format(format!("{}: no JSON: {e}", path.display())))?)
}
