//! Every operation at the shapes of the published models, from the same table as the tests: the least time of
//! many runs, arithmetic and traffic a second, and the share of the bound that the operation's cost gives.
//!
//! `cargo bench --bench ops -- [--threads N] [--cpu-clock] [OPERATION...]`; `FQGAN_ISA` picks the instructions. On a
//! machine that others use, `--threads 1 --cpu-clock` counts only the time that the thread ran.
//!
//! The bound is the larger of flops over the peak of multiply-adds and bytes over the bandwidth of reading
//! memory, the most seen of each so far: both are measured again and again between the runs, since a shared
//! machine shows what it can do only now and then. Tensors that stay in the caches, and algorithms with fewer operations than the definition (Winograd), pass 100 %.

use fqgan::backend::Device;
use fqgan::backend::cpu::Cpu;
use fqgan::backend::cpu::simd::{Kernel, Simd};
use fqgan::exec::Eager;
use std::hint::black_box;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};
use table::Case;

#[cfg(feature = "cuda")]
#[path = "../tests/ops/cuda.rs"]
#[allow(dead_code)]
mod cuda;
#[path = "../tests/ops/gradients.rs"]
mod gradients;
#[path = "../tests/ops/table.rs"]
mod table;
#[allow(unused)]
#[path = "../tests/ops/windows.rs"]
mod windows;

/// The files of the tests whose cases are timed; of each only `published` is used here.
macro_rules! timed {
    ($($name:ident $path:literal)*) => {
        $(#[allow(unused)] #[path = $path] mod $name;)*
        const TIMED: &[(&str, fn() -> Vec<Case>)] = &[$((stringify!($name), $name::published)),*];
    };
}

timed! {
    activation "../tests/ops/activation.rs"
    add "../tests/ops/add.rs"
    attention "../tests/ops/attention.rs"
    code_embedding "../tests/ops/code_embedding.rs"
    code_entropy "../tests/ops/code_entropy.rs"
    conv2d "../tests/ops/conv2d.rs"
    cross_entropy "../tests/ops/cross_entropy.rs"
    dropout "../tests/ops/dropout.rs"
    embedding "../tests/ops/embedding.rs"
    gate "../tests/ops/gate.rs"
    group_norm "../tests/ops/group_norm.rs"
    kv_attention "../tests/ops/kv_attention.rs"
    layer_norm "../tests/ops/layer_norm.rs"
    linear "../tests/ops/linear.rs"
    matmul "../tests/ops/matmul.rs"
    max_pool "../tests/ops/max_pool.rs"
    mean_error "../tests/ops/mean_error.rs"
    mean_pool "../tests/ops/mean_pool.rs"
    nearest_code "../tests/ops/nearest_code.rs"
    normalize "../tests/ops/normalize.rs"
    optimizer "../tests/ops/optimizer.rs"
    perceptual_distance "../tests/ops/perceptual_distance.rs"
    resize_bilinear "../tests/ops/resize_bilinear.rs"
    resize_grid "../tests/ops/resize_grid.rs"
    resize_nearest "../tests/ops/resize_nearest.rs"
    rms_norm "../tests/ops/rms_norm.rs"
    rotary "../tests/ops/rotary.rs"
    sample "../tests/ops/sample.rs"
}

/// How long a case is run for, at least, and how often.
const TIME: Duration = Duration::from_millis(300);
const RUNS: usize = 5;

fn main() {
    let mut threads = 0;
    let mut names = Vec::new();
    let mut clock: fn() -> f64 = wall_clock;
    let mut arguments = std::env::args().skip(1).filter(|a| a != "--bench");
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--threads" => threads = arguments.next().and_then(|n| n.parse().ok()).unwrap_or(0),
            "--cpu-clock" => clock = cpu_clock,
            _ => names.push(argument),
        }
    }
    let cpu = Arc::new(Cpu::new(threads).unwrap_or_else(|e| panic!("{e}")));
    let device = Device::Cpu(Arc::clone(&cpu));
    println!("{} threads, {}", cpu.pool.threads(), cpu.isa.name());
    println!(
        "{:>10} {:>9} {:>8} {:>9} {:>8} {:>7}  case",
        "ms", "GFLOP/s", "GB/s", "peak", "memory", "bound"
    );
    let mut limits = Limits::new(&cpu, clock);
    let wanted = |name: &str| names.is_empty() || names.iter().any(|n| name.contains(n.as_str()));
    for case in TIMED.iter().filter(|(name, _)| wanted(name)).flat_map(|(_, cases)| cases()) {
        let seconds = time(&device, &case, &mut limits);
        let bound = (case.cost.flops / limits.flops).max(case.cost.bytes / limits.bytes);
        println!(
            "{:10.4} {:9.1} {:8.1} {:9.1} {:8.1} {:6.1}%  {}",
            seconds * 1e3,
            case.cost.flops / seconds / 1e9,
            case.cost.bytes / seconds / 1e9,
            limits.flops / 1e9,
            limits.bytes / 1e9,
            100.0 * bound / seconds,
            case.name
        );
    }
}

/// The least time of a run in seconds.
fn time(device: &Device, case: &Case, limits: &mut Limits) -> f64 {
    let workspace = device.workspace(None);
    let e = Eager::new(device, &workspace);
    let run = || black_box(case.run(&e)).unwrap_or_else(|error| panic!("{}: {error}", case.name));
    // The first run packs weights and allocates.
    run();
    let (mut best, mut runs) = (f64::INFINITY, 0);
    let start = Instant::now();
    while runs < RUNS || start.elapsed() < TIME {
        limits.measure();
        for _ in 0..RUNS {
            let begin = (limits.clock)();
            run();
            best = best.min((limits.clock)() - begin);
        }
        runs += RUNS;
    }
    best
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

/// The most that this machine was seen to do: flops and bytes a second.
struct Limits<'a> {
    cpu: &'a Cpu,
    clock: fn() -> f64,
    memory: Vec<f32>,
    flops: f64,
    bytes: f64,
}

impl<'a> Limits<'a> {
    fn new(cpu: &'a Cpu, clock: fn() -> f64) -> Limits<'a> {
        let memory = vec![1.0; 32 << 20];
        let mut limits = Limits { cpu, clock, memory, flops: 0.0, bytes: 0.0 };
        for _ in 0..20 {
            limits.measure();
        }
        limits
    }

    fn measure(&mut self) {
        self.flops = self.flops.max(multiply_adds(self.cpu, self.clock));
        self.bytes = self.bytes.max(bandwidth(self.cpu, &self.memory, self.clock));
    }
}

/// Flops a second of nothing but multiply-adds in registers, on all threads.
fn multiply_adds(cpu: &Cpu, clock: fn() -> f64) -> f64 {
    const STEPS: usize = 20_000;
    struct Chain;
    impl Chain {
        /// A sum, and the flops that it took, by as many independent sums as fit in the registers.
        #[inline(always)]
        fn sums<S: Simd, const SUMS: usize>() -> (f32, usize) {
            // SAFETY: `Isa::dispatch` runs this, and no memory is touched.
            unsafe {
                let (a, b) = (S::splat(black_box(0.999)), S::splat(black_box(1e-3)));
                let mut sums = [S::splat(1.0); SUMS];
                for _ in 0..STEPS {
                    for sum in &mut sums {
                        *sum = S::fma(*sum, a, b);
                    }
                }
                let total = sums.into_iter().fold(S::splat(0.0), |x, y| S::add(x, y));
                (S::sum(total), STEPS * SUMS * 2 * S::LANES)
            }
        }
    }
    impl Kernel for Chain {
        type Output = (f32, usize);
        #[inline(always)]
        fn run<S: Simd>(self) -> (f32, usize) {
            if S::REGISTERS >= 16 { Chain::sums::<S, 12>() } else { Chain::sums::<S, 6>() }
        }
    }
    let lanes = cpu.isa.dispatch(Chain).1;
    let threads = cpu.pool.threads();
    let begin = clock();
    cpu.pool.run(threads, |_| {
        black_box(cpu.isa.dispatch(Chain));
    });
    (lanes * threads) as f64 / (clock() - begin)
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
    let begin = clock();
    cpu.pool.blocks(memory.len() / BLOCK, |_, block| {
        black_box(cpu.isa.dispatch(Read(&memory[block * BLOCK..(block + 1) * BLOCK])));
    });
    size_of_val(memory) as f64 / (clock() - begin)
}
