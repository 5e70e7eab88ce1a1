//! Times the tokenizer: `cargo bench --bench tokenizer -- [--weights FILE] [--device cuda] [--threads N] [--batch N]
//! [--bf16] [--side 256]`. Without a file the weights are the formula's of a golden case: Dual f16, or `--case NAME`.
//!
//! With `--serve` it answers lines `encode N` and `decode N` with milliseconds, so that a script can alternate
//! with a peer in one run. With `--once encode` it prints the time from before opening the file to the first
//! result, and the peak of resident memory.

use fqgan::backend::Device;
use fqgan::image::{View, ViewMut};
use fqgan::nn::Precision;
use fqgan::tokenizer::{Grid, Options, Tokenizer};
use fqgan::weights::{Map, Source};
use std::io::{BufRead, Write};
use std::path::PathBuf;
use std::time::Instant;

#[path = "../tests/common/mod.rs"]
mod common;

struct Args {
    weights: Option<PathBuf>,
    case: String,
    device: String,
    threads: usize,
    batch: usize,
    side: usize,
    serve: bool,
    once: Option<String>,
    precision: Precision,
}

fn args() -> Args {
    let mut args = Args {
        weights: None,
        case: "tokenizer_dual_vq16".into(),
        device: "cpu".into(),
        threads: 0,
        batch: 1,
        side: 256,
        serve: false,
        once: None,
        precision: Precision::F32,
    };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut value = || words.next().unwrap_or_else(|| panic!("{word} wants a value"));
        match word.as_str() {
            "--weights" => args.weights = Some(value().into()),
            "--case" => args.case = value(),
            "--device" => args.device = value(),
            "--threads" => args.threads = value().parse().expect("a number of threads"),
            "--batch" => args.batch = value().parse().expect("a batch size"),
            "--side" => args.side = value().parse().expect("pixels"),
            "--serve" => args.serve = true,
            "--once" => args.once = Some(value()),
            "--bf16" => args.precision = Precision::Bf16,
            "--bench" => {}
            other => panic!("unknown argument {other}"),
        }
    }
    args
}

struct Subject {
    tokenizer: Tokenizer,
    pixels: Vec<u8>,
    codes: Vec<u32>,
    grid: Grid,
    side: usize,
}

impl Subject {
    fn open(args: &Args) -> Subject {
        let device = Device::named(&args.device, args.threads).unwrap_or_else(|e| panic!("{e}"));
        let path = args.weights.clone().unwrap_or_else(|| common::formula_file(&args.case));
        let source = Source::open(&path, Map::On).unwrap_or_else(|e| panic!("{e}"));
        let options = Options { precision: args.precision, ..Options::default() };
        let tokenizer = Tokenizer::open(&device, &source, &options).expect("a tokenizer");
        let side = args.side;
        let grid = tokenizer.grid(side, side).unwrap_or_else(|e| panic!("{e}"));
        let pixels =
            (0..side * side * 3).map(|i: usize| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
        let (k, n) = (tokenizer.config().branches.len(), tokenizer.config().codebook_size);
        let codes = (0..k * grid.height * grid.width).map(|i| (i * 7919 % n) as u32).collect();
        Subject { tokenizer, pixels, codes, grid, side }
    }

    /// Milliseconds of one call.
    fn run(&self, what: &str, batch: usize) -> f64 {
        let side = self.side;
        let image = View::rgb8(&self.pixels, side, side).expect("a picture");
        let images = vec![image; batch];
        let mut codes = self.codes.repeat(batch);
        let mut pixels = vec![0u8; side * side * 3 * batch];
        let mut targets: Vec<_> = pixels
            .chunks_exact_mut(side * side * 3)
            .map(|p| ViewMut::rgb8(p, side, side).expect("a picture"))
            .collect();
        let start = Instant::now();
        match what {
            "encode" => self.tokenizer.encode_into(&images, &mut codes),
            "decode" => self.tokenizer.decode_into(&codes, self.grid, 0, &mut targets),
            other => panic!("{other}: expected encode or decode"),
        }
        .unwrap_or_else(|e| panic!("{what}: {e}"));
        let time = start.elapsed().as_secs_f64() * 1e3;
        std::hint::black_box((codes, pixels));
        time
    }
}

/// A line of /proc/self/status in MiB.
fn resident(field: &str) -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|l| l.starts_with(field)).unwrap_or("");
    line.split_whitespace().nth(1).and_then(|n| n.parse::<f64>().ok()).unwrap_or(f64::NAN) / 1024.0
}

fn once(what: &str, args: &Args) {
    let start = Instant::now();
    let subject = Subject::open(args);
    let opened = start.elapsed().as_secs_f64() * 1e3;
    subject.run(what, args.batch);
    let first = start.elapsed().as_secs_f64() * 1e3;
    if std::env::var_os("COLD").is_some() {
        return println!("{first:.1}");
    }
    let warm = (0..5).map(|_| subject.run(what, args.batch)).fold(f64::INFINITY, f64::min);
    println!(
        "{what} batch {}: open {opened:.1} ms, open to first result {first:.1} ms, warm {warm:.1} ms ({:.2} x); peak \
         resident {:.0} MiB, of it mapped file {:.0} MiB",
        args.batch,
        first / warm,
        resident("VmHWM"),
        resident("RssFile"),
    );
}

fn serve(subject: &Subject) {
    for line in std::io::stdin().lock().lines() {
        let line = line.expect("a line");
        let mut words = line.split_whitespace();
        let what = words.next().unwrap_or("encode");
        let batch = words.next().map_or(1, |n| n.parse().expect("a batch size"));
        println!("{:.3}", subject.run(what, batch));
        std::io::stdout().flush().expect("stdout");
    }
}

fn main() {
    let args = args();
    if let Some(what) = &args.once {
        return once(what, &args);
    }
    let subject = Subject::open(&args);
    if args.serve {
        return serve(&subject);
    }
    for what in ["encode", "decode"] {
        subject.run(what, args.batch);
        let mut times: Vec<f64> = (0..9).map(|_| subject.run(what, args.batch)).collect();
        times.sort_by(f64::total_cmp);
        let (min, median) = (times[0], times[times.len() / 2]);
        println!(
            "{what} batch {} threads {}: min {min:.1} ms, median {median:.1} ms",
            args.batch, args.threads
        );
    }
}
