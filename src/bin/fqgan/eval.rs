use crate::codec::{Codec, ModelArgs, TileArgs};
use crate::failure::Result;
use crate::print::say;
use clap::Subcommand;
use fqgan::Error;
use fqgan::eval::{Judges, Reconstruction, reconstruction};
use fqgan::teachers::{Inception, Lpips};
use fqgan::train::data::Pictures;
use fqgan::weights::{Map, Source};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;
use std::path::PathBuf;
use std::time::Instant;

/// Measure models on many pictures
#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    Reconstruction(ReconstructionArgs),
}

/// What a tokenizer keeps of pictures: PSNR, SSIM, L1, usage of the codebooks; LPIPS, rFID and the inception score with
/// the networks' weights
///
/// Each picture is scaled so that its shorter side has the size, and cut to the square in the middle. Pictures that
/// cannot be read are named and left out.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  fqgan eval reconstruction -m model.safetensors held-out/
  fqgan eval reconstruction -m fqgan_dual_ds16.pt ILSVRC2012_img_val.tar --lpips lpips_vgg16.safetensors \\
      --inception pt_inception-2015-12-05-6726825d.pth --json out.json")]
struct ReconstructionArgs {
    /// A folder of pictures, a folder for each class, a tar or a folder of tars
    #[arg(value_name = "PATH")]
    pictures: PathBuf,
    #[command(flatten)]
    model: ModelArgs,
    /// Side of the squares in pixels [default: the model's size, 256]
    #[arg(long, value_name = "N")]
    size: Option<usize>,
    /// VGG16 with LPIPS's heads, for LPIPS
    #[arg(long, value_name = "FILE")]
    lpips: Option<PathBuf>,
    /// The heads, where --lpips is torchvision's VGG16
    #[arg(long, value_name = "FILE", requires = "lpips")]
    lpips_heads: Option<PathBuf>,
    /// Inception v3 of the package pytorch-fid, for rFID and the inception score
    #[arg(long, value_name = "FILE")]
    inception: Option<PathBuf>,
    /// Write the numbers, and how often each code came, to a file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

pub fn run(args: &Args) -> Result {
    match &args.what {
        What::Reconstruction(args) => measure(args),
    }
}

fn measure(args: &ReconstructionArgs) -> Result {
    let open = |path: &PathBuf| Source::open(path, Map::On);
    let lpips = match &args.lpips {
        Some(path) => {
            let (network, heads) = (open(path)?, args.lpips_heads.as_ref().map(open).transpose()?);
            Some(Lpips::open(&network, heads.as_ref().unwrap_or(&network))?)
        }
        None => None,
    };
    let inception = args.inception.as_ref().map(|path| Inception::open(&open(path)?)).transpose()?;
    let judges = Judges { lpips, inception };
    let codec = Codec::open(&args.model, &TileArgs { tile: None })?;
    let device = args.model.compute.device()?;
    let size = args.size.unwrap_or(codec.tokenizer.config().image_size);
    let pictures = Pictures::open(&args.pictures)?;
    let bar = if args.model.quiet { ProgressBar::hidden() } else { ProgressBar::new(pictures.len() as u64) };
    let style = ProgressStyle::with_template("{bar:30} {pos}/{len} pictures (about {eta} left)");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    let began = Instant::now();
    let all = (0..pictures.len()).map(|i| pictures.read(i));
    let found = reconstruction(&device, &codec.tokenizer, all, size, &judges, |done, unreadable| {
        bar.set_position(done as u64);
        if let Some(error) = unreadable {
            bar.suspend(|| eprintln!("fqgan: left out: {error}"));
        }
        Ok(())
    })?;
    bar.finish_and_clear();
    let seconds = began.elapsed().as_secs_f64();
    let names = codec.codebooks();
    for (name, value) in table(&found, &names, seconds) {
        say!("{name:<22} {value}")?;
    }
    if found.too_few_for_rfid {
        eprintln!(
            "fqgan: rFID of {} pictures, fewer than features have numbers, says little",
            found.pictures
        );
    }
    if let Some(path) = &args.json {
        let numbers = json!({
            "pictures": found.pictures,
            "left_out": pictures.len() - found.pictures,
            "size": size,
            "psnr": found.psnr,
            "ssim": found.ssim,
            "ssim_range_2": found.ssim_range_2,
            "l1": found.l1,
            "lpips": found.lpips,
            "rfid": found.rfid,
            "rfid_network": found.rfid.map(|_| "pytorch-fid"),
            "inception_score": found.inception_score.map(|(mean, deviation)| [mean, deviation]),
            "bits_per_pixel": found.bits_per_pixel,
            "codebooks": names,
            "usage": found.usage(),
            "perplexity": found.perplexity(),
            "histograms": found.histograms,
            "seconds": seconds,
        });
        let text = serde_json::to_string_pretty(&numbers).map_err(|e| Error::internal(e.to_string()))?;
        std::fs::write(path, text + "\n")
            .map_err(|e| Error::io(format_args!("writing {}", path.display()), &e))?;
    }
    Ok(())
}

/// What is printed.
fn table(found: &Reconstruction, names: &[&str], seconds: f64) -> Vec<(String, String)> {
    let mut rows = vec![
        (
            "pictures".to_string(),
            format!("{}, {:.1} a second", found.pictures, found.pictures as f64 / seconds),
        ),
        ("PSNR".into(), format!("{:.3} dB", found.psnr)),
        ("SSIM".into(), format!("{:.5}", found.ssim)),
        ("SSIM, data range 2".into(), format!("{:.5}", found.ssim_range_2)),
        ("L1".into(), format!("{:.5}", found.l1)),
    ];
    if let Some(lpips) = found.lpips {
        rows.push(("LPIPS (VGG)".into(), format!("{lpips:.5}")));
    }
    if let (Some(rfid), Some((mean, deviation))) = (found.rfid, found.inception_score) {
        rows.push(("rFID (pytorch-fid)".into(), format!("{rfid:.4}")));
        rows.push(("inception score".into(), format!("{mean:.3} +- {deviation:.3}")));
    }
    rows.push(("bits a pixel".into(), format!("{:.4}", found.bits_per_pixel)));
    for ((name, usage), perplexity) in names.iter().zip(found.usage()).zip(found.perplexity()) {
        rows.push((
            format!("codes of {name}"),
            format!("{:.1} % used, perplexity {perplexity:.1}", 100.0 * usage),
        ));
    }
    rows
}
