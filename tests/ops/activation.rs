use crate::gradients::check_gradients;
use crate::table::{Case, ROUNDING, Wide, check, check_narrow, random, refuses, rounded};
use fqgan::ops::activation::LeakyRelu;
use fqgan::tensor::{DType, Tensor};
use proptest::prelude::*;

fn oracle(all: &[Wide], slope: f64) -> Vec<f64> {
    all[0].data.iter().map(|&x| if x > 0.0 { x } else { slope * x }).collect()
}

fn case(seed: u64, shape: &[usize], slope: f32) -> Case {
    let inputs = vec![random(seed, shape, DType::F32)];
    Case::new(LeakyRelu { slope }, inputs, 6e-8, move |all| vec![oracle(all, f64::from(slope))])
}

/// The first layers of the discriminator and of VGG.
pub fn published() -> Vec<Case> {
    vec![case(1, &[2, 128, 128, 64], 0.2), case(2, &[2, 256, 256, 64], 0.0)]
}

#[test]
fn corners() {
    for shape in [&[][..], &[0], &[1], &[17], &[4095], &[4097], &[2, 64, 65]] {
        check(&case(1, shape, 0.2));
        check(&case(2, shape, 0.0));
        check_narrow(&rounded(case(1, shape, 0.2), &[0]));
    }
    let x = Tensor::from_slice([4], &[f32::NAN, f32::INFINITY, -1.0, 0.0]).unwrap();
    check(&Case::new(LeakyRelu { slope: 0.5 }, vec![x], 0.0, |_| {
        vec![vec![f64::NAN, f64::INFINITY, -0.5, 0.0]]
    }));
    refuses(LeakyRelu { slope: 0.0 }, &[&random(1, &[3], DType::BF16)], "no kernel for bf16");
}

#[test]
fn gradients() {
    for slope in [0.0f32, 0.2] {
        for (dtype, bound) in [(DType::F32, 1e-6), (DType::BF16, ROUNDING)] {
            check_gradients(LeakyRelu { slope }, &[random(1, &[3, 7], dtype)], &[0], bound, |all| {
                vec![oracle(all, f64::from(slope))]
            });
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]
    #[test]
    fn any_shape(seed in 0u64..100, n in 0usize..9000, slope in 0.0f32..1.0) {
        check(&case(seed, &[n], slope));
        check_narrow(&rounded(case(seed, &[n], slope), &[0]));
    }
}
