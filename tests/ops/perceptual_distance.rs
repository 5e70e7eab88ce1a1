use crate::gradients::check_gradients;
use crate::table::{Case, ROUNDING, Wide, check, check_narrow, device, exactly_rounded, on, random, refuses};
use fqgan::backend::cpu::Isa;
use fqgan::exec::{Eager, Exec, Tape};
use fqgan::ops::perceptual_distance::PerceptualDistance;
use fqgan::tensor::{DType, Tensor};
use proptest::prelude::*;
use std::collections::BTreeMap;

fn oracle(all: &[Wide]) -> Vec<f64> {
    let [n, h, w, c] = all[0].shape[..] else { panic!() };
    let unit = |x: &[f64]| {
        let length = x.iter().map(|v| v * v).sum::<f64>().sqrt() + 1e-10;
        x.iter().map(|v| v / length).collect::<Vec<_>>()
    };
    let column = |p: usize| {
        let (a, b) = (unit(&all[0].data[p * c..][..c]), unit(&all[1].data[p * c..][..c]));
        (0..c).map(|i| all[2].data[i] * (a[i] - b[i]) * (a[i] - b[i])).sum::<f64>()
    };
    (0..n).map(|i| (0..h * w).map(|p| column(i * h * w + p)).sum::<f64>() / (h * w) as f64).collect()
}

fn inputs(seed: u64, shape: [usize; 4]) -> Vec<Tensor> {
    let x = |seed| random(seed, &shape, DType::F32);
    vec![x(seed), x(seed + 1), random(seed + 2, &[shape[3]], DType::F32)]
}

fn case(seed: u64, shape: [usize; 4]) -> Case {
    Case::new(PerceptualDistance, inputs(seed, shape), 2e-5, |all| vec![oracle(all)])
}

/// The first layer, and the last.
pub fn published() -> Vec<Case> {
    vec![case(1, [2, 256, 256, 64]), case(2, [2, 16, 16, 512])]
}

#[test]
fn corners() {
    for shape in [[1, 1, 1, 1], [2, 3, 5, 7], [0, 2, 2, 3], [1, 17, 16, 64], [3, 1, 300, 17]] {
        check(&case(1, shape));
        check_narrow(&exactly_rounded(case(1, shape), &[0, 1]));
    }
    let [a, b, w] = &inputs(1, [1, 2, 2, 4])[..] else { panic!() };
    refuses(PerceptualDistance, &[a, &random(1, &[1, 2, 2, 5], DType::F32), w], "b is f32 [1, 2, 2, 5]");
    refuses(PerceptualDistance, &[a, b, &random(1, &[5], DType::F32)], "weight is f32 [5], expected f32 [4]");
    let none = random(1, &[1, 0, 2, 4], DType::F32);
    refuses(PerceptualDistance, &[&none, &none, w], "nothing to take a mean of");
}

#[test]
fn gradients() {
    for shape in [[2, 2, 3, 5], [1, 1, 1, 17]] {
        check_gradients(PerceptualDistance, &inputs(1, shape), &[0], 2e-5, |all| vec![oracle(all)]);
        let narrow = exactly_rounded(case(1, shape), &[0, 1]).inputs;
        check_gradients(PerceptualDistance, &narrow, &[0], ROUNDING, |all| vec![oracle(all)]);
    }
}

/// Where the difference quotient would be 1e10: the gradient of a column of zeros is zero.
#[test]
fn a_column_of_zeros_has_no_gradient() {
    let [_, b, w] = <[Tensor; 3]>::try_from(inputs(1, [1, 1, 2, 3])).unwrap();
    let a = Tensor::from_slice([1, 1, 2, 3], &[0.0f32, 0.0, 0.0, 1.0, 2.0, 3.0]).unwrap();
    on(&device(Isa::best(), 1), |e| {
        let none = BTreeMap::new();
        let add = |e: &Eager<'_>, a: &Tensor, b: &Tensor| e.apply(fqgan::ops::add::Add, &[a, b]).map(|[y]| y);
        let tape = Tape::new(Eager::new(e.cx().device, e.cx().workspace), &none, add);
        let a = tape.leaf("a", a);
        let [y] = tape.apply(PerceptualDistance, &[&a, &tape.constant(b), &tape.constant(w)]).unwrap();
        let grads = tape.backward(&y, Tensor::from_slice([1], &[1.0f32]).unwrap()).unwrap();
        let grad = grads["a"].data::<f32>().unwrap();
        assert_eq!(grad[..3], [0.0; 3]);
        assert!(grad[3..].iter().all(|g| g.is_finite()) && grad[3..] != [0.0; 3]);
    });
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]
    #[test]
    fn any_shape(seed in 0u64..100, n in 1usize..3, h in 1usize..20, w in 1usize..20, c in 1usize..70) {
        check(&case(seed, [n, h, w, c]));
        check_narrow(&exactly_rounded(case(seed, [n, h, w, c]), &[0, 1]));
    }
}
