use crate::gradients::check_gradients;
use crate::table::{Case, ROUNDING, Wide, check, check_narrow, random, refuses, rounded};
use fqgan::ops::dropout::Dropout;
use fqgan::rng::Stream;
use fqgan::tensor::{DType, Tensor};
use proptest::prelude::*;

fn op(rate: f64, run: usize, residual: bool) -> Dropout {
    Dropout { rate, run, residual, seed: 0xABCD_0123_4567, place: [7, 3, 1], part: 0 }
}

/// One word of the documented stream after the other.
fn oracle(op: Dropout, all: &[Wide]) -> Vec<f64> {
    let mut stream = Stream::new(op.seed, op.place);
    for _ in 0..op.part as usize * (all[0].data.len() / op.run) {
        stream.word();
    }
    let mut out = Vec::new();
    for run in all[0].data.chunks(op.run) {
        let dropped = f64::from(stream.word()) < (op.rate * 2f64.powi(32)).floor();
        out.extend(run.iter().map(|x| if dropped { 0.0 } else { x / (1.0 - op.rate) }));
    }
    if let Some(skip) = all.get(1) {
        out.iter_mut().zip(&skip.data).for_each(|(y, s)| *y += s);
    }
    out
}

fn case(seed: u64, shape: &[usize], op: Dropout) -> Case {
    let inputs =
        (0..1 + u64::from(op.residual)).map(|i| random(seed + i, shape, DType::F32)).collect::<Vec<_>>();
    Case::new(op, inputs, 3e-7, move |all| vec![oracle(op, all)])
}

/// Of bf16 throughout.
fn narrow(seed: u64, shape: &[usize], op: Dropout) -> Case {
    rounded(case(seed, shape, op), if op.residual { &[0, 1] } else { &[0] })
}

/// A residual branch of two pictures in FAR-B: elements, and whole samples.
pub fn published() -> Vec<Case> {
    vec![case(1, &[2, 256, 1024], op(0.1, 1, true)), case(2, &[2, 256, 1024], op(0.1, 256 * 1024, true))]
}

#[test]
fn corners() {
    for (shape, run) in [
        (&[][..], 1),
        (&[0], 1),
        (&[1], 1),
        (&[63], 1),
        (&[65], 1),
        (&[9001], 1),
        (&[7, 66], 66),
        (&[20, 3], 6),
    ] {
        for residual in [false, true] {
            check(&case(1, shape, op(0.3, run, residual)));
            check(&case(2, shape, op(0.0, run, residual)));
            check_narrow(&narrow(1, shape, op(0.3, run, residual)));
            check(&case(3, shape, Dropout { part: 3, ..op(0.3, run, residual) }));
        }
    }
}

#[test]
fn what_is_dropped() {
    // No number is left of what is dropped, and nothing of the rest is lost.
    let x = Tensor::from_slice([4000], &[f32::NAN; 4000]).unwrap();
    check(&Case::new(op(0.9, 1, false), vec![x], 0.0, |_| {
        let ones = Wide { shape: vec![4000], data: vec![1.0; 4000] };
        let kept = oracle(op(0.9, 1, false), &[ones]);
        let share = kept.iter().filter(|&&x| x != 0.0).count() as f64 / 4000.0;
        assert!((share - 0.1).abs() < 0.02, "{share}");
        vec![kept.iter().map(|&x| if x == 0.0 { 0.0 } else { f64::NAN }).collect()]
    }));
}

#[test]
fn refusals() {
    let x = random(1, &[2, 3], DType::F32);
    refuses(op(1.0, 1, false), &[&x], "a rate of 1, expected 0 to below 1");
    refuses(op(-0.1, 1, false), &[&x], "a rate of -0.1");
    refuses(op(f64::NAN, 1, false), &[&x], "a rate of NaN");
    refuses(op(0.1, 4, false), &[&x], "no whole runs of 4");
    refuses(op(0.1, 0, false), &[&x], "no whole runs of 0");
    refuses(op(0.1, 1, true), &[&x], "1 inputs, expected 2");
    refuses(
        op(0.1, 1, true),
        &[&x, &random(1, &[6], DType::F32)],
        "residual is f32 [6], expected f32 [2, 3]",
    );
    refuses(op(0.1, 1, false), &[&random(1, &[3], DType::BF16)], "no kernel for bf16");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]
    #[test]
    fn any_shape(seed in 0u64..100, runs in 0usize..600, run in 1usize..20, rate in 0.0f64..0.99, residual: bool) {
        check(&case(seed, &[runs, run], Dropout { seed, ..op(rate, run, residual) }));
        check_narrow(&narrow(seed, &[runs, run], Dropout { seed, ..op(rate, run, residual) }));
    }
}

#[test]
fn gradients() {
    for (run, residual) in [(1, false), (1, true), (5, true)] {
        let op = Dropout { part: 1, ..op(0.4, run, residual) };
        let wanted: &[usize] = if residual { &[0, 1] } else { &[0] };
        check_gradients(op, &case(1, &[4, 10], op).inputs, wanted, 1e-6, |all| vec![oracle(op, all)]);
        check_gradients(op, &narrow(1, &[4, 10], op).inputs, wanted, ROUNDING, |all| vec![oracle(op, all)]);
    }
}
