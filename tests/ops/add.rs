use crate::gradients::check_gradients;
use crate::table::{Case, ROUNDING, check, random, refuses};
use fqgan::ops::add::Add;
use fqgan::tensor::{DType, Tensor};
use proptest::prelude::*;

pub fn add(seed: u64, shape: &[usize], leading: usize) -> Case {
    let inputs = vec![random(seed, shape, DType::F32), random(seed + 1, &shape[leading..], DType::F32)];
    Case::new(Add, inputs, 6e-8, |all| {
        let (a, b) = (&all[0].data, &all[1].data);
        vec![a.iter().enumerate().map(|(i, a)| a + b[i % b.len()]).collect()]
    })
}

/// The adapters' tokens and their table of positions; a residual of the widest layer.
pub fn published() -> Vec<Case> {
    vec![add(1, &[1, 256, 512], 1), add(2, &[1, 256, 256, 128], 0)]
}

#[test]
fn corners() {
    for (shape, leading) in [
        (&[2, 256, 512][..], 1),
        (&[2, 256, 512], 0),
        (&[3, 33, 37], 2),
        (&[5, 3, 7, 1], 3),
        (&[70, 9, 255], 2),
        (&[100, 300], 2),
        (&[1], 0),
        (&[], 0),
        (&[0, 5], 1),
        // Written past the caches.
        (&[160, 160, 130], 0),
        (&[160, 160, 130], 2),
        (&[5, 0], 1),
    ] {
        check(&add(1, shape, leading));
    }
}

#[test]
fn not_a_number_stays() {
    let a = Tensor::from_slice([2, 2], &[1.0, f32::NAN, f32::INFINITY, -1.0]).unwrap();
    let b = Tensor::from_slice([2], &[1.0f32, 1.0]).unwrap();
    check(&Case::new(Add, vec![a, b], 0.0, |_| vec![vec![2.0, f64::NAN, f64::INFINITY, 0.0]]));
}

#[test]
fn refusals() {
    let a = random(1, &[2, 3, 4], DType::F32);
    refuses(Add, &[&a, &random(2, &[2], DType::F32)], "b has shape [2], expected [2, 3, 4] or what is left");
    refuses(Add, &[&a, &random(2, &[1, 2, 3, 4], DType::F32)], "b has shape [1, 2, 3, 4]");
    refuses(Add, &[&a, &random(2, &[4], DType::BF16)], "expected plain f32");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn any_shape(seed in 0u64..1000, shape in prop::collection::vec(1usize..24, 1..4), leading in 0usize..4) {
        check(&add(seed, &shape, leading.min(shape.len())));
    }
}

#[test]
fn gradients() {
    for shape in [&[2, 3, 4][..], &[3, 4], &[4], &[]] {
        for (dtype, bound) in [(DType::F32, 1e-6), (DType::BF16, ROUNDING)] {
            let inputs = [random(1, &[2, 3, 4], dtype), random(2, shape, dtype)];
            check_gradients(Add, &inputs, &[0, 1], bound, |all| {
                let (a, b) = (&all[0].data, &all[1].data);
                vec![a.iter().enumerate().map(|(i, a)| a + b[i % b.len()]).collect()]
            });
        }
    }
}
