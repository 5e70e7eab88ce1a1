use fqgan::backend::Device;
use fqgan::tokenizer::{Options, Tokenizer};
use fqgan::train::codes::{About, Making, Numpy, Views, make};
use fqgan::train::collective::Group;
use fqgan::train::data::Pictures;
use fqgan::weights::{Map, Source};
use fqgan::{Error, Result};
use indicatif::{ProgressBar, ProgressStyle};
use std::path::{Path, PathBuf};

/// The codes of all pictures, stored for a generator's training
///
/// One file holds the codes of every view of every picture, and the classes. A run that was ended goes on where it was
/// when it is begun again. Processes that mpirun starts share the work. So can several runs, a shard each; a folder of all
/// their files is read as one.
/// Pictures that cannot be read are named and left out.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  fqgan-train codes --model fqgan_dual_ds16.pt --data imagenet/train --out codes.safetensors
  fqgan-train codes --model fqgan_dual_ds16.pt --data ILSVRC2012_img_train.tar --shard 0/4 --out codes/0.safetensors
  fqgan-train codes --import DIR --out codes.safetensors       the authors' *_codes and *_labels of .npy files")]
pub struct Args {
    /// The tokenizer's weights
    #[arg(short, long, value_name = "FILE", required_unless_present = "import")]
    model: Option<PathBuf>,
    /// A folder for each class, a folder of pictures, a tar or a folder of tars
    #[arg(short, long, value_name = "PATH", required_unless_present = "import")]
    data: Option<PathBuf>,
    /// The file to write (.safetensors)
    #[arg(short, long, value_name = "FILE")]
    out: PathBuf,
    /// Of each picture: centre, its centre crop; flip, that and its mirror image; ten-crop, corners and middle of a
    /// centre crop a tenth larger, and their mirror images
    #[arg(long, default_value = "ten-crop", value_parser = views)]
    views: Views,
    /// Side of a view in pixels [default: the model's size]
    #[arg(long, value_name = "N")]
    size: Option<usize>,
    /// Part I of N of the pictures, I from 0
    #[arg(long, value_name = "I/N", default_value = "0/1", value_parser = shard)]
    shard: (usize, usize),
    /// Where to compute: auto, cpu, cuda, or cuda:1 for the second GPU
    #[arg(long, default_value = "auto", value_name = "DEVICE")]
    device: String,
    /// 0: one a core
    #[arg(long, default_value_t = 0)]
    threads: usize,
    /// Turn codes that the authors' program stored into a file
    #[arg(long, value_name = "DIR", conflicts_with_all = ["model", "data", "views", "size", "shard"])]
    import: Option<PathBuf>,
    /// With --import: names of the sub-codebooks, in the order of codes
    #[arg(long, value_delimiter = ',', default_value = "vis,sem", requires = "import")]
    codebooks: Vec<String>,
    /// With --import: codes of a sub-codebook
    #[arg(long, value_name = "N", default_value_t = 16384, requires = "import")]
    codebook_size: usize,
}

fn views(text: &str) -> std::result::Result<Views, String> {
    Views::from_name(text).map_err(|e| e.to_string())
}

fn shard(text: &str) -> std::result::Result<(usize, usize), String> {
    let pair = text.split_once('/').and_then(|(i, n)| Some((i.parse().ok()?, n.parse().ok()?)));
    pair.filter(|&(i, n): &(usize, usize)| i < n)
        .ok_or_else(|| "expected I/N, I from 0 and less than N".into())
}

pub fn run(args: &Args, group: &Group) -> Result<()> {
    if let Some(folder) = args.out.parent() {
        std::fs::create_dir_all(folder)
            .map_err(|e| Error::io(format_args!("making the folder {}", folder.display()), &e))?;
    }
    match (&args.import, &args.model, &args.data) {
        (Some(_), ..) if group.size() > 1 => Err(Error::invalid("--import is the work of one process")),
        (Some(from), ..) => import(args, from),
        (None, Some(model), Some(data)) => encode(args, model, data, group),
        _ => Err(Error::internal("clap let a call without --model and --data pass")),
    }
}

fn encode(args: &Args, model: &Path, data: &Path, group: &Group) -> Result<()> {
    let pictures = Pictures::open(data)?;
    let weights = Source::open(model, Map::On)?;
    let device = Device::named(&args.device, args.threads)?;
    let tokenizer = Tokenizer::open(&device, &weights, &Options::default())?;
    let making = Making {
        size: args.size.unwrap_or(tokenizer.config().image_size),
        views: args.views,
        shard: args.shard,
    };
    let about = making.about(&tokenizer, &weights, &pictures)?;
    group.agree_on_program()?;
    group.agree("model, pictures or views", crc32c::crc32c(format!("{about:?}").as_bytes()))?;
    let bar = if group.leads() { bar() } else { ProgressBar::hidden() };
    let out = &args.out;
    let (read, lost) = make(&tokenizer, &pictures, &making, &about, out, group, |done, all, unreadable| {
        show(&bar, done, all);
        if let Some(unreadable) = unreadable {
            bar.suspend(|| eprintln!("left out: {}: {}", unreadable.name, unreadable.why));
        }
        Ok(())
    })?;
    bar.finish_and_clear();
    if !group.leads() {
        return Ok(());
    }
    let left_out = if lost > 0 { format!(", {lost} left out") } else { String::new() };
    println!("{}: {read} pictures{left_out}, {}", args.out.display(), extents(&about));
    Ok(())
}

fn import(args: &Args, from: &Path) -> Result<()> {
    let codes = Numpy::open(from, &args.codebooks, args.codebook_size)?;
    let bar = bar();
    codes.write(&args.out, |done, all| {
        show(&bar, done, all);
        Ok(())
    })?;
    bar.finish_and_clear();
    println!("{}: {}", args.out.display(), extents(codes.about()));
    Ok(())
}

/// What a file of codes has of each picture.
fn extents(about: &About) -> String {
    format!(
        "{} views of {} x {} x {} codes each, {} classes",
        about.views.count(),
        about.k(),
        about.height,
        about.width,
        about.classes.len()
    )
}

fn bar() -> ProgressBar {
    let style = ProgressStyle::with_template("{bar:30} {pos}/{len} pictures (about {eta} left)");
    ProgressBar::new(0).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

fn show(bar: &ProgressBar, done: usize, all: usize) {
    bar.set_length(all as u64);
    // What was there already says nothing of the speed.
    if bar.position() == 0 {
        bar.reset_eta();
    }
    bar.set_position(done as u64);
}
