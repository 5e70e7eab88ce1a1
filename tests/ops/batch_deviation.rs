use crate::gradients::check_gradients;
use crate::table::{Case, ROUNDING, Wide, check, check_narrow, random, refuses, rounded};
use fqgan::ops::batch_deviation::BatchDeviation;
use fqgan::tensor::DType;

/// Pictures of a set: the largest divisor of n up to the group.
fn oracle(group: usize, x: &Wide) -> Vec<f64> {
    let [n, h, w, c] = x.shape[..] else { panic!("four axes") };
    let g = (1..=group).filter(|g| n % g == 0).max().unwrap();
    let (sets, each) = (n / g, h * w * c);
    let mut out = vec![0.0; n * h * w];
    for set in 0..sets {
        let mut total = 0.0;
        for at in 0..each {
            let values: Vec<f64> = (0..g).map(|i| x.data[(set + i * sets) * each + at]).collect();
            let mean = values.iter().sum::<f64>() / g as f64;
            let variance = values.iter().map(|v| (v - mean) * (v - mean)).sum::<f64>() / g as f64;
            total += (variance + 1e-8).sqrt();
        }
        for picture in (set..n).step_by(sets) {
            out[picture * h * w..(picture + 1) * h * w].fill(total / each as f64);
        }
    }
    out
}

#[test]
fn corners() {
    for (shape, group) in
        [([4, 4, 4, 32], 4), ([6, 2, 3, 5], 4), ([5, 1, 1, 3], 4), ([8, 3, 2, 7], 4), ([1, 2, 2, 2], 4)]
    {
        let inputs = vec![random(1, &shape, DType::F32)];
        let op = BatchDeviation { group };
        let case = || Case::new(op, inputs.clone(), 1e-6, move |all| vec![oracle(group, &all[0])]);
        check(&case());
        check_narrow(&rounded(case(), &[0]));
    }
    let empty = random(1, &[2, 0, 3, 3], DType::F32);
    refuses(BatchDeviation { group: 4 }, &[&empty], "expected pictures, and sets of at least one");
    let x = random(1, &[2, 2, 3, 3], DType::F32);
    refuses(BatchDeviation { group: 0 }, &[&x], "expected pictures, and sets of at least one");
}

#[test]
fn gradients() {
    for (shape, group) in [([4, 2, 2, 3], 4), ([6, 1, 2, 2], 4), ([4, 1, 1, 3], 2)] {
        for (dtype, bound) in [(DType::F32, 1e-5), (DType::BF16, ROUNDING)] {
            let x = random(3, &shape, dtype);
            check_gradients(BatchDeviation { group }, &[x], &[0], bound, |all| vec![oracle(group, &all[0])]);
        }
    }
}
