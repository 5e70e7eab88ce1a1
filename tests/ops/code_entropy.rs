use crate::gradients::check_gradients;
use crate::table::{Case, ROUNDING, Wide, check, check_narrow, noise, random, refuses, round};
use fqgan::ops::code_entropy::CodeEntropy;
use fqgan::tensor::{DType, Tensor};
use proptest::prelude::*;

const OP: CodeEntropy = CodeEntropy { temperature: 0.01, eps: 1e-5 };

fn oracle(all: &[Wide], op: CodeEntropy) -> Vec<f64> {
    let d = all[1].shape[1];
    let (z, codes) = (all[0].data.chunks_exact(d), all[1].data.chunks_exact(d));
    let rows = z.len();
    let mut mean = vec![0.0; codes.len()];
    let mut entropy = 0.0;
    for z in z {
        let distance = |e: &[f64]| z.iter().zip(e).map(|(a, b)| (a - b) * (a - b)).sum::<f64>();
        let a: Vec<f64> = codes.clone().map(|e| -distance(e) / f64::from(op.temperature)).collect();
        let largest = a.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let total = a.iter().map(|a| (a - largest).exp()).sum::<f64>().ln() + largest;
        for (a, mean) in a.iter().zip(&mut mean) {
            let p = (a - total).exp();
            entropy -= p * (a - total);
            *mean += p / rows as f64;
        }
    }
    let used: f64 = mean.iter().map(|p| p * (p + f64::from(op.eps)).ln()).sum();
    vec![entropy / rows as f64 + used]
}

/// Rows of length one.
fn unit(seed: u64, shape: &[usize]) -> Tensor {
    let d = *shape.last().unwrap();
    let mut all = noise(seed, shape.iter().product());
    for row in all.chunks_exact_mut(d) {
        let norm = row.iter().map(|v| v * v).sum::<f32>().sqrt();
        row.iter_mut().for_each(|v| *v /= norm);
    }
    Tensor::from_slice(fqgan::tensor::Shape::try_from_slice(shape).unwrap(), &all).unwrap()
}

fn case(seed: u64, rows: usize, n: usize, d: usize) -> Case {
    of(unit(seed, &[rows, d]), unit(seed + 1, &[n, d]))
}

/// Latents of bf16.
fn narrow(seed: u64, rows: usize, n: usize, d: usize) -> Case {
    of(round(&unit(seed, &[rows, d])), unit(seed + 1, &[n, d]))
}

fn of(z: Tensor, codebook: Tensor) -> Case {
    let n = codebook.shape()[0];
    let inputs = vec![z, codebook];
    // The two halves, of up to ln n each, may nearly cancel: the error is one of theirs.
    let value = oracle(&inputs.iter().map(Wide::of).collect::<Vec<_>>(), OP)[0];
    let bound = 4e-6 * (1.0 + (n as f64).ln()) / value.abs();
    Case::new(OP, inputs, bound, |all| vec![oracle(all, OP)])
}

/// A branch of a batch of two at f16.
pub fn published() -> Vec<Case> {
    vec![case(1, 512, 16384, 8)]
}

#[test]
fn corners() {
    for (rows, n, d) in [(1, 2, 2), (3, 1000, 8), (40, 513, 3), (2, 16, 8), (7, 33, 4), (17, 16384, 8)] {
        check(&case(1, rows, n, d));
        check_narrow(&narrow(1, rows, n, d));
    }
    check_narrow(&narrow(1, 5, 40, 9));
    // Nothing to choose: no entropy at all.
    check(&Case::new(OP, vec![unit(1, &[3, 2]), unit(2, &[1, 2])], 1e-4, |all| vec![oracle(all, OP)]));
}

#[test]
fn not_a_number_stays() {
    let z = Tensor::from_slice([2, 2], &[1.0, 0.0, f32::NAN, 0.0]).unwrap();
    check(&Case::new(OP, vec![z, unit(1, &[40, 2])], 0.0, |_| vec![vec![f64::NAN]]));
}

#[test]
fn refusals() {
    let (z, codes) = (unit(1, &[3, 4]), unit(2, &[5, 4]));
    refuses(OP, &[&random(1, &[3, 3], DType::F32), &codes], "expected (..., d) and (N, d)");
    refuses(OP, &[&random(1, &[0, 4], DType::F32), &codes], "neither empty");
    refuses(OP, &[&z, &random(1, &[0, 4], DType::F32)], "neither empty");
    refuses(OP, &[&z, &random(1, &[5, 4], DType::BF16)], "expected plain f32");
}

#[test]
fn gradients() {
    // A milder temperature for the differences; rows need not be of length one.
    let op = CodeEntropy { temperature: 0.3, eps: 1e-3 };
    for (rows, n, d) in [(3, 7, 2), (5, 19, 4), (1, 20, 1), (2, 11, 9)] {
        for (dtype, bound) in [(DType::F32, 1e-4), (DType::BF16, ROUNDING)] {
            let all = [random(1, &[rows, d], dtype), random(2, &[n, d], DType::F32)];
            check_gradients(op, &all, &[0, 1], bound, |all| vec![oracle(all, op)]);
        }
    }
    let op = CodeEntropy { temperature: 0.1, eps: 1e-5 };
    let all = [unit(1, &[9, 3]), unit(2, &[18, 3])];
    check_gradients(op, &all, &[0, 1], 1e-4, |all| vec![oracle(all, op)]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]
    #[test]
    fn any_shape(seed in 0u64..1000, rows in 1usize..20, n in 2usize..1200, d in 2usize..10) {
        check(&case(seed, rows, n, d));
    }
}
