use crate::gradients::check_gradients;
use crate::table::{Case, Wide, check, random, refuses};
use fqgan::ops::max_pool::MaxPool;
use fqgan::tensor::{DType, Tensor};

fn oracle(all: &[Wide]) -> Vec<f64> {
    let [n, h, w, c] = all[0].shape[..] else { panic!() };
    let mut out = Vec::new();
    for i in 0..n {
        for (y, x) in (0..h / 2).flat_map(|y| (0..w / 2).map(move |x| (y, x))) {
            for channel in 0..c {
                let at =
                    |dy: usize, dx: usize| all[0].data[((i * h + 2 * y + dy) * w + 2 * x + dx) * c + channel];
                out.push(at(0, 0).max(at(0, 1)).max(at(1, 0)).max(at(1, 1)));
            }
        }
    }
    out
}

fn case(seed: u64, shape: [usize; 4]) -> Case {
    Case::new(MaxPool, vec![random(seed, &shape, DType::F32)], 0.0, |all| vec![oracle(all)])
}

pub fn published() -> Vec<Case> {
    vec![case(1, [2, 256, 256, 64])]
}

#[test]
fn corners() {
    for shape in [[1, 2, 2, 1], [2, 5, 7, 3], [1, 1, 4, 2], [0, 4, 4, 2], [1, 4, 4, 0], [1, 8, 6, 64]] {
        check(&case(1, shape));
    }
    let x = Tensor::from_slice([1, 2, 2, 1], &[1.0, f32::NAN, f32::INFINITY, 2.0]).unwrap();
    check(&Case::new(MaxPool, vec![x], 0.0, |_| vec![vec![f64::NAN]]));
    refuses(MaxPool, &[&random(1, &[2, 2, 2], DType::F32)], "expected 4 axes");
}

#[test]
fn gradients() {
    for shape in [[2, 4, 6, 3], [1, 5, 3, 2], [1, 2, 2, 1]] {
        check_gradients(MaxPool, &[random(1, &shape, DType::F32)], &[0], 1e-6, |all| vec![oracle(all)]);
    }
}
