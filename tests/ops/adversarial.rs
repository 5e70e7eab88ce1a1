use crate::gradients::check_gradients;
use crate::table::{Case, ROUNDING, Wide, check, check_narrow, exactly_rounded, noise, random, refuses};
use fqgan::ops::adversarial::{Function, Score};
use fqgan::tensor::{DType, Tensor};

const ALL: [Function; 3] = [Function::Linear, Function::Hinge, Function::Softplus];

fn oracle(all: &[Wide], op: Score) -> Vec<f64> {
    let of = |x: &f64| {
        let v = if op.negated { -x } else { *x };
        match op.function {
            Function::Linear => v,
            Function::Hinge => (1.0 + v).max(0.0),
            Function::Softplus => v.max(0.0) + (-v.abs()).exp().ln_1p(),
        }
    };
    vec![all[0].data.iter().map(of).sum::<f64>() / all[0].data.len() as f64]
}

fn case(seed: u64, shape: &[usize], spread: f32, op: Score) -> Case {
    let logits: Vec<f32> = noise(seed, shape.iter().product()).iter().map(|v| v * spread + 0.3).collect();
    let shape = fqgan::tensor::Shape::try_from_slice(shape).unwrap();
    let inputs = vec![Tensor::from_slice(shape, &logits).unwrap()];
    Case::new(op, inputs, 2e-6, move |all| vec![oracle(all, op)])
}

#[test]
fn corners() {
    for op in ALL.into_iter().flat_map(|function| [false, true].map(|negated| Score { function, negated })) {
        for (shape, spread) in [(&[1][..], 1.0), (&[2, 30, 30, 1], 3.0), (&[5000], 1.0), (&[33], 80.0)] {
            check(&case(1, shape, spread, op));
            check_narrow(&exactly_rounded(case(1, shape, spread, op), &[0]));
        }
        let x = Tensor::from_slice([3], &[1.0, f32::NAN, 0.0]).unwrap();
        check(&Case::new(op, vec![x], 0.0, |_| vec![vec![f64::NAN]]));
        refuses(op, &[&random(1, &[0], DType::F32)], "nothing to take a mean of");
        refuses(op, &[&random(1, &[2], DType::F16)], "expected plain f32");
    }
}

#[test]
fn gradients() {
    for op in ALL.into_iter().flat_map(|function| [false, true].map(|negated| Score { function, negated })) {
        let case = case(3, &[3, 7], 2.0, op);
        check_gradients(op, &case.inputs, &[0], 2e-6, |all| vec![oracle(all, op)]);
        let narrow = exactly_rounded(case, &[0]).inputs;
        check_gradients(op, &narrow, &[0], ROUNDING, |all| vec![oracle(all, op)]);
    }
}
