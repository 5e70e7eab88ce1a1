//! Convolutions of the tokenizer, each variant against the processor's own peak, measured in the same run.
//!
//! `cargo bench --bench conv2d -- [--threads N] [--runs N] [--variant NAME] [--cpu] [SHAPE...]`; a shape is
//! `c-k-side[kind]`; `--cpu` takes the processor's time on one thread, for a machine with other work. Kind one of nothing (a residual block's 3x3), `n` (plain 3x3), `d` (down), `u` (up), `p` (1x1).

use fqgan::backend::cpu::simd::{Kernel, Simd};
use fqgan::backend::cpu::{Cpu, Isa, Pool};
use fqgan::backend::{Device, Workspace};
use fqgan::exec::{Eager, Exec, Op, Prepare};
use fqgan::ops::conv2d::{Conv2d, Norm, Pack, Variant};
use fqgan::tensor::{DType, Desc, Tensor};
use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

const SHAPES: [&str; 15] = [
    "3-128-256n",
    "128-128-256n",
    "128-128-256",
    "128-128-128",
    "256-256-128",
    "256-256-64",
    "512-512-32",
    "512-512-16",
    "256-128-256",
    "128-128-128u",
    "512-512-16u",
    "128-128-256d",
    "256-256-64d",
    "512-1536-16p",
    "128-3-256",
];

/// Multiply-adds that depend on nothing but themselves: what the processor can do at most.
struct Peak(usize);

impl Kernel for Peak {
    type Output = f32;
    #[inline(always)]
    fn run<S: Simd>(self) -> f32 {
        // SAFETY: under the level's dispatch.
        unsafe {
            let (x, y) = (S::splat(black_box(0.999)), S::splat(black_box(1e-3)));
            let mut sums = [S::splat(1.0); 12];
            for _ in 0..self.0 {
                for sum in &mut sums {
                    *sum = S::fma(*sum, x, y);
                }
            }
            let mut all = sums[0];
            for sum in sums {
                all = S::add(all, sum);
            }
            S::sum(all)
        }
    }
}

struct Lanes;

impl Kernel for Lanes {
    type Output = usize;
    #[inline(always)]
    fn run<S: Simd>(self) -> usize {
        S::LANES
    }
}

/// GFLOP/s of all threads.
fn peak(cpu: &Cpu) -> f64 {
    let steps = 200_000;
    let flops = (steps * 12 * 2 * cpu.isa.dispatch(Lanes) * cpu.pool.threads()) as f64;
    let seconds = best(10, || {
        cpu.pool.run(cpu.pool.threads(), |_| {
            black_box(cpu.isa.dispatch(Peak(steps)));
        })
    });
    flops / seconds / 1e9
}

/// Seconds on the wall, or of this thread on the processor.
fn now(processor: bool) -> f64 {
    let clock = if processor { libc::CLOCK_THREAD_CPUTIME_ID } else { libc::CLOCK_MONOTONIC };
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: writes the one struct.
    unsafe { libc::clock_gettime(clock, &mut time) };
    time.tv_sec as f64 + time.tv_nsec as f64 * 1e-9
}

static PROCESSOR: AtomicBool = AtomicBool::new(false);

/// The shortest of some runs, in seconds.
fn best(runs: usize, mut run: impl FnMut()) -> f64 {
    let processor = PROCESSOR.load(Ordering::Relaxed);
    (0..runs)
        .map(|_| {
            let start = now(processor);
            run();
            now(processor) - start
        })
        .fold(f64::INFINITY, f64::min)
}

fn noise(shape: &[usize]) -> Tensor {
    let mut state = 1u32;
    let values: Vec<f32> = (0..shape.iter().product())
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            state as f32 / u32::MAX as f32 - 0.5
        })
        .collect();
    let shape = fqgan::tensor::Shape::try_from_slice(shape).expect("few axes");
    Tensor::from_slice(shape, &values).expect("memory")
}

struct Shape {
    op: Conv2d,
    kernel: usize,
    c: usize,
    k: usize,
    side: usize,
}

fn parse(text: &str) -> Option<Shape> {
    let mut parts = text.splitn(3, '-');
    let (c, k) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
    let rest = parts.next()?;
    let digits = rest.trim_end_matches(char::is_alphabetic);
    let same = Conv2d::same(3);
    let (op, kernel) = match &rest[digits.len()..] {
        "" => (Conv2d { norm: Some(Norm { silu: true }), residual: k == c, ..same }, 3),
        "n" => (same, 3),
        "d" => (Conv2d { stride: 2, padding: [0, 0, 1, 1], ..same }, 3),
        "u" => (Conv2d { upsample: true, ..same }, 3),
        "p" => (Conv2d { norm: Some(Norm { silu: false }), ..Conv2d::same(1) }, 1),
        _ => return None,
    };
    Some(Shape { op, kernel, c, k, side: digits.parse().ok()? })
}

fn main() {
    let mut args = std::env::args().skip(1).filter(|a| a != "--bench");
    let (mut threads, mut runs, mut variant, mut shapes) = (2, 20, None, Vec::new());
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--cpu" => PROCESSOR.store(true, Ordering::Relaxed),
            "--threads" | "--runs" | "--variant" => {
                let value = args.next().unwrap_or_else(|| panic!("{arg} needs a value"));
                match arg.as_str() {
                    "--threads" => threads = value.parse().expect("a number"),
                    "--runs" => runs = value.parse().expect("a number"),
                    _ => variant = Some(value),
                }
            }
            _ => shapes.push(arg),
        }
    }
    if PROCESSOR.load(Ordering::Relaxed) {
        threads = 1;
    }
    let cpu = Arc::new(Cpu {
        pool: Pool::new(threads).expect("threads"),
        isa: Isa::from_environment().expect("FQGAN_ISA"),
    });
    let device = Device::Cpu(Arc::clone(&cpu));
    let workspace: Workspace = device.workspace(None);
    let e = Eager::new(&device, &workspace);
    let peak = peak(&cpu);
    println!(
        "{threads} threads, {}, peak {peak:.0} GFLOP/s; share: of the peak, counted as the direct definition",
        cpu.isa.name()
    );
    println!("{:<16}{:<20}{:>9}{:>9}{:>10}{:>8}", "c-k-side", "variant", "pack ms", "ms", "GFLOP/s", "share");
    let shapes: Vec<&str> =
        if shapes.is_empty() { SHAPES.to_vec() } else { shapes.iter().map(String::as_str).collect() };
    for text in shapes {
        let Shape { op, kernel, c, k, side } = parse(text).unwrap_or_else(|| panic!("{text} is no shape"));
        let (x, weight, bias) = (noise(&[1, side, side, c]), noise(&[k, c, kernel, kernel]), noise(&[k]));
        let desc = |t: &Tensor| *t.desc();
        let coefficients = noise(&[1, 2, c]);
        let mut inputs = vec![&x, &weight, &bias];
        if op.norm.is_some() {
            inputs.push(&coefficients);
        }
        let plain: Vec<Desc> = inputs.iter().map(|t| desc(t)).collect();
        let [out] = Conv2d { residual: false, ..op }.outputs(&plain).expect("shape");
        let residual = noise(&out.shape);
        if op.residual {
            inputs.push(&residual);
        }
        let flops = op.cost(&plain).flops;
        let all = Variant::ALL.into_iter().flat_map(|v| [(v, DType::F32), (v, DType::BF16)]);
        for (v, operands) in all {
            let pack = Pack { operands, variant: Some(v), ..op.pack() };
            let name = format!("{}{}", v.name(), if operands == DType::BF16 { "-bf16" } else { "" });
            if variant.as_ref().is_some_and(|wanted| *wanted != name)
                || (variant.is_none() && v == Variant::Scatter && k > 8)
            {
                continue;
            }
            let Ok(_) = pack.prepare(e.cx(), &weight) else { continue };
            let pack_time = best(3, || {
                black_box(pack.prepare(e.cx(), &weight).expect("memory"));
            });
            let packed = pack.prepare(e.cx(), &weight).expect("memory");
            let mut inputs = inputs.clone();
            inputs[1] = &packed;
            let time = best(runs, || {
                black_box(e.apply(op, &inputs).expect("it ran once"));
            });
            let rate = flops / time / 1e9;
            println!(
                "{text:<16}{:<20}{:>9.2}{:>9.2}{rate:>10.0}{:>7.0}%",
                name,
                pack_time * 1e3,
                time * 1e3,
                100.0 * rate / peak
            );
        }
        assert_eq!(out.dtype, DType::F32);
    }
}
