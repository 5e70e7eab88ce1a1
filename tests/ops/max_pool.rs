use crate::gradients::check_gradients;
use crate::table::{Case, ROUNDING, Wide, check, check_narrow, exactly_rounded, random, refuses, round};
use crate::windows;
use fqgan::ops::max_pool::MaxPool;
use fqgan::ops::window::Window;
use fqgan::tensor::{DType, Tensor};

fn oracle(window: Window, x: &Wide) -> Vec<f64> {
    windows::oracle(window, x, |pixels| pixels.iter().copied().fold(f64::NEG_INFINITY, f64::max))
}

fn case(seed: u64, shape: [usize; 4], window: Window) -> Case {
    let x = vec![random(seed, &shape, DType::F32)];
    Case::new(MaxPool(window), x, 0.0, move |all| vec![oracle(window, &all[0])])
}

pub fn published() -> Vec<Case> {
    vec![
        case(1, [2, 256, 256, 64], MaxPool::HALVE.0),
        case(2, [1, 147, 147, 64], Window { side: 3, stride: 2, padding: 0 }),
    ]
}

#[test]
fn corners() {
    for shape in [[1, 2, 2, 1], [2, 5, 7, 3], [1, 1, 4, 2], [0, 4, 4, 2], [1, 4, 4, 0], [1, 8, 6, 64]] {
        check(&case(1, shape, MaxPool::HALVE.0));
        check_narrow(&exactly_rounded(case(1, shape, MaxPool::HALVE.0), &[0]));
    }
    windows::each(|shape, window| check(&case(2, shape, window)));
    windows::each(|shape, window| check_narrow(&exactly_rounded(case(2, shape, window), &[0])));
    let x = Tensor::from_slice([1, 2, 2, 1], &[1.0, f32::NAN, f32::INFINITY, 2.0]).unwrap();
    check(&Case::new(MaxPool::HALVE, vec![x], 0.0, |_| vec![vec![f64::NAN]]));
    windows::refusals(MaxPool);
    refuses(MaxPool::HALVE, &[&random(1, &[2, 2, 2], DType::F32)], "expected 4 axes");
}

#[test]
fn gradients() {
    for shape in [[2, 4, 6, 3], [1, 5, 3, 2], [1, 2, 2, 1]] {
        // Numbers that bf16 holds and that are all different: of equals, the difference quotient would have a half each.
        let numbers: Vec<f32> =
            (0..shape.iter().product()).map(|i: usize| (i * 37 % 256) as f32 - 128.0).collect();
        let narrow = round(&Tensor::from_slice(shape, &numbers).unwrap());
        for (x, bound) in [(random(1, &shape, DType::F32), 1e-6), (narrow, ROUNDING)] {
            check_gradients(MaxPool::HALVE, &[x], &[0], bound, |all| vec![oracle(MaxPool::HALVE.0, &all[0])]);
        }
    }
}
