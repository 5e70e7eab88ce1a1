use crate::failure::{Result, usage};
use crate::files::{self, Target};
use crate::generator::{GeneratorArgs, Pair, SamplingArgs};
use crate::print::say;
use crate::progress;
use fqgan::Error;
use fqgan::codes::Codes;
use fqgan::image::{Cell, Picture, grid};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Make new pictures of a class
///
/// Classes are those of ImageNet by number: 207 is a golden retriever, 360 an otter, 88 a macaw. The same seed
/// gives the same pictures, whatever their number, the threads or the device; picture i of a run has stream i.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  fqgan generate -g far.safetensors -m tokenizer.safetensors --class 207 --count 16 -o dogs.png
  fqgan generate -g far.safetensors -m tokenizer.safetensors --class 207,360 --count 4 -o pictures/
  fqgan generate -g far.safetensors --class 207 --count 100 -o codes.fqc
  fqgan generate -g far.safetensors -m tokenizer.safetensors --class 207 --resume-rows 8 dog.jpg -o ends.png")]
pub struct Args {
    /// Classes by number
    #[arg(long = "class", value_name = "N,...", value_delimiter = ',', required = true)]
    classes: Vec<u32>,
    /// Pictures of each class
    #[arg(long, value_name = "N", default_value_t = 1)]
    count: usize,
    /// A .png file for all pictures on one page, a folder for one file each, or a .fqc file for the codes alone
    #[arg(short, long, value_name = "PATH")]
    output: PathBuf,
    /// Write the codes to a .fqc file, too
    #[arg(long, value_name = "FILE")]
    codes: Option<PathBuf>,
    #[command(flatten)]
    sampling: SamplingArgs,
    /// Keep the upper N rows of codes of a picture or code file, and make the rest
    #[arg(long, num_args = 2, value_names = ["N", "FILE"])]
    resume_rows: Option<Vec<String>>,
    #[command(flatten)]
    model: GeneratorArgs,
}

/// Pixels between the pictures of a page.
const MARGIN: usize = 4;

enum Output {
    Codes(PathBuf),
    Page(PathBuf),
    Folder(PathBuf),
}

pub fn run(args: &Args) -> Result {
    let output = output(&args.output)?;
    if args.count == 0 {
        return usage("--count 0: expected at least 1");
    }
    let pair = Pair::open(&args.model)?;
    if !matches!(output, Output::Codes(_)) {
        pair.expect_tokenizer(&format!("-o {}", args.output.display()))?;
    }
    let classes: Vec<u32> = args.classes.iter().flat_map(|&c| std::iter::repeat_n(c, args.count)).collect();
    let codes = make(args, &pair, &classes)?;
    for file in args.codes.iter().chain(if let Output::Codes(file) = &output { Some(file) } else { None }) {
        files::make_parent(file)?;
        codes.save(file)?;
    }
    match output {
        Output::Codes(_) => {}
        Output::Page(file) => {
            files::make_parent(&file)?;
            page(&pair.pictures(&codes)?, args.count)?.save_png(&file)?;
        }
        Output::Folder(folder) => {
            for (i, (picture, class)) in pair.pictures(&codes)?.iter().zip(&classes).enumerate() {
                let file = folder.join(format!("{class}_{:04}.png", i % args.count));
                files::make_parent(&file)?;
                picture.save_png(&file)?;
            }
        }
    }
    Ok(())
}

fn output(path: &Path) -> Result<Output> {
    if path.extension().is_some_and(|e| e.eq_ignore_ascii_case("fqc")) && !path.is_dir() {
        return Ok(Output::Codes(path.to_owned()));
    }
    Ok(match Target::new(path, "png")? {
        Target::File(file) => Output::Page(file),
        Target::Folder(folder) => Output::Folder(folder),
    })
}

/// The codes of all pictures, with a bar that counts codes.
fn make(args: &Args, pair: &Pair, classes: &[u32]) -> Result<Codes> {
    let config = pair.generator.config();
    let info = pair.generator.codes_info(classes.len());
    let mut sampling = args.sampling.sampling();
    let mut codes = vec![0; info.len()?];
    if let Some([rows, file]) = args.resume_rows.as_deref() {
        let rows = rows.parse().ok().filter(|rows| (1..=config.grid_height).contains(rows));
        let Some(rows) = rows else {
            return usage(format!(
                "--resume-rows: expected a number of 1 to {} and a file",
                config.grid_height
            ));
        };
        let given = pair.codes_of(Path::new(file))?;
        if given.info().count != 1 && given.info().count != classes.len() {
            let message = format!("{file}: {} images, expected 1 or {}", given.info().count, classes.len());
            return Err(Error::invalid(message).into());
        }
        for (to, from) in codes.chunks_exact_mut(info.image_len()?).zip(given.images().cycle()) {
            to.copy_from_slice(from);
        }
        sampling.given = rows * config.grid_width;
    }
    let start = Instant::now();
    let each = config.codebooks;
    let bar = progress::codes(args.model.quiet);
    pair.generator.generate_into(classes, &sampling, &mut codes, &mut |done, total| {
        bar.set_length((total * each) as u64);
        bar.set_position((done * each) as u64);
        ControlFlow::Continue(())
    })?;
    bar.finish_and_clear();
    let seconds = start.elapsed().as_secs_f64();
    let made = classes.len() * each * (config.positions() - sampling.given);
    if !args.model.quiet {
        let pictures =
            if classes.len() == 1 { "1 picture".into() } else { format!("{} pictures", classes.len()) };
        say!("{pictures}, {made} codes in {seconds:.1} s ({:.0} a second)", made as f64 / seconds)?;
    }
    Ok(Codes::new(info, codes)?)
}

/// A picture alone, or all on a page: a row for each class where that is not too wide, else as a square.
fn page(pictures: &[Picture], of_class: usize) -> fqgan::Result<Picture> {
    if let [picture] = pictures {
        return Ok(picture.clone());
    }
    let square = (pictures.len() as f64).sqrt().ceil() as usize;
    let columns = if (2..=8).contains(&of_class) { of_class } else { square };
    let cell = |picture| Cell { picture, caption: "" };
    let rows: Vec<Vec<Cell<'_>>> =
        pictures.chunks(columns).map(|row| row.iter().map(cell).collect()).collect();
    grid(&rows, MARGIN)
}
