use crate::gradients::check_gradients;
use crate::table::{Case, ROUNDING, Wide, check, check_narrow, random, refuses, rounded};
use fqgan::ops::normalize::Normalize;
use fqgan::tensor::{DType, Tensor};
use proptest::prelude::*;

fn oracle(all: &[Wide], eps: f64) -> Vec<f64> {
    let d = all[0].shape.last().copied().unwrap().max(1);
    let row = |row: &[f64]| {
        let norm = row.iter().map(|v| v * v).sum::<f64>().sqrt().max(eps);
        row.iter().map(|v| v / norm).collect::<Vec<_>>()
    };
    all[0].data.chunks_exact(d).flat_map(row).collect()
}

fn case(seed: u64, shape: &[usize], eps: f32) -> Case {
    let inputs = vec![random(seed, shape, DType::F32)];
    Case::new(Normalize { eps }, inputs, 1e-7, move |all| vec![oracle(all, f64::from(eps))])
}

/// A codebook.
pub fn published() -> Vec<Case> {
    vec![case(1, &[16384, 8], 1e-12)]
}

#[test]
fn corners() {
    for shape in [&[1][..], &[3, 8], &[0, 8], &[5, 0], &[2, 1024], &[3000, 7]] {
        check(&case(1, shape, 1e-12));
        check(&case(2, shape, 0.0));
        check_narrow(&rounded(case(1, shape, 1e-12), &[0]));
    }
    // A short row is divided by eps; a row of zeros has no direction.
    let x = Tensor::from_slice([3, 2], &[3e-4f32, 4e-4, 0.0, 0.0, f32::NAN, 1.0]).unwrap();
    check(&Case::new(Normalize { eps: 1e-2 }, vec![x.clone()], 1e-7, |all| {
        vec![vec![all[0].data[0] / 0.01, all[0].data[1] / 0.01, 0.0, 0.0, f64::NAN, f64::NAN]]
    }));
    let zeros = Tensor::from_slice([1, 2], &[0.0f32; 2]).unwrap();
    check(&Case::new(Normalize { eps: 0.0 }, vec![zeros], 0.0, |_| vec![vec![f64::NAN; 2]]));
    refuses(Normalize { eps: 0.0 }, &[&random(1, &[], DType::F32)], "it has no row");
}

#[test]
fn gradients() {
    // All rows are shorter than the larger one.
    for eps in [1e-12, 100.0] {
        for (dtype, bound) in [(DType::F32, 2e-6), (DType::BF16, ROUNDING)] {
            check_gradients(Normalize { eps }, &[random(1, &[4, 5], dtype)], &[0], bound, |all| {
                vec![oracle(all, f64::from(eps))]
            });
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]
    #[test]
    fn any_shape(seed in 0u64..100, rows in 0usize..300, d in 1usize..90) {
        check(&case(seed, &[rows, d], 1e-12));
        check_narrow(&rounded(case(seed, &[rows, d], 1e-12), &[0]));
    }
}
