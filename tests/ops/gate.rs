use crate::gradients::check_gradients;
use crate::table::{Case, ROUNDING, Wide, check, check_narrow, random, refuses, rounded};
use fqgan::ops::gate::Gate;
use fqgan::tensor::{DType, Tensor};
use proptest::prelude::*;

fn oracle(all: &[Wide]) -> Vec<f64> {
    all[0].data.iter().zip(&all[1].data).map(|(a, b)| a / (1.0 + (-a).exp()) * b).collect()
}

fn case(seed: u64, shape: &[usize]) -> Case {
    let inputs = vec![random(seed, shape, DType::F32), random(seed + 1, shape, DType::F32)];
    Case::new(Gate, inputs, 3e-7, |all| vec![oracle(all)])
}

/// Two pictures in a block of FAR-B.
pub fn published() -> Vec<Case> {
    vec![case(1, &[512, 2816])]
}

#[test]
fn corners() {
    for shape in [&[][..], &[0], &[1], &[17], &[4095], &[4097], &[3, 65]] {
        check(&case(1, shape));
        check_narrow(&rounded(case(1, shape), &[0, 1]));
    }
    let a = Tensor::from_slice([5], &[100.0, -100.0, 0.0, f32::NAN, 1.0]).unwrap();
    let b = Tensor::from_slice([5], &[2.0, 2.0, f32::INFINITY, 1.0, f32::NAN]).unwrap();
    check(&Case::new(Gate, vec![a, b], 1e-6, |_| vec![vec![200.0, 0.0, f64::NAN, f64::NAN, f64::NAN]]));
}

#[test]
fn refusals() {
    let x = random(1, &[2, 3], DType::F32);
    refuses(Gate, &[&x, &random(2, &[3, 2], DType::F32)], "b is f32 [3, 2], expected f32 [2, 3]");
    refuses(Gate, &[&random(1, &[3], DType::BF16), &x], "b is f32 [2, 3], expected bf16 [3]");
    refuses(Gate, &[&x], "1 inputs, expected 2");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]
    #[test]
    fn any_shape(seed in 0u64..100, n in 0usize..9000) {
        check(&case(seed, &[n]));
        check_narrow(&rounded(case(seed, &[n]), &[0, 1]));
    }
}

#[test]
fn gradients() {
    for shape in [&[3, 7][..], &[1], &[40]] {
        check_gradients(Gate, &case(1, shape).inputs, &[0, 1], 2e-6, |all| vec![oracle(all)]);
        let narrow = rounded(case(1, shape), &[0, 1]);
        check_gradients(Gate, &narrow.inputs, &[0, 1], ROUNDING, |all| vec![oracle(all)]);
    }
}
