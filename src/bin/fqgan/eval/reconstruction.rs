use super::measure::{Output, Sets, watch};
use crate::codec::{Codec, ModelArgs, TileArgs};
use crate::compare::Row;
use crate::draw::{self, Curve};
use crate::failure::Result;
use crate::page::Page;
use crate::ranks::Ranks;
use fqgan::eval::{Judges, Measuring, Reconstruction, Seen};
use fqgan::teachers::{Inception, Lpips};
use fqgan::weights::{Map, Source};
use serde_json::{Value, json};
use std::path::PathBuf;
use std::time::Instant;

/// What a tokenizer keeps of pictures: PSNR, SSIM, L1, usage of the codebooks; LPIPS, rFID and the inception score with
/// the networks' weights
///
/// Each picture is scaled so that its shorter side has the size, and cut to the square in the middle. Pictures that
/// cannot be read are named and left out. A run that was killed goes on where it was when it is begun again. Processes
/// that mpirun starts share the work.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  fqgan eval reconstruction -m model.safetensors held-out/ --html report.html
  fqgan eval reconstruction -m fqgan_dual_ds16.pt ILSVRC2012_img_val.tar --lpips lpips_vgg16.safetensors \\
      --inception pt_inception-2015-12-05-6726825d.pth --json out.json")]
pub struct Args {
    /// Folders of pictures, a folder for each class, tars or .npz files, or folders of them
    #[arg(value_name = "PATH", required = true)]
    pictures: Vec<PathBuf>,
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
    /// Inception v3, for rFID and the inception score: that of the package pytorch-fid, or TensorFlow's graph (.pb) as
    /// ADM's evaluation uses it
    #[arg(long, value_name = "FILE")]
    inception: Option<PathBuf>,
    #[command(flatten)]
    output: Output,
}

pub fn run(args: &Args, ranks: &Ranks) -> Result {
    let open = |path: &PathBuf| Source::open(path, Map::On);
    let mut about = String::new();
    let lpips = match &args.lpips {
        Some(path) => {
            let (network, heads) = (open(path)?, args.lpips_heads.as_ref().map(open).transpose()?);
            let heads = heads.as_ref().unwrap_or(&network);
            about += &format!("LPIPS {:08x} {:08x}; ", network.fingerprint()?, heads.fingerprint()?);
            Some(Lpips::open(&network, heads)?)
        }
        None => None,
    };
    let inception = args.inception.as_ref().map(Inception::load).transpose()?;
    if let Some(inception) = &inception {
        about += &format!("{} {:08x}; ", inception.variant().name(), inception.fingerprint());
    }
    let judges = Judges { lpips, inception };
    let codec = Codec::open(&args.model, &TileArgs { tile: None })?;
    let device = args.model.compute.device()?;
    let size = args.size.unwrap_or(codec.tokenizer.config().image_size);
    about += &format!(
        "model {:08x}, {}, size {size}",
        open(&args.model.model)?.fingerprint()?,
        args.model.type_name()
    );
    let sets = Sets::open(&args.pictures)?;
    let began = Instant::now();
    let mut measuring = Measuring::new(&device, &codec.tokenizer, &judges, size)?;
    let (seen, journal) = watch(&mut measuring, &sets, &args.output, ("", &about), ranks, args.model.quiet)?;
    if !ranks.0.leads() {
        return Ok(());
    }
    let found = measuring.finish()?;
    let seconds = began.elapsed().as_secs_f64();
    let network = judges.inception.as_ref().map(|i| i.variant().name()).unwrap_or_default();
    if found.too_few_for_rfid {
        eprintln!(
            "fqgan: rFID of {} pictures, no more than features have numbers (2048), says little",
            found.pictures
        );
    }
    let numbers = json(&found, seen, &codec, size, seconds, network);
    let table = table(&found, seen, &codec.codebooks(), seconds, network);
    args.output.write(&table, &numbers, || page(&found, &codec, &sets, size), vec![journal])
}

fn json(
    found: &Reconstruction,
    seen: Seen,
    codec: &Codec,
    size: usize,
    seconds: f64,
    network: &str,
) -> Value {
    json!({
        "pictures": found.pictures,
        "left_out": seen.left_out,
        "size": size,
        "psnr": found.psnr,
        "ssim": found.ssim,
        "ssim_range_2": found.ssim_range_2,
        "l1": found.l1,
        "lpips": found.lpips,
        "rfid": found.rfid,
        "rfid_network": found.rfid.map(|_| network),
        "inception_score": found.inception_score.map(|(mean, deviation)| [mean, deviation]),
        "bits_per_pixel": found.bits_per_pixel,
        "codebooks": codec.codebooks(),
        "usage": found.usage(),
        "perplexity": found.perplexity(),
        "histograms": found.histograms,
        "seconds": seconds,
    })
}

/// What is printed.
fn table(
    found: &Reconstruction,
    seen: Seen,
    names: &[&str],
    seconds: f64,
    network: &str,
) -> Vec<(String, String)> {
    let mut rows = vec![
        ("pictures".to_string(), format!("{}, {:.1} a second", found.pictures, seen.now() as f64 / seconds)),
        ("PSNR".into(), format!("{:.3} dB", found.psnr)),
        ("SSIM".into(), format!("{:.5}", found.ssim)),
        ("SSIM, data range 2".into(), format!("{:.5}", found.ssim_range_2)),
        ("L1".into(), format!("{:.5}", found.l1)),
    ];
    if let Some(lpips) = found.lpips {
        rows.push(("LPIPS (VGG)".into(), format!("{lpips:.5}")));
    }
    if let (Some(rfid), Some((mean, deviation))) = (found.rfid, found.inception_score) {
        rows.push((format!("rFID ({network})"), format!("{rfid:.4}")));
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

/// Pictures that a page shows.
const SHOWN: usize = 6;

fn page(found: &Reconstruction, codec: &Codec, sets: &Sets, size: usize) -> fqgan::Result<Page> {
    let readable = (0..sets.len()).filter_map(|i| sets.read(i).and_then(|p| p.center_crop(size)).ok());
    let mut rows = Vec::new();
    for original in readable.take(SHOWN) {
        let codes = codec.encode(&original)?;
        let back = codec.decode(&codes.info(), codes.data(), 0)?;
        rows.push(Row::new(codec, original, &codes, back)?);
    }
    let mut page = Page::new("What a tokenizer keeps of pictures");
    page.picture("Pictures, what comes back, and what each sub-codebook holds alone", &Row::page(&rows)?)?;
    let curves: Vec<Curve> = codec
        .codebooks()
        .iter()
        .zip(&found.histograms)
        .map(|(name, counts)| Curve::of_counts(format!("codes of {name}"), counts))
        .collect();
    let drawn = draw::panels(&curves, curves.len(), ["codes", "count"])?;
    page.drawing("How often each code came, the most frequent first", &drawn);
    Ok(page)
}
