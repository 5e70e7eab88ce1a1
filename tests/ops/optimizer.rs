use crate::table::{Case, check, random, refuses};
use fqgan::ops::optimizer::{Adam, Average, Length};
use fqgan::tensor::{DType, Tensor};
use proptest::prelude::*;

const OP: Adam = Adam { rate: 0.01, betas: [0.9, 0.95], eps: 1e-8, decay: 0.05, step: 3, scale: 0.25 };

fn inputs(n: usize) -> Vec<Tensor> {
    let mut all: Vec<Tensor> = (1..5).map(|seed| random(seed, &[n], DType::F32)).collect();
    // A second moment is no less than zero.
    let v: Vec<f32> = all[3].data::<f32>().unwrap().iter().map(|v| v.abs()).collect();
    all[3] = Tensor::from_slice([n], &v).unwrap();
    all
}

fn adam(op: Adam, n: usize) -> Case {
    Case::new(op, inputs(n), 4e-7, move |all| {
        let [b1, b2] = op.betas;
        let (mut w, mut m, mut v) = (Vec::new(), Vec::new(), Vec::new());
        for i in 0..all[0].data.len() {
            let g = all[1].data[i] * op.scale;
            m.push(b1 * all[2].data[i] + (1.0 - b1) * g);
            v.push(b2 * all[3].data[i] + (1.0 - b2) * g * g);
            let (mean, square) =
                (m[i] / (1.0 - b1.powf(op.step as f64)), v[i] / (1.0 - b2.powf(op.step as f64)));
            w.push(all[0].data[i] * (1.0 - op.rate * op.decay) - op.rate * mean / (square.sqrt() + op.eps));
        }
        vec![w, m, v]
    })
}

/// A weight of the deepest level.
pub fn published() -> Vec<Case> {
    vec![adam(OP, 512 * 512 * 9)]
}

#[test]
fn corners() {
    for n in [0, 1, 15, 17, 4096, 4097, 9001] {
        check(&adam(OP, n));
        check(&adam(Adam { step: 1, decay: 0.0, scale: 1.0, ..OP }, n));
        let pair = vec![random(1, &[n], DType::F32), random(2, &[n], DType::F32)];
        check(&Case::new(Average { decay: 0.75 }, pair, 1e-7, |all| {
            vec![all[0].data.iter().zip(&all[1].data).map(|(a, w)| 0.75 * a + 0.25 * w).collect()]
        }));
        check(&Case::new(Length, vec![random(1, &[n], DType::F32)], 1e-6, |all| {
            vec![vec![all[0].data.iter().map(|x| x * x).sum::<f64>().sqrt()]]
        }));
    }
    let huge = Tensor::from_slice([2], &[f32::INFINITY, 1.0]).unwrap();
    check(&Case::new(Length, vec![huge], 0.0, |_| vec![vec![f64::INFINITY]]));
    let all = inputs(3);
    refuses(OP, &[&all[0], &random(1, &[4], DType::F32), &all[2], &all[3]], "gradient is f32 [4]");
    refuses(Average { decay: 0.5 }, &[&all[0], &random(1, &[4], DType::F32)], "weight is f32 [4]");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]
    #[test]
    fn any_shape(n in 1usize..9000, step in 1u64..100000, scale in 0.01f64..1.0) {
        check(&adam(Adam { step, scale, ..OP }, n));
    }
}
