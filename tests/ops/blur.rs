use crate::gradients::check_gradients;
use crate::table::{Case, ROUNDING, Wide, check, check_narrow, random, refuses, rounded};
use fqgan::ops::blur::Blur;
use fqgan::tensor::{DType, Tensor};

fn oracle(op: Blur, x: &Wide) -> Vec<f64> {
    let [n, h, w, c] = x.shape[..] else { panic!("four axes") };
    let [oh, ow] = [h, w].map(|size| size + op.before + op.after - 3);
    let mut out = vec![0.0; n * oh * ow * c];
    for (at, y) in out.iter_mut().enumerate() {
        let (image, row, column, channel) = (at / c / ow / oh, at / c / ow % oh, at / c % ow, at % c);
        for (a, down) in [1.0, 3.0, 3.0, 1.0].into_iter().enumerate() {
            for (b, across) in [1.0, 3.0, 3.0, 1.0].into_iter().enumerate() {
                let inside = |at: usize, size: usize| at.checked_sub(op.before).filter(|at| *at < size);
                if let (Some(i), Some(j)) = (inside(row + a, h), inside(column + b, w)) {
                    *y += down * across / 64.0 * x.data[((image * h + i) * w + j) * c + channel];
                }
            }
        }
    }
    out
}

fn case(op: Blur, x: Tensor) -> Case {
    Case::new(op, vec![x], 3e-7, move |all| vec![oracle(op, &all[0])])
}

#[test]
fn corners() {
    for (before, after) in [(2, 2), (1, 1), (0, 0), (3, 3), (0, 3), (3, 1)] {
        let op = Blur { before, after };
        for shape in [[2, 8, 8, 16], [1, 5, 4, 3], [1, 4, 7, 33], [0, 4, 4, 2], [1, 4, 4, 0]] {
            check(&case(op, random(1, &shape, DType::F32)));
            check_narrow(&rounded(case(op, random(1, &shape, DType::F32)), &[0]));
        }
    }
    check(&case(Blur { before: 2, after: 2 }, random(1, &[1, 1, 1, 5], DType::F32)));
    let x = random(1, &[1, 2, 2, 3], DType::F32);
    refuses(Blur { before: 0, after: 1 }, &[&x], "smaller than the filter of 4");
    refuses(Blur { before: 4, after: 2 }, &[&x], "at most 3 zeros on a side");
    refuses(
        Blur { before: 2, after: 2 },
        &[&random(1, &[2, 2, 3], DType::F32)],
        "x has shape [2, 2, 3], expected 4 axes",
    );
}

#[test]
fn gradients() {
    for (before, after) in [(2, 2), (1, 1), (0, 0), (3, 1)] {
        let op = Blur { before, after };
        for (dtype, bound) in [(DType::F32, 2e-6), (DType::BF16, ROUNDING)] {
            let x = random(1, &[2, 5, 4, 3], dtype);
            check_gradients(op, &[x], &[0], bound, |all| vec![oracle(op, &all[0])]);
        }
    }
}
