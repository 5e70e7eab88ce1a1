use crate::gradients::check_gradients;
use crate::table::{Case, ROUNDING, Wide, check, check_narrow, random, refuses, rounded};
use fqgan::ops::multiply::Multiply;
use fqgan::tensor::DType;

fn oracle(all: &[Wide]) -> Vec<f64> {
    let (a, b) = (&all[0].data, &all[1].data);
    a.iter().enumerate().map(|(i, a)| a * b[i % b.len()]).collect()
}

#[test]
fn corners() {
    for (shape, leading) in [
        (&[][..], 0),
        (&[3, 5][..], 1),
        (&[3, 5], 2),
        (&[0, 4], 1),
        (&[2, 9000], 1),
        (&[9000, 3], 1),
        (&[2, 257, 384], 2),
    ] {
        let inputs = vec![random(1, shape, DType::F32), random(2, &shape[leading..], DType::F32)];
        let case = || Case::new(Multiply, inputs.clone(), 6e-8, |all| vec![oracle(all)]);
        check(&case());
        check_narrow(&rounded(case(), &[0, 1]));
    }
    let a = random(1, &[3, 5], DType::F32);
    refuses(
        Multiply,
        &[&a, &random(2, &[3], DType::F32)],
        "b has shape [3], expected [3, 5] or what is left of it",
    );
}

#[test]
fn gradients() {
    for leading in 0..=2 {
        for (dtype, bound) in [(DType::F32, 2e-6), (DType::BF16, ROUNDING)] {
            let all = [random(1, &[3, 5], dtype), random(2, &[3, 5][leading..], dtype)];
            check_gradients(Multiply, &all, &[0, 1], bound, |all| vec![oracle(all)]);
        }
    }
}
