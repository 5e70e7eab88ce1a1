use super::measure::{Output, Sets, watch};
use crate::codec::ComputeArgs;
use crate::draw::{self, Curve};
use crate::failure::{Result, usage};
use crate::page::Page;
use crate::ranks::Ranks;
use fqgan::eval::{Crowd, Journal, Reference, Seen, Standing, Wanted, Watching, standing};
use fqgan::image::{Cell, Picture, grid};
use fqgan::npz::Npz;
use fqgan::teachers::{Inception, Variant};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::time::Instant;

/// How made pictures stand beside real ones: FID, sFID, inception score, precision and recall
///
/// Pictures are looked at as they are, or as their centre crops of --size. Those that cannot be read are named and left
/// out. A run that was killed goes on where it was when it is begun again. Processes that mpirun starts share the work.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  fqgan eval samples samples.npz --reference VIRTUAL_imagenet256_labeled.npz --inception classify_image_graph_def.pb
  fqgan eval samples samples/ --reference held-out/ --inception pt_inception-2015-12-05-6726825d.pth --html report.html")]
pub struct Args {
    /// Made pictures: folders, tars or .npz files (arr_0), or folders of them
    #[arg(value_name = "PATH", required = true)]
    pictures: Vec<PathBuf>,
    /// Real pictures, or an .npz of the ADM protocol: mu, sigma, mu_s and sigma_s where it has them, arr_0
    #[arg(short, long, value_name = "PATH")]
    reference: PathBuf,
    /// Inception v3: that of the package pytorch-fid, or TensorFlow's graph (.pb) as ADM's evaluation uses it
    #[arg(long, value_name = "FILE")]
    inception: PathBuf,
    /// Scale the shorter side of pictures to N pixels and take the square in the middle
    #[arg(long, value_name = "N")]
    size: Option<usize>,
    /// Pictures of a split of the inception score
    #[arg(long, value_name = "N", default_value_t = 5000)]
    split: usize,
    #[command(flatten)]
    compute: ComputeArgs,
    #[command(flatten)]
    output: Output,
    /// Print errors only
    #[arg(short, long)]
    quiet: bool,
}

const ALL: Wanted = Wanted { features: true, spatial: true, classes: true };
/// Classes of real pictures are not asked for.
const REAL: Wanted = Wanted { classes: false, ..ALL };

pub fn run(args: &Args, ranks: &Ranks) -> Result {
    if args.split == 0 {
        return usage("--split 0: expected at least 1");
    }
    let inception = Inception::load(&args.inception)?;
    let device = args.compute.device()?;
    let about = format!(
        "{} {:08x}, size {:?}",
        inception.variant().name(),
        inception.fingerprint(),
        args.size.unwrap_or(0)
    );
    let made = Sets::open(&args.pictures)?;
    let (stored, real) = reference(&args.reference, inception.variant())?;
    let began = Instant::now();
    let mut journals = Vec::new();
    let look =
        |sets: &Sets, wanted: Wanted, set: &str, journals: &mut Vec<Journal>| -> Result<(Crowd, Seen)> {
            let mut watching = Watching::new(&device, &inception, args.size, wanted)?;
            let about = format!("{about}, {wanted:?}");
            let (seen, journal) = watch(&mut watching, sets, &args.output, (set, &about), ranks, args.quiet)?;
            journals.push(journal);
            Ok((watching.finish(), seen))
        };
    let real = real.map(|sets| look(&sets, REAL, "reference", &mut journals)).transpose()?;
    let (crowd, seen) = look(&made, ALL, "", &mut journals)?;
    if !ranks.0.leads() {
        return Ok(());
    }
    let reference = match (stored, &real) {
        (Some(stored), Some((crowd, _))) => Reference { each: Some(crowd.features().to_vec()), ..stored },
        (Some(stored), None) => stored,
        (None, Some((crowd, _))) => Reference::of(crowd)?,
        (None, None) => return usage(format!("{}: no reference", args.reference.display())),
    };
    let threads = args.compute.threads.unwrap_or(0);
    let found = standing(&crowd, &reference, args.split, threads)?;
    let seconds = began.elapsed().as_secs_f64();
    let network = inception.variant().name();
    if found.too_few {
        eprintln!("fqgan: fewer pictures than features have numbers (2048): FID says little");
    }
    if crowd.features().len() / Inception::WIDTH < args.split {
        eprintln!(
            "fqgan: an inception score of less than a split of {} pictures comes out too small",
            args.split
        );
    }
    let of_reference = real.map(|(_, seen)| seen);
    let table = table(&found, seen, of_reference, seconds, network);
    let numbers = json(&found, seen, of_reference, seconds, args, network);
    args.output.write(&table, &numbers, || page(&crowd, &made, args.size), journals)
}

/// What is stored of a reference, and the pictures that it has.
fn reference(path: &Path, variant: Variant) -> Result<(Option<Reference>, Option<Sets>)> {
    if !path.extension().is_some_and(|e| e.eq_ignore_ascii_case("npz")) {
        return Ok((None, Some(Sets::open(&[path.to_owned()])?)));
    }
    let npz = Npz::open(path)?;
    let stored = Reference::stored(&npz)?;
    if stored.as_ref().is_some_and(|r| r.spatial.is_some()) && variant != Variant::Adm {
        eprintln!(
            "fqgan: {}: its statistics are probably of ADM's network, and the given one is {}'s",
            path.display(),
            variant.name()
        );
    }
    let pictures = npz.array("arr_0").map(|_| Sets::open(&[path.to_owned()])).transpose()?;
    if stored.is_none() && pictures.is_none() {
        return usage(format!("{}: neither mu and sigma nor arr_0 are there", path.display()));
    }
    Ok((stored, pictures))
}

fn table(
    found: &Standing,
    seen: Seen,
    reference: Option<Seen>,
    seconds: f64,
    network: &str,
) -> Vec<(String, String)> {
    let all = seen.now() + reference.map_or(0, |seen| seen.now());
    let mut rows = vec![
        ("pictures".to_string(), format!("{}, {:.1} a second", seen.pictures, all as f64 / seconds)),
        (
            "real pictures".into(),
            reference.map_or("statistics only".into(), |seen| seen.pictures.to_string()),
        ),
        ("network".into(), network.into()),
        ("FID".into(), format!("{:.4}", found.fid)),
    ];
    rows.push(("sFID".into(), found.sfid.map_or("none: no mu_s, no pictures".into(), |v| format!("{v:.4}"))));
    let (mean, deviation) = found.inception_score;
    rows.push(("inception score".into(), format!("{mean:.3} +- {deviation:.3}")));
    match found.neighbours {
        Some(near) => {
            rows.push(("precision".into(), format!("{:.4}", near.precision)));
            rows.push(("recall".into(), format!("{:.4}", near.recall)));
        }
        None => rows
            .push(("precision, recall".into(), "none: they need more than 3 pictures on either side".into())),
    }
    rows
}

fn json(
    found: &Standing,
    seen: Seen,
    reference: Option<Seen>,
    seconds: f64,
    args: &Args,
    network: &str,
) -> Value {
    json!({
        "pictures": seen.pictures,
        "left_out": seen.left_out,
        "reference_pictures": reference.map(|seen| seen.pictures),
        "network": network,
        "fid": found.fid,
        "sfid": found.sfid,
        "inception_score": [found.inception_score.0, found.inception_score.1],
        "split": args.split,
        "precision": found.neighbours.map(|n| n.precision),
        "recall": found.neighbours.map(|n| n.recall),
        "too_few_for_fid": found.too_few,
        "seconds": seconds,
    })
}

/// Pictures that a page shows.
const SHOWN: usize = 24;

fn page(crowd: &Crowd, made: &Sets, size: Option<usize>) -> fqgan::Result<Page> {
    let step = made.len().div_ceil(SHOWN).max(1);
    let cut = |picture: Picture| match size {
        Some(size) => picture.center_crop(size),
        None => Ok(picture),
    };
    let shown: Vec<Picture> =
        (0..made.len()).step_by(step).filter_map(|i| made.read(i).and_then(cut).ok()).collect();
    let cell = |picture| Cell { picture, caption: "" };
    let rows: Vec<Vec<Cell<'_>>> = shown.chunks(6).map(|row| row.iter().map(cell).collect()).collect();
    let mut page = Page::new("How made pictures stand beside real ones");
    page.picture("Made pictures, evenly from all of them", &grid(&rows, 4)?)?;
    let curve = Curve::of_counts("likeliest class".into(), &crowd.likeliest());
    let drawn = draw::panels(&[curve], 1, ["classes", "pictures"])?;
    page.drawing("Pictures of each class that Inception finds likeliest, the most frequent first", &drawn);
    Ok(page)
}
