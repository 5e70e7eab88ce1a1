//! Times figures of sets of features: `cargo bench --bench eval -- [--dim N] [--count N] [--threads N]
//! [--neighbours]`, the last for precision and recall alone. Random features; prints seconds and the peak of resident memory.

use fqgan::eval::{Moments, frechet, precision_recall};
use fqgan::rng::Stream;
use std::time::Instant;

fn main() {
    let (mut dim, mut count, mut threads, mut distance) = (2048, 5000, 0, true);
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut value =
            || words.next().and_then(|v| v.parse().ok()).unwrap_or_else(|| panic!("{word} wants a number"));
        match word.as_str() {
            "--dim" => dim = value(),
            "--count" => count = value(),
            "--threads" => threads = value(),
            "--neighbours" => distance = false,
            "--bench" => {}
            other => panic!("unknown argument {other}"),
        }
    }
    let sets = [0u64, 1].map(|seed| {
        let mut stream = Stream::new(seed, [0; 3]);
        (0..count * dim).map(|_| stream.uniform()).collect::<Vec<f32>>()
    });
    let timed = |what: &str, began: Instant| println!("{what}: {:.2} s", began.elapsed().as_secs_f64());
    if distance {
        let began = Instant::now();
        let gaussians = sets.each_ref().map(|set| {
            let mut moments = Moments::new(dim).unwrap_or_else(|e| panic!("{e}"));
            moments.push(set).unwrap_or_else(|e| panic!("{e}"));
            moments.gaussian().unwrap_or_else(|e| panic!("{e}"))
        });
        timed(&format!("moments of 2 x {count} x {dim}"), began);
        let began = Instant::now();
        let distance = frechet(&gaussians[0], &gaussians[1]).unwrap_or_else(|e| panic!("{e}"));
        timed(&format!("Fréchet distance of {dim} dimensions ({distance:.4})"), began);
    }
    let began = Instant::now();
    let near = precision_recall(&sets[0], &sets[1], dim, 3, threads).unwrap_or_else(|e| panic!("{e}"));
    timed(&format!("precision and recall of 2 x {count} ({:.3}, {:.3})", near.precision, near.recall), began);
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or("unknown");
    println!("peak of resident memory: {}", peak.trim());
}
