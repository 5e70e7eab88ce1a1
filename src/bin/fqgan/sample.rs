use crate::failure::{Result, usage};
use crate::files;
use crate::generator::{GeneratorArgs, Pair, SamplingArgs};
use crate::print::say;
use crate::progress;
use fqgan::codes::Codes;
use fqgan::far::Sampling;
use fqgan::image::Picture;
use fqgan::npz::Writer;
use indicatif::ProgressBar;
use std::ops::{ControlFlow, Range};
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Make many new pictures, to be measured
///
/// Picture number n is of class n modulo the classes, and drawn from stream n of the seed: so the pictures are the same
/// however the work is split up, and a run that was killed goes on where it was when it is begun again.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  fqgan sample -g far_b_dual.pt -m fqgan_dual_ds16.pt --count 50000 -o samples.npz
  fqgan sample -g far_b_dual.pt -m fqgan_dual_ds16.pt --count 50000 --shard 0/4 -o samples/0.npz
  fqgan sample -g far.safetensors -m tokenizer.safetensors --count 100 --class 207,360 -o pictures/")]
pub struct Args {
    /// Pictures, of all classes together
    #[arg(long, value_name = "N")]
    count: usize,
    /// Classes by number, as often as each shall come [default: all, equally often]
    #[arg(long = "class", value_name = "N,...", value_delimiter = ',')]
    classes: Vec<u32>,
    /// A .npz file (arr_0: pictures, arr_1: classes), or a folder for a PNG file each, CLASS_NUMBER.png
    #[arg(short, long, value_name = "PATH")]
    output: PathBuf,
    /// Part I of N of the pictures, I from 0
    #[arg(long, value_name = "I/N", default_value = "0/1", value_parser = shard)]
    shard: (usize, usize),
    /// Pictures that are made at once: more are faster, and take more memory
    #[arg(long, value_name = "N", default_value_t = 8)]
    batch: usize,
    #[command(flatten)]
    sampling: SamplingArgs,
    #[command(flatten)]
    model: GeneratorArgs,
}

fn shard(text: &str) -> std::result::Result<(usize, usize), String> {
    let parts = text.split_once('/').and_then(|(i, n)| Some((i.parse().ok()?, n.parse().ok()?)));
    match parts {
        Some((i, n)) if i < n => Ok((i, n)),
        _ => Err("expected I/N with I less than N, such as 0/4".into()),
    }
}

/// What is to be made.
struct Work<'a> {
    pair: &'a Pair,
    classes: Vec<u32>,
    sampling: Sampling,
    batch: usize,
    bar: ProgressBar,
}

pub fn run(args: &Args) -> Result {
    if args.batch == 0 || args.count == 0 || args.count > u32::MAX as usize {
        return usage("--count and --batch: expected at least 1, and at most 2^32 - 1 pictures");
    }
    let pair = Pair::open(&args.model)?;
    pair.expect_tokenizer(&format!("-o {}", args.output.display()))?;
    let config = pair.generator.config();
    let classes =
        if args.classes.is_empty() { (0..config.classes as u32).collect() } else { args.classes.clone() };
    let (i, n) = args.shard;
    let numbers = i * args.count / n..(i + 1) * args.count / n;
    let bar = if args.model.quiet { ProgressBar::hidden() } else { progress::pictures(numbers.len()) };
    let work = Work { pair: &pair, classes, sampling: args.sampling.sampling(), batch: args.batch, bar };
    let start = Instant::now();
    let is_archive = args.output.extension().is_some_and(|e| e.eq_ignore_ascii_case("npz"));
    let made = if is_archive {
        work.archive(&args.output, numbers.clone())
    } else {
        work.folder(&args.output, numbers.clone())
    };
    work.bar.finish_and_clear();
    let made = made?;
    if !args.model.quiet {
        let before = numbers.len() - made;
        let there = if before > 0 { format!(", {before} were there") } else { String::new() };
        say!("{made} pictures in {:.1} s{there}: {}", start.elapsed().as_secs_f64(), args.output.display())?;
    }
    Ok(())
}

impl Work<'_> {
    fn class(&self, number: usize) -> u32 {
        self.classes[number % self.classes.len()]
    }

    /// Makes those pictures, which follow each other.
    fn make(&self, numbers: Range<usize>) -> Result<Vec<Picture>> {
        let classes: Vec<u32> = numbers.clone().map(|number| self.class(number)).collect();
        let info = self.pair.generator.codes_info(classes.len());
        let sampling = Sampling { first_image: numbers.start as u32, ..self.sampling };
        let mut codes = vec![0; info.len()?];
        self.pair
            .generator
            .generate_into(&classes, &sampling, &mut codes, &mut |_, _| ControlFlow::Continue(()))?;
        Ok(self.pair.pictures(&Codes::new(info, codes)?)?)
    }

    /// Moves the bar over what was there already, which took no time.
    fn begin(&self, done: usize) {
        self.bar.set_position(done as u64);
        self.bar.reset_eta();
    }

    fn archive(&self, path: &Path, numbers: Range<usize>) -> Result<usize> {
        files::make_parent(path)?;
        let [height, width] = self.pair.picture_size()?;
        let mut writer = Writer::open(path, &[numbers.len(), height, width, 3], self.batch)?;
        let before = writer.done();
        self.begin(before);
        while writer.done() < numbers.len() {
            let first = numbers.start + writer.done();
            for picture in self.make(first..numbers.end.min(first + self.batch))? {
                writer.push(picture.pixels())?;
            }
            self.bar.set_position(writer.done() as u64);
        }
        let classes: Vec<i64> = numbers.clone().map(|number| i64::from(self.class(number))).collect();
        writer.finish(&classes)?;
        Ok(numbers.len() - before)
    }

    fn folder(&self, path: &Path, numbers: Range<usize>) -> Result<usize> {
        let file = |number: usize| path.join(format!("{}_{number:06}.png", self.class(number)));
        let missing: Vec<usize> = numbers.clone().filter(|&number| !file(number).exists()).collect();
        self.begin(numbers.len() - missing.len());
        for run in missing.chunk_by(|a, b| a + 1 == *b).flat_map(|run| run.chunks(self.batch)) {
            for (&number, picture) in run.iter().zip(self.make(run[0]..run[0] + run.len())?) {
                files::make_parent(&file(number))?;
                picture.save_png(file(number))?;
                self.bar.inc(1);
            }
        }
        Ok(missing.len())
    }
}
