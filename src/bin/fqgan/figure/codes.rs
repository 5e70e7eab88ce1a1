use super::check;
use crate::codec::{Codec, ModelArgs, TileArgs};
use crate::draw::{self, Cloud, Letter};
use crate::failure::{Result, usage};
use crate::print::say;
use crate::progress;
use fqgan::eval::{embed, silhouette};
use fqgan::train::data::Pictures;
use indicatif::ProgressBar;
use std::path::PathBuf;

/// Codes by class: pictures in the plane, one plane for each sub-codebook, so that pictures of like codes are near (the
/// paper's figure 4)
///
/// A picture is the mean of the vectors that its codes stand for, arranged by t-SNE; a letter is its class. The silhouette
/// beside each plane says how well classes lie together before they are arranged: 1 far apart, 0 not at all.
#[derive(clap::Args)]
#[command(after_help = "\
Example:
  fqgan figure codes -m fqgan_dual_ds16.pt imagenet/val --class n02099601,n02342885,n01818515 --count 50 -o figure4.svg")]
pub struct Args {
    /// A folder for each class, a tar or a folder of tars
    #[arg(value_name = "PATH")]
    pictures: PathBuf,
    /// Classes by name [default: the first ten]
    #[arg(long = "class", value_name = "NAME,...", value_delimiter = ',')]
    classes: Vec<String>,
    /// Pictures of each class
    #[arg(long, value_name = "N", default_value_t = 50)]
    count: usize,
    /// Number that the places which t-SNE begins with follow from
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// A .svg or .png file
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    #[command(flatten)]
    model: ModelArgs,
}

/// Classes when none are named.
const FEW: usize = 10;

pub fn run(args: &Args) -> Result {
    check(&args.output)?;
    let pictures = Pictures::open(&args.pictures)?;
    let classes = chosen(args, &pictures)?;
    let codec = Codec::open(&args.model, &TileArgs { tile: None })?;
    let (config, size) = (codec.tokenizer.config(), codec.tokenizer.config().image_size);
    let mut means = vec![Vec::new(); config.branches.len()];
    let mut labels = Vec::new();
    let wanted: Vec<(usize, usize)> = classes
        .iter()
        .enumerate()
        .flat_map(|(class, &label)| {
            let own = (0..pictures.len()).filter(|&i| pictures.label(i) == label);
            own.take(args.count).map(|i| (class, i)).collect::<Vec<_>>()
        })
        .collect();
    let bar = if args.model.quiet { ProgressBar::hidden() } else { progress::pictures(wanted.len()) };
    for (class, number) in wanted {
        bar.inc(1);
        let codes = match pictures.read(number).and_then(|p| p.center_crop(size)) {
            Ok(picture) => codec.encode(&picture)?,
            Err(error) => {
                bar.suspend(|| eprintln!("fqgan: left out: {error}"));
                continue;
            }
        };
        let cells = codes.info().height * codes.info().width;
        for (branch, (book, means)) in codes.data().chunks_exact(cells).zip(&mut means).enumerate() {
            means.extend(mean(codec.tokenizer.code_vectors(branch)?, config.code_dim, book));
        }
        labels.push(class);
    }
    bar.finish_and_clear();
    let mut clouds = Vec::new();
    for (name, means) in codec.codebooks().iter().zip(&means) {
        let apart = silhouette(means, config.code_dim, &labels)?;
        let places = embed(means, config.code_dim, args.seed)?;
        let letters = places.iter().zip(&labels).map(|(&place, &class)| Letter { place, class }).collect();
        clouds.push(Cloud { caption: format!("{name}: silhouette {apart:.3}"), letters });
        if !args.model.quiet {
            say!("{name}: silhouette {apart:.4} of {} pictures in {} classes", labels.len(), classes.len())?;
        }
    }
    let names: Vec<String> =
        classes.iter().map(|&label| pictures.classes()[label as usize].clone()).collect();
    Ok(draw::save(&draw::clouds(&clouds, &names)?, &args.output)?)
}

/// The labels of the classes that are drawn.
fn chosen(args: &Args, pictures: &Pictures) -> Result<Vec<u32>> {
    let all = pictures.classes();
    if args.classes.is_empty() {
        return Ok((0..all.len().min(FEW) as u32).collect());
    }
    let place = |name: &String| match all.iter().position(|known| known == name) {
        Some(label) => Ok(label as u32),
        None => usage(format!(
            "--class {name}: there is no such class, the first are {}",
            all.iter().take(FEW).cloned().collect::<Vec<_>>().join(", ")
        )),
    };
    args.classes.iter().map(place).collect()
}

/// The mean of the vectors that codes stand for.
fn mean(vectors: &[f32], dim: usize, codes: &[u32]) -> Vec<f32> {
    let mut sum = vec![0.0f64; dim];
    for &code in codes {
        let vector = &vectors[code as usize * dim..][..dim];
        sum.iter_mut().zip(vector).for_each(|(sum, v)| *sum += f64::from(*v));
    }
    sum.iter().map(|sum| (sum / codes.len() as f64) as f32).collect()
}
