use crate::gradients::check_gradients;
use crate::table::{Case, Wide, check, random, refuses};
use fqgan::ops::mean::Mean;
use fqgan::tensor::DType;

fn oracle(all: &[Wide]) -> Vec<f64> {
    vec![all[0].data.iter().sum::<f64>() / all[0].data.len() as f64]
}

#[test]
fn corners() {
    for shape in [&[][..], &[1], &[2, 3], &[4096], &[4097], &[70, 300]] {
        check(&Case::new(Mean, vec![random(1, shape, DType::F32)], 1e-5, |all| vec![oracle(all)]));
    }
    refuses(Mean, &[&random(1, &[0, 3], DType::F32)], "nothing to take a mean of");
}

#[test]
fn gradients() {
    check_gradients(Mean, &[random(1, &[3, 5], DType::F32)], &[0], 1e-6, |all| vec![oracle(all)]);
}
