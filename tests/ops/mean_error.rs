use crate::gradients::check_gradients;
use crate::table::{Case, ROUNDING, Wide, check, check_narrow, exactly_rounded, random, refuses};
use fqgan::ops::mean_error::{MeanError, Power};
use fqgan::tensor::{DType, Tensor};
use proptest::prelude::*;

fn oracle(all: &[Wide], power: Power) -> Vec<f64> {
    let each = all[0].data.iter().zip(&all[1].data).map(|(a, b)| match power {
        Power::Absolute => (a - b).abs(),
        Power::Squared => (a - b) * (a - b),
    });
    vec![each.sum::<f64>() / all[0].data.len() as f64]
}

fn case(seed: u64, shape: &[usize], power: Power) -> Case {
    let inputs = vec![random(seed, shape, DType::F32), random(seed + 1, shape, DType::F32)];
    Case::new(MeanError(power), inputs, 1e-6, move |all| vec![oracle(all, power)])
}

pub fn published() -> Vec<Case> {
    vec![case(1, &[2, 256, 256, 3], Power::Squared)]
}

#[test]
fn corners() {
    for power in [Power::Absolute, Power::Squared] {
        for shape in [&[][..], &[1], &[4095], &[2, 5, 1000]] {
            check(&case(1, shape, power));
            check_narrow(&exactly_rounded(case(1, shape, power), &[0, 1]));
        }
        let a = Tensor::from_slice([2], &[1.0, f32::NAN]).unwrap();
        check(&Case::new(MeanError(power), vec![a.clone(), a], 0.0, |_| vec![vec![f64::NAN]]));
        let (a, b) = (random(1, &[0], DType::F32), random(1, &[3], DType::F32));
        refuses(MeanError(power), &[&a, &a], "nothing to take a mean of");
        refuses(
            MeanError(power),
            &[&b, &random(1, &[3, 1], DType::F32)],
            "b is f32 [3, 1], expected f32 [3]",
        );
    }
}

#[test]
fn gradients() {
    for power in [Power::Absolute, Power::Squared] {
        for (dtype, bound) in [(DType::F32, 2e-6), (DType::BF16, ROUNDING)] {
            let all = [random(1, &[4, 5], dtype), random(2, &[4, 5], dtype)];
            check_gradients(MeanError(power), &all, &[0, 1], bound, |all| vec![oracle(all, power)]);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]
    #[test]
    fn any_shape(seed in 0u64..100, n in 1usize..9000, absolute: bool) {
        let power = if absolute { Power::Absolute } else { Power::Squared };
        check(&case(seed, &[n], power));
        check_narrow(&exactly_rounded(case(seed, &[n], power), &[0, 1]));
    }
}
