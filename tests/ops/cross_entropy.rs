use crate::gradients::check_gradients;
use crate::table::{Case, ROUNDING, check, check_narrow, exactly_rounded, noise, random, refuses, rounded};
use fqgan::ops::cross_entropy::CrossEntropy;
use fqgan::tensor::{DType, Tensor};
use proptest::prelude::*;

fn case(seed: u64, rows: usize, n: usize, spread: f32) -> Case {
    let logits: Vec<f32> = noise(seed, rows * n).iter().map(|v| v * spread).collect();
    let targets: Vec<u32> = (0..rows).map(|i| ((i * 31 + seed as usize) % n) as u32).collect();
    let inputs =
        vec![Tensor::from_slice([rows, n], &logits).unwrap(), Tensor::from_slice([rows], &targets).unwrap()];
    Case::new(CrossEntropy, inputs, 2e-7, move |all| {
        let row = |(x, t): (&[f64], &f64)| {
            let largest = x.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            x.iter().map(|v| (v - largest).exp()).sum::<f64>().ln() + largest - x[*t as usize]
        };
        vec![all[0].data.chunks(n).zip(&all[1].data).map(row).collect()]
    })
}

/// A picture of FAR-B, one sub-code.
pub fn published() -> Vec<Case> {
    vec![case(1, 256, 16384, 10.0)]
}

#[test]
fn corners() {
    for (rows, n, spread) in [(1, 1, 1.0), (3, 16384, 20.0), (70, 17, 100.0), (0, 5, 1.0)] {
        let case = |seed| case(seed, rows, n, spread);
        check(&case(1));
        // Logits of bf16 have losses of f32.
        check_narrow(&exactly_rounded(case(2), &[0]));
    }
}

#[test]
fn not_a_number_stays() {
    let logits = Tensor::from_slice([2, 3], &[0.0, f32::NAN, 1.0, 0.0, 0.0, 0.0]).unwrap();
    let targets = Tensor::from_slice([2], &[0u32, 1]).unwrap();
    check(&Case::new(CrossEntropy, vec![logits, targets], 1e-7, |_| vec![vec![f64::NAN, 3f64.ln()]]));
}

#[test]
fn refusals() {
    let logits = random(1, &[2, 3], DType::F32);
    let targets = |t: &[u32]| Tensor::from_slice([t.len()], t).unwrap();
    refuses(CrossEntropy, &[&logits, &targets(&[2, 3])], "target 3 of row 1 is not among 3 classes");
    refuses(CrossEntropy, &[&logits, &targets(&[2])], "targets is u32 [1], expected u32 [2]");
    refuses(CrossEntropy, &[&random(1, &[1, 0], DType::F32), &targets(&[0])], "there is no class");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn any_shape(seed in 0u64..1000, rows in 1usize..10, n in 1usize..3000, spread in 0.1f32..50.0) {
        check(&case(seed, rows, n, spread));
    }
}

#[test]
fn gradients() {
    for (rows, n, spread) in [(3, 5, 2.0), (2, 33, 1.0), (1, 1, 1.0)] {
        let case = case(1, rows, n, spread);
        check_gradients(CrossEntropy, &case.inputs, &[0], 5e-6, |all| case.expected(all));
        let case = rounded(case, &[0]);
        check_gradients(CrossEntropy, &case.inputs, &[0], ROUNDING, |all| case.expected(all));
    }
}
