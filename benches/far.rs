//! Times a step of FAR in the middle of a picture and holds it against the memory: a step reads every weight
//! once, and the head's once for each sub-code, whatever the batch.
//!
//! `cargo bench --bench far -- [--weights FILE] [--device cuda] [--threads N] [--batch 1,8] [--precision f32,bf16,int8]
//! [--position 128] [--guidance 2] [--seconds 5] [--cpu-clock]`. Without a file the weights are the formula's of
//! FAR-B Dual, or of the golden case that `--case NAME` names. On a machine that others use, `--threads 1 --cpu-clock` counts only the time that the thread ran.
//! Reading memory is measured between the steps, on the same threads. Two shares of it are printed: the fastest
//! step's of the fastest reading, and the median of each step's of the reading before it. A shared machine shows
//! what it can do only now and then, and a virtual one has another speed whenever its threads move: the second
//! share says what the moment gave. `--once` makes one picture, or so much of it as `--steps N` says, and prints the resident memory.
//! With `--serve` it answers lines `step BATCH` with milliseconds, so that a script can alternate with a peer.

use fqgan::backend::cpu::simd::{Kernel, Simd};
use fqgan::backend::{Device, cpu::Cpu};
use fqgan::far::{Generation, Generator, Options, Sampling};
use fqgan::nn::Precision;
use fqgan::tensor::{Allocate, DType, Desc, HeapAllocator, Tensor};
use fqgan::weights::{Map, Source};
use std::hint::black_box;
use std::io::{BufRead, Write};
use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::Instant;

#[path = "../tests/common/mod.rs"]
mod common;

struct Args {
    weights: Option<PathBuf>,
    case: String,
    device: String,
    threads: usize,
    batches: Vec<usize>,
    precisions: Vec<Precision>,
    position: usize,
    guidance: f32,
    steps: usize,
    seconds: f64,
    serve: bool,
    once: bool,
    clock: fn() -> f64,
}

fn args() -> Args {
    let mut args = Args {
        weights: None,
        case: "far_b_dual".into(),
        device: "cpu".into(),
        threads: 0,
        batches: vec![1, 8],
        precisions: vec![Precision::F32, Precision::Bf16, Precision::Int8],
        position: 128,
        guidance: 2.0,
        steps: 0,
        seconds: 5.0,
        serve: false,
        once: false,
        clock: wall_clock,
    };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut value = || words.next().unwrap_or_else(|| panic!("{word} wants a value"));
        match word.as_str() {
            "--weights" => args.weights = Some(value().into()),
            "--case" => args.case = value(),
            "--device" => args.device = value(),
            "--threads" => args.threads = value().parse().expect("a number of threads"),
            "--batch" => args.batches = value().split(',').map(|n| n.parse().expect("a batch")).collect(),
            "--precision" => args.precisions = value().split(',').map(precision).collect(),
            "--position" => args.position = value().parse().expect("a position"),
            "--guidance" => args.guidance = value().parse().expect("a number"),
            "--steps" => args.steps = value().parse().expect("a number of positions"),
            "--seconds" => args.seconds = value().parse().expect("a number of seconds"),
            "--serve" => args.serve = true,
            "--once" => args.once = true,
            "--cpu-clock" => args.clock = cpu_clock,
            "--bench" => {}
            other => panic!("unknown argument {other}"),
        }
    }
    args
}

/// Seconds since some instant.
fn wall_clock() -> f64 {
    static START: OnceLock<Instant> = OnceLock::new();
    START.get_or_init(Instant::now).elapsed().as_secs_f64()
}

/// Seconds that this thread ran.
fn cpu_clock() -> f64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is there to be written.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) };
    time.tv_sec as f64 + time.tv_nsec as f64 * 1e-9
}

fn precision(name: &str) -> Precision {
    match name {
        "f32" => Precision::F32,
        "bf16" => Precision::Bf16,
        "int8" => Precision::Int8,
        other => panic!("precision {other}: expected f32, bf16 or int8"),
    }
}

/// Pictures whose step at one position is run again and again.
struct Subject<'a> {
    generation: Generation<'a>,
    position: usize,
    clock: fn() -> f64,
}

impl<'a> Subject<'a> {
    fn new(generator: &'a Generator, batch: usize, args: &Args) -> Subject<'a> {
        let config = generator.config();
        let classes: Vec<u32> = (0..batch).map(|i| (i * 7 % config.classes) as u32).collect();
        let len = batch * config.codebooks * config.positions();
        let codes: Vec<u32> = (0..len).map(|i| (i * 7919 % config.codebook_size) as u32).collect();
        let sampling = Sampling { guidance: args.guidance, given: args.position, ..Sampling::default() };
        let generation = generator.start(&classes, &sampling, &codes).expect("a beginning");
        Subject { generation, position: args.position, clock: args.clock }
    }

    /// Milliseconds of the step.
    fn run(&mut self) -> f64 {
        self.generation.rewind(self.position, 1).expect("it was there");
        let start = (self.clock)();
        self.generation.next().expect("a position").expect("a step");
        // A GPU has it when it can be looked at.
        self.generation.codes().expect("codes");
        ((self.clock)() - start) * 1e3
    }
}

/// Bytes of weights that a step reads.
fn bytes(generator: &Generator, precision: Precision) -> f64 {
    let config = generator.config();
    let bytes_of = |name: &str, shape: &[usize]| {
        if name.contains("embedding") {
            return 0.0;
        }
        let elements: usize = shape.iter().product();
        let size = match precision {
            Precision::Bf16 if shape.len() == 2 => 2.0,
            Precision::Int8 if shape.len() == 2 => 1.0 + 4.0 / shape[1] as f64,
            _ => 4.0,
        };
        let times = if name.starts_with("ar_head.") { config.codebooks } else { 1 };
        times as f64 * elements as f64 * size
    };
    config.manifest().iter().map(|(name, shape)| bytes_of(name, shape)).sum()
}

/// Bytes a second at which all threads read memory that no cache holds.
fn bandwidth(cpu: &Cpu, memory: &[f32], clock: fn() -> f64) -> f64 {
    const BLOCK: usize = 1 << 18;
    struct Read<'a>(&'a [f32]);
    impl Kernel for Read<'_> {
        type Output = f32;
        #[inline(always)]
        fn run<S: Simd>(self) -> f32 {
            // SAFETY: every load is inside a chunk of eight vectors.
            unsafe {
                let mut sums = [S::splat(0.0); 8];
                for chunk in self.0.chunks_exact(8 * S::LANES) {
                    for (i, sum) in sums.iter_mut().enumerate() {
                        *sum = S::add(*sum, S::load(chunk.as_ptr().add(i * S::LANES)));
                    }
                }
                S::sum(sums.into_iter().fold(S::splat(0.0), |x, y| S::add(x, y)))
            }
        }
    }
    let start = clock();
    cpu.pool.blocks(memory.len() / BLOCK, |_, block| {
        black_box(cpu.isa.dispatch(Read(&memory[block * BLOCK..(block + 1) * BLOCK])));
    });
    size_of_val(memory) as f64 / (clock() - start)
}

/// Resident memory of this process in MB: now, at most, and what of it is files'.
fn resident() -> [f64; 3] {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    ["VmRSS:", "VmHWM:", "RssFile:"].map(|key| {
        let line = status.lines().find_map(|line| line.strip_prefix(key));
        let kilobytes = line.and_then(|l| l.trim().strip_suffix("kB")).and_then(|n| n.trim().parse().ok());
        kilobytes.unwrap_or(f64::NAN) / 1e3
    })
}

fn main() {
    let args = args();
    let device = Device::named(&args.device, args.threads).unwrap_or_else(|e| panic!("{e}"));
    let path = args.weights.clone().unwrap_or_else(|| common::formula_file(&args.case));
    let open = |precision| {
        let source = Source::open(&path, Map::On).unwrap_or_else(|e| panic!("{e}"));
        let options = Options { precision, ..Options::default() };
        Generator::open(&device, &source, &options).unwrap_or_else(|e| panic!("{e}"))
    };
    if args.serve {
        return serve(&open(args.precisions[0]), &args);
    }
    if args.once {
        let generator = open(args.precisions[0]);
        let sampling = Sampling { guidance: args.guidance, steps: args.steps, ..Sampling::default() };
        generator.generate(&vec![1; args.batches[0]], &sampling).unwrap_or_else(|e| panic!("{e}"));
        let cache = generator.memory_needed(args.batches[0], &sampling) as f64 / 1e6;
        let [now, most, files] = resident();
        println!(
            "resident {now:.0} MB, at most {most:.0}, {files:.0} of it the weight file's; needed {cache:.0}"
        );
        return;
    }
    #[allow(irrefutable_let_patterns)] // Without the feature `cuda` there is no other device.
    let Device::Cpu(cpu) = &device else {
        panic!("the share of the memory's speed is the processor's: add --serve")
    };
    // Of large pages, like the weights.
    let memory =
        HeapAllocator.allocate(256 << 20).and_then(|m| Tensor::new(Desc::plain([64 << 20], DType::F32), m));
    let mut memory = memory.unwrap_or_else(|e| panic!("{e}"));
    memory.data_mut::<f32>().expect("it is ours").fill(1.0);
    let memory = memory.data::<f32>().expect("f32");
    println!("{} threads, {}, position {}", cpu.pool.threads(), cpu.isa.name(), args.position);
    println!("precision batch   ms/step  median  weights MB   GB/s  memory GB/s  share  median");
    for &precision in &args.precisions {
        let generator = open(precision);
        for &batch in &args.batches {
            let mut subject = Subject::new(&generator, batch, &args);
            subject.run();
            let (mut times, mut most, mut shares) = (Vec::new(), 0.0f64, Vec::new());
            let bytes = bytes(&generator, precision);
            let start = Instant::now();
            while start.elapsed().as_secs_f64() < args.seconds || times.len() < 5 {
                let speed = bandwidth(cpu, memory, args.clock);
                most = most.max(speed);
                times.push(subject.run());
                shares.push(bytes / times[times.len() - 1] * 1e3 / speed * 100.0);
            }
            times.sort_by(f64::total_cmp);
            shares.sort_by(f64::total_cmp);
            let best = times[0];
            println!(
                "{:>9} {batch:>5} {best:>9.2} {:>7.2} {:>11.0} {:>6.1} {:>12.1} {:>5.0}% {:>6.0}%",
                format!("{precision:?}").to_lowercase(),
                times[times.len() / 2],
                bytes / 1e6,
                bytes / best / 1e6,
                most / 1e9,
                bytes / best * 1e3 / most * 100.0,
                shares[shares.len() / 2]
            );
        }
    }
}

/// `step BATCH` to milliseconds, line by line.
fn serve(generator: &Generator, args: &Args) {
    let mut subject: Option<(usize, Subject<'_>)> = None;
    println!("ready");
    for line in std::io::stdin().lock().lines() {
        let line = line.expect("a line");
        let batch = line.strip_prefix("step ").and_then(|n| n.trim().parse().ok());
        let batch = batch.unwrap_or_else(|| panic!("{line:?}: expected step BATCH"));
        if subject.as_ref().is_none_or(|(n, _)| *n != batch) {
            drop(subject.take());
            subject = Some((batch, Subject::new(generator, batch, args)));
        }
        let ms = subject.as_mut().map_or(f64::NAN, |(_, s)| s.run());
        println!("{ms}");
        std::io::stdout().flush().expect("a reader");
    }
}
