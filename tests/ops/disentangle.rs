use crate::gradients::check_gradients;
use crate::table::{Case, ROUNDING, Wide, check, check_narrow, exactly_rounded, random, refuses};
use fqgan::ops::disentangle::Disentangle;
use fqgan::tensor::DType;

fn oracle(all: &[Wide]) -> Vec<f64> {
    let d = *all[0].shape.last().unwrap();
    let rows = all[0].data.chunks_exact(d).zip(all[1].data.chunks_exact(d));
    let count = rows.len() as f64;
    vec![rows.map(|(a, b)| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>().powi(2)).sum::<f64>() / count]
}

#[test]
fn corners() {
    for shape in [&[1][..], &[3, 2], &[2, 16, 16, 8], &[700, 3]] {
        let inputs = vec![random(1, shape, DType::F32), random(2, shape, DType::F32)];
        let case = || Case::new(Disentangle, inputs.clone(), 1e-6, |all| vec![oracle(all)]);
        check(&case());
        check_narrow(&exactly_rounded(case(), &[0, 1]));
    }
    let a = random(1, &[3, 4], DType::F32);
    refuses(Disentangle, &[&a, &random(2, &[3, 5], DType::F32)], "b is f32 [3, 5], expected f32 [3, 4]");
    let none = random(1, &[0, 4], DType::F32);
    refuses(Disentangle, &[&none, &none], "nothing to take a mean of");
}

#[test]
fn gradients() {
    for (dtype, bound) in [(DType::F32, 1e-6), (DType::BF16, ROUNDING)] {
        let all = [random(1, &[5, 3], dtype), random(2, &[5, 3], dtype)];
        check_gradients(Disentangle, &all, &[0, 1], bound, |all| vec![oracle(all)]);
    }
}
