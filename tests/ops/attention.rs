use crate::gradients::check_gradients;
use crate::table::{Case, Wide, check, random, refuses, rounded};
use fqgan::ops::attention::Attention;
use fqgan::tensor::{DType, Tensor};
use proptest::prelude::*;

/// Softmax attention in plain loops over (b, t, d) rows.
fn oracle(q: &[f64], k: &[f64], v: &[f64], [b, t, d]: [usize; 3], op: Attention) -> Vec<f64> {
    let width = d / op.heads;
    let mut out = vec![0.0; b * t * d];
    for (image, head, i) in
        (0..b).flat_map(|b| (0..op.heads).flat_map(move |h| (0..t).map(move |i| (b, h, i))))
    {
        let at = |token: usize| (image * t + token) * d + head * width;
        let seen = if op.causal { i + 1 } else { t };
        let score = |j: usize| {
            let dot: f64 = (0..width).map(|e| q[at(i) + e] * k[at(j) + e]).sum();
            dot / (width as f64).sqrt()
        };
        let scores: Vec<f64> = (0..seen).map(score).collect();
        let largest = scores.iter().cloned().fold(f64::NEG_INFINITY, f64::max);
        let weights: Vec<f64> = scores.iter().map(|s| (s - largest).exp()).collect();
        let total: f64 = weights.iter().sum();
        for e in 0..width {
            out[at(i) + e] = (0..seen).map(|j| weights[j] * v[at(j) + e]).sum::<f64>() / total;
        }
    }
    out
}

pub fn packed(seed: u64, [b, t, d]: [usize; 3], op: Attention, gain: f32) -> Case {
    let x = random(seed, &[b, t, 3 * d], DType::F32);
    let scaled: Vec<f32> = x.data::<f32>().unwrap().iter().map(|x| x * gain).collect();
    let inputs = vec![Tensor::from_slice([b, t, 3 * d], &scaled).unwrap()];
    // An error of a score is one of its exponent.
    let bound = 1e-6 * f64::from(1.0 + gain * gain);
    Case::new(op, inputs, bound, move |all: &[Wide]| {
        let part = |i: usize| -> Vec<f64> {
            all[0].data.chunks_exact(3 * d).flat_map(|row| row[i * d..(i + 1) * d].to_vec()).collect()
        };
        vec![oracle(&part(0), &part(1), &part(2), [b, t, d], op)]
    })
}

pub fn separate(seed: u64, shape: [usize; 3], op: Attention) -> Case {
    let inputs = (0..3).map(|i| random(seed + i, &shape, DType::F32)).collect();
    Case::new(op, inputs, 2e-6, move |all: &[Wide]| {
        vec![oracle(&all[0].data, &all[1].data, &all[2].data, shape, op)]
    })
}

/// The adapters at f16 and f8; the CNN's single head at f16, f8 and for a picture of 1024 pixels.
pub fn published() -> Vec<Case> {
    let op = |heads| Attention { heads, causal: false };
    vec![
        packed(1, [1, 256, 512], op(8), 1.0),
        packed(2, [1, 1024, 512], op(8), 1.0),
        separate(3, [1, 256, 512], op(1)),
        separate(4, [1, 1024, 512], op(1)),
        separate(5, [1, 4096, 512], op(1)),
    ]
}

#[test]
fn corners() {
    for causal in [false, true] {
        for (shape, heads) in [
            ([1, 256, 512], 8),
            ([1, 130, 512], 1),
            ([2, 33, 24], 3),
            ([1, 1, 1], 1),
            ([3, 2, 34], 2),
            ([1, 65, 31], 1),
            ([0, 5, 8], 2),
            ([2, 0, 8], 2),
        ] {
            check(&packed(1, shape, Attention { heads, causal }, 1.0));
            check(&separate(2, shape, Attention { heads, causal }));
        }
        check(&packed(3, [1, 300, 64], Attention { heads: 1, causal }, 8.0));
    }
}

/// Scores of thousands: only differences may be exponentiated, and what is far below the largest is zero.
#[test]
fn large_scores() {
    let t = 100;
    let token = |i: usize| [i as f32 * 100.0, 10.0, i as f32];
    let rows: Vec<f32> = (0..t).flat_map(token).collect();
    let qkv = Tensor::from_slice([1, t, 3], &rows).unwrap();
    let op = Attention { heads: 1, causal: false };
    // All keys are equal, so every query gets the mean of the values.
    check(&Case::new(op, vec![qkv], 1e-6, move |_| vec![vec![49.5; t]]));
    let token = |i: usize| [100.0, i as f32, i as f32];
    let rows: Vec<f32> = (0..t).flat_map(token).collect();
    let qkv = Tensor::from_slice([1, t, 3], &rows).unwrap();
    // Each query sees the last key of its own alone.
    check(&Case::new(op, vec![qkv.clone()], 1e-6, move |_| vec![vec![99.0; t]]));
    let op = Attention { heads: 1, causal: true };
    check(&Case::new(op, vec![qkv], 1e-6, move |_| vec![(0..t).map(|i| i as f64).collect()]));
}

#[test]
fn not_a_number_stays_in_its_row() {
    let t = 70;
    let mut q = vec![1.0f32; t];
    q[3] = f32::NAN;
    q[68] = f32::NAN;
    let q = Tensor::from_slice([1, t, 1], &q).unwrap();
    let ones = Tensor::from_slice([1, t, 1], &vec![1.0f32; t]).unwrap();
    for causal in [false, true] {
        let op = Attention { heads: 1, causal };
        check(&Case::new(op, vec![q.clone(), ones.clone(), ones.clone()], 1e-6, move |_| {
            vec![(0..t).map(|i| if i == 3 || i == 68 { f64::NAN } else { 1.0 }).collect()]
        }));
        // A key that is no number spoils every query that sees it.
        check(&Case::new(op, vec![ones.clone(), q.clone(), ones.clone()], 1e-6, move |_| {
            vec![(0..t).map(|i| if i >= 3 || !causal { f64::NAN } else { 1.0 }).collect()]
        }));
    }
}

#[test]
fn refusals() {
    let op = Attention { heads: 3, causal: false };
    let x = random(1, &[1, 4, 8], DType::F32);
    refuses(op, &[&x, &x, &x], "8 channels do not divide into 3 heads");
    refuses(Attention { heads: 0, causal: false }, &[&x, &x, &x], "into 0 heads");
    refuses(op, &[&x], "qkv has 8 channels, expected a multiple of 3");
    refuses(op, &[&x, &x], "2 inputs, expected 1 or 3");
    refuses(op, &[&x, &random(1, &[1, 5, 8], DType::F32), &x], "k is f32 [1, 5, 8], q is f32 [1, 4, 8]");
    refuses(op, &[&random(1, &[1, 4, 9], DType::BF16)], "no kernel for bf16");
    refuses(op, &[&random(1, &[4, 9], DType::F32)], "expected 3 axes");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn any_shape(seed in 0u64..1000, b in 1usize..3, t in 1usize..150, heads in 1usize..4,
                 width in 1usize..70, causal: bool, gain in 0u8..5) {
        let op = Attention { heads, causal };
        check(&packed(seed, [b, t, heads * width], op, f32::from(gain)));
        check(&separate(seed, [b, t, heads * width], op));
    }
}

#[test]
fn gradients() {
    for (shape, heads) in [([2, 5, 6], 2), ([1, 19, 4], 1), ([1, 1, 3], 3), ([1, 2, 70], 1), ([1, 2, 130], 1)]
    {
        for causal in [false, true] {
            let op = Attention { heads, causal };
            let case = packed(1, shape, op, 1.5);
            check_gradients(op, &case.inputs, &[0], 2e-5, |all| case.expected(all));
            let case = separate(2, shape, op);
            check_gradients(op, &case.inputs, &[0, 1, 2], 2e-5, |all| case.expected(all));
        }
    }
    // By tensor cores, and of another width. What they multiply is rounded too.
    for (shape, heads) in [([2, 5, 128], 2), ([1, 7, 128], 1), ([1, 9, 6], 2)] {
        for causal in [false, true] {
            let op = Attention { heads, causal };
            let case = rounded(packed(1, shape, op, 1.0), &[0]);
            check_gradients(op, &case.inputs, &[0], 1e-2, |all| case.expected(all));
            let case = rounded(separate(2, shape, op), &[0, 1, 2]);
            check_gradients(op, &case.inputs, &[0, 1, 2], 1e-2, |all| case.expected(all));
        }
    }
}
