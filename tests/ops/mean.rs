use crate::gradients::check_gradients;
use crate::table::{Case, ROUNDING, Wide, check, check_narrow, exactly_rounded, random, refuses};
use fqgan::ops::mean::Mean;
use fqgan::tensor::DType;

fn oracle(all: &[Wide]) -> Vec<f64> {
    vec![all[0].data.iter().sum::<f64>() / all[0].data.len() as f64]
}

#[test]
fn corners() {
    for shape in [&[][..], &[1], &[2, 3], &[4096], &[4097], &[70, 300]] {
        let case = || Case::new(Mean, vec![random(1, shape, DType::F32)], 1e-5, |all| vec![oracle(all)]);
        check(&case());
        check_narrow(&exactly_rounded(case(), &[0]));
    }
    refuses(Mean, &[&random(1, &[0, 3], DType::F32)], "nothing to take a mean of");
}

#[test]
fn gradients() {
    for (dtype, bound) in [(DType::F32, 1e-6), (DType::BF16, ROUNDING)] {
        check_gradients(Mean, &[random(1, &[3, 5], dtype)], &[0], bound, |all| vec![oracle(all)]);
    }
}
