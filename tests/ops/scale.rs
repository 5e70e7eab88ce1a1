use crate::gradients::check_gradients;
use crate::table::{Case, Wide, check, random, refuses};
use fqgan::ops::scale::Scale;
use fqgan::tensor::DType;

fn oracle(all: &[Wide]) -> Vec<f64> {
    all[0].data.iter().map(|x| f64::from(0.37f32) * x).collect()
}

#[test]
fn corners() {
    for shape in [&[][..], &[3], &[0, 4], &[2, 4097, 3]] {
        check(&Case::new(Scale(0.37), vec![random(1, shape, DType::F32)], 1e-7, |all| vec![oracle(all)]));
    }
    refuses(Scale(2.0), &[&random(1, &[3], DType::BF16)], "x is bf16 [3], expected plain f32");
    check_gradients(Scale(0.37), &[random(1, &[2, 3], DType::F32)], &[0], 1e-6, |all| vec![oracle(all)]);
}
