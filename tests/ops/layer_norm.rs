use crate::gradients::check_gradients;
use crate::table::{Case, ROUNDING, check, random, refuses, rounded};
use fqgan::ops::layer_norm::LayerNorm;
use fqgan::tensor::{DType, Tensor};
use proptest::prelude::*;

pub fn layer_norm(seed: u64, shape: &[usize], offset: f32) -> Case {
    let c = shape[shape.len() - 1];
    let x = random(seed, shape, DType::F32);
    let moved: Vec<f32> = x.data::<f32>().unwrap().iter().map(|v| v + offset).collect();
    let x = Tensor::from_slice(*x.shape(), &moved).unwrap();
    let inputs = vec![x, random(seed + 1, &[c], DType::F32), random(seed + 2, &[c], DType::F32)];
    Case::new(LayerNorm { eps: 1e-5 }, inputs, 1e-6, move |all| {
        let (weight, bias) = (&all[1].data, &all[2].data);
        let row = |row: &[f64]| {
            let mean = row.iter().sum::<f64>() / c as f64;
            let variance = row.iter().map(|v| (v - mean) * (v - mean)).sum::<f64>() / c as f64;
            let inverse = 1.0 / (variance + 1e-5).sqrt();
            (0..c).map(|i| (row[i] - mean) * inverse * weight[i] + bias[i]).collect::<Vec<_>>()
        };
        vec![all[0].data.chunks_exact(c).flat_map(row).collect()]
    })
}

/// The adapters' tokens at f16 and f8.
pub fn published() -> Vec<Case> {
    vec![layer_norm(1, &[1, 256, 512], 0.0), layer_norm(2, &[4, 1024, 512], 0.0)]
}

#[test]
fn corners() {
    for shape in [
        &[2, 256, 512][..],
        &[1, 257, 1024],
        &[512],
        &[1, 1],
        &[3, 17],
        &[2, 64],
        &[7, 63],
        &[7, 65],
        &[2, 9000],
        &[0, 8],
    ] {
        for offset in [0.0, 1000.0, -3e5] {
            check(&layer_norm(1, shape, offset));
        }
    }
}

#[test]
fn a_flat_row_becomes_the_bias() {
    let inputs = vec![
        Tensor::from_slice([1, 100], &[7.1f32; 100]).unwrap(),
        random(1, &[100], DType::F32),
        random(2, &[100], DType::F32),
    ];
    check(&Case::new(LayerNorm { eps: 1e-5 }, inputs, 1e-6, |all| vec![all[2].data.clone()]));
}

#[test]
fn not_a_number_stays_in_its_row() {
    let x = [f32::NAN, 1.0, 2.0, 1.0, 2.0, 3.0, 1.0, f32::INFINITY, 0.0];
    let inputs = vec![
        Tensor::from_slice([3, 3], &x).unwrap(),
        Tensor::from_slice([3], &[1.0f32; 3]).unwrap(),
        Tensor::from_slice([3], &[0.0f32; 3]).unwrap(),
    ];
    let s = 1.0 / (2.0f64 / 3.0 + 1e-5).sqrt();
    let nan = f64::NAN;
    check(&Case::new(LayerNorm { eps: 1e-5 }, inputs, 1e-6, move |_| {
        vec![vec![nan, nan, nan, -s, 0.0, s, nan, nan, nan]]
    }));
}

#[test]
fn refusals() {
    let op = LayerNorm { eps: 1e-5 };
    let (x, w) = (random(1, &[2, 6], DType::F32), random(2, &[6], DType::F32));
    refuses(op, &[&x, &w, &random(3, &[5], DType::F32)], "bias is f32 [5], expected f32 [6]");
    refuses(op, &[&random(1, &[2, 6], DType::BF16), &w, &w], "no kernel for bf16");
    let none = random(1, &[0], DType::F32);
    refuses(op, &[&none, &none, &none], "nothing to take a mean of");
    refuses(op, &[&random(1, &[], DType::F32), &w, &w], "no axis");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn any_shape(seed in 0u64..1000, rows in 1usize..40, c in 1usize..700, offset in -50i32..50) {
        check(&layer_norm(seed, &[rows, c], offset as f32));
    }
}

#[test]
fn gradients() {
    for shape in [&[2, 3, 18][..], &[1, 5], &[70, 3]] {
        let case = layer_norm(3, shape, 0.5);
        check_gradients(LayerNorm { eps: 1e-5 }, &case.inputs, &[0, 1, 2], 2e-5, |all| case.expected(all));
        let case = rounded(case, &[0]);
        check_gradients(LayerNorm { eps: 1e-5 }, &case.inputs, &[0, 1, 2], ROUNDING, |all| {
            case.expected(all)
        });
    }
}
