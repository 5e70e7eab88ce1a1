use crate::gradients::check_gradients;
use crate::table::{Case, ROUNDING, Wide, check, check_narrow, random, refuses, rounded};
use fqgan::ops::scale::Scale;
use fqgan::tensor::DType;

fn oracle(all: &[Wide]) -> Vec<f64> {
    all[0].data.iter().map(|x| f64::from(0.37f32) * x).collect()
}

#[test]
fn corners() {
    for shape in [&[][..], &[3], &[0, 4], &[2, 4097, 3]] {
        let case =
            || Case::new(Scale(0.37), vec![random(1, shape, DType::F32)], 1e-7, |all| vec![oracle(all)]);
        check(&case());
        check_narrow(&rounded(case(), &[0]));
    }
    refuses(Scale(2.0), &[&random(1, &[3], DType::BF16)], "no kernel for bf16 [3]");
    for (dtype, bound) in [(DType::F32, 1e-6), (DType::BF16, ROUNDING)] {
        check_gradients(Scale(0.37), &[random(1, &[2, 3], dtype)], &[0], bound, |all| vec![oracle(all)]);
    }
}
