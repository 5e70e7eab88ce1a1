use crate::failure::{Result, usage};
use crate::files;
use crate::generator::{GeneratorArgs, Pair, SamplingArgs};
use crate::print::say;
use crate::progress;
use crate::ranks::Ranks;
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
/// however the work is split up, and a run that was killed goes on where it was when it is begun again. Processes that
/// mpirun starts share the work.
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
    ranks: &'a Ranks,
    pair: &'a Pair,
    classes: Vec<u32>,
    sampling: Sampling,
    batch: usize,
    bar: ProgressBar,
}

pub fn run(args: &Args, ranks: &Ranks) -> Result {
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
    let sampling = args.sampling.sampling();
    let split = [args.count, args.shard.0, args.shard.1, args.batch];
    let fingerprint = if ranks.0.size() > 1 { args.model.fingerprint()? } else { 0 };
    ranks.agree("model or arguments", &format!("{fingerprint:08x} {classes:?} {split:?} {sampling:?}"))?;
    let quiet = args.model.quiet || !ranks.0.leads();
    let bar = if quiet { ProgressBar::hidden() } else { progress::pictures(numbers.len()) };
    let work = Work { ranks, pair: &pair, classes, sampling, batch: args.batch, bar };
    let start = Instant::now();
    let is_archive = args.output.extension().is_some_and(|e| e.eq_ignore_ascii_case("npz"));
    let made = if is_archive {
        work.archive(&args.output, numbers.clone())
    } else {
        work.folder(&args.output, numbers.clone())
    };
    work.bar.finish_and_clear();
    let made = made?;
    if !quiet {
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

    /// Makes lots of pictures by all processes; the one that leads is given them in order, lot by lot.
    fn share(&self, lots: &[Range<usize>], mut take: impl FnMut(usize, Picture) -> Result) -> Result {
        let group = &self.ranks.0;
        let [height, width] = self.pair.picture_size()?;
        for round in lots.chunks(group.size()) {
            let mut mine = Vec::new();
            for picture in round.get(group.rank()).map_or(Ok(Vec::new()), |lot| self.make(lot.clone()))? {
                mine.extend_from_slice(picture.pixels());
            }
            let all = group.gather_each(mine)?;
            if !group.leads() {
                continue;
            }
            for (lot, pixels) in round.iter().zip(all) {
                for (number, pixels) in lot.clone().zip(pixels.chunks_exact(height * width * 3)) {
                    take(number, Picture::from_pixels(width, height, pixels.to_vec())?)?;
                }
                self.bar.inc(lot.len() as u64);
            }
        }
        Ok(())
    }

    /// The numbers in lots that are made at once.
    fn lots(&self, numbers: Range<usize>) -> impl Iterator<Item = Range<usize>> {
        let (end, batch) = (numbers.end, self.batch);
        numbers.step_by(batch).map(move |first| first..end.min(first + batch))
    }

    fn archive(&self, path: &Path, numbers: Range<usize>) -> Result<usize> {
        let group = &self.ranks.0;
        let [height, width] = self.pair.picture_size()?;
        let mut writer = group.alone(|| {
            files::make_parent(path)?;
            Writer::open(path, &[numbers.len(), height, width, 3], self.batch)
        })?;
        let before = group.leaders(writer.as_ref().map_or(0, Writer::done) as u64)? as usize;
        self.begin(before);
        let lots: Vec<_> = self.lots(numbers.start + before..numbers.end).collect();
        self.share(&lots, |_, picture| {
            Ok(writer.as_mut().map_or(Ok(()), |writer| writer.push(picture.pixels()))?)
        })?;
        let classes: Vec<i64> = numbers.clone().map(|number| i64::from(self.class(number))).collect();
        writer.map_or(Ok(()), |writer| writer.finish(&classes))?;
        Ok(numbers.len() - before)
    }

    fn folder(&self, path: &Path, numbers: Range<usize>) -> Result<usize> {
        let group = &self.ranks.0;
        let file = |number: usize| path.join(format!("{}_{number:06}.png", self.class(number)));
        let missing =
            || Ok(numbers.clone().filter(|&number| !file(number).exists()).map(|n| n as u32).collect());
        let missing: Vec<u32> = group.alone(missing)?.unwrap_or_default();
        let missing = group.gather_lists(&missing)?;
        self.begin(numbers.len() - missing.len());
        let runs =
            missing.chunk_by(|a, b| a + 1 == *b).map(|run| run[0] as usize..run[0] as usize + run.len());
        let lots: Vec<_> = runs.flat_map(|run| self.lots(run)).collect();
        self.share(&lots, |number, picture| {
            files::make_parent(&file(number))?;
            Ok(picture.save_png(file(number))?)
        })?;
        Ok(missing.len())
    }
}
