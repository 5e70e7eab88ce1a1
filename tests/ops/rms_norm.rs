use crate::gradients::check_gradients;
use crate::table::{Case, ROUNDING, check, check_narrow, random, refuses, rounded};
use fqgan::ops::rms_norm::RmsNorm;
use fqgan::tensor::{DType, Tensor};
use proptest::prelude::*;

fn case(seed: u64, lead: &[usize], c: usize, eps: f32) -> Case {
    let inputs = vec![random(seed, &[lead, &[c]].concat(), DType::F32), random(seed + 1, &[c], DType::F32)];
    Case::new(RmsNorm { eps }, inputs, 5e-7, move |all| {
        let rows = all[0].data.chunks(c).flat_map(|x| {
            let square = x.iter().map(|v| v * v).sum::<f64>() / c as f64;
            let scale = 1.0 / (square + f64::from(eps)).sqrt();
            x.iter().zip(&all[1].data).map(move |(x, w)| x * scale * w)
        });
        vec![rows.collect()]
    })
}

/// A step of FAR-B for a guided image, and a teacher-forced picture.
pub fn published() -> Vec<Case> {
    vec![case(1, &[2], 1024, 1e-5), case(2, &[256], 1024, 1e-5)]
}

#[test]
fn corners() {
    for (lead, c) in [(&[1][..], 1), (&[], 5), (&[2, 3], 64), (&[33], 1000), (&[2], 1024), (&[0], 8)] {
        check(&case(1, lead, c, 1e-5));
        check(&case(2, lead, c, 0.5));
        check_narrow(&rounded(case(1, lead, c, 1e-5), &[0]));
    }
}

#[test]
fn zeros_and_not_a_number() {
    let x = Tensor::from_slice([2, 2], &[0.0, 0.0, f32::NAN, 1.0]).unwrap();
    let w = Tensor::from_slice([2], &[1.0f32, 2.0]).unwrap();
    check(&Case::new(RmsNorm { eps: 1e-5 }, vec![x, w], 0.0, |_| vec![vec![0.0, 0.0, f64::NAN, f64::NAN]]));
}

#[test]
fn refusals() {
    let op = RmsNorm { eps: 1e-5 };
    let x = random(1, &[2, 6], DType::F32);
    refuses(op, &[&x, &random(2, &[5], DType::F32)], "weight is f32 [5], expected f32 [6]");
    refuses(op, &[&random(1, &[2, 6], DType::BF16), &random(2, &[6], DType::F32)], "no kernel for bf16");
    refuses(
        op,
        &[&random(1, &[2, 0], DType::F32), &random(2, &[0], DType::F32)],
        "nothing to take a mean of",
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn any_shape(seed in 0u64..1000, rows in 1usize..40, c in 1usize..300) {
        check(&case(seed, &[rows], c, 1e-5));
        check_narrow(&rounded(case(seed, &[rows], c, 1e-5), &[0]));
    }
}

#[test]
fn gradients() {
    for (lead, c) in [(&[2, 3][..], 18), (&[], 5), (&[70], 3), (&[1], 1)] {
        let case = case(3, lead, c, 1e-2);
        check_gradients(RmsNorm { eps: 1e-2 }, &case.inputs, &[0, 1], 1e-5, |all| case.expected(all));
        let case = rounded(case, &[0]);
        check_gradients(RmsNorm { eps: 1e-2 }, &case.inputs, &[0, 1], ROUNDING, |all| case.expected(all));
    }
}
