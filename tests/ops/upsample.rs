use crate::gradients::check_gradients;
use crate::table::{Case, ROUNDING, Wide, check, check_narrow, random, refuses, rounded};
use fqgan::ops::upsample::{FoldUpsample, Upsample};
use fqgan::tensor::DType;

/// What the four pixels under (y, x) of a picture of `w` columns are.
fn four([y, x]: [usize; 2], w: usize) -> [usize; 4] {
    let at = 2 * y * 2 * w + 2 * x;
    [at, at + 1, at + 2 * w, at + 2 * w + 1]
}

pub fn spread(all: &[Wide]) -> Vec<f64> {
    let [n, h, w, c] = all[0].shape[..] else { panic!() };
    let mut out = vec![0.0; 4 * n * h * w * c];
    for (row, x, channel) in
        (0..n * h).flat_map(|r| (0..w).flat_map(move |x| (0..c).map(move |channel| (r, x, channel))))
    {
        for pixel in four([row, x], w) {
            out[pixel * c + channel] = all[0].data[(row * w + x) * c + channel];
        }
    }
    out
}

fn fold(all: &[Wide]) -> Vec<f64> {
    let [n, h, w, c] = all[0].shape[..] else { panic!() };
    let (h, w) = (h / 2, w / 2);
    (0..n * h * w * c)
        .map(|i| {
            let pixels = four([i / c / w, i / c % w], w);
            pixels.iter().map(|pixel| all[0].data[pixel * c + i % c]).sum()
        })
        .collect()
}

#[test]
fn corners() {
    for [n, h, w, c] in [[1, 1, 1, 1], [2, 3, 5, 7], [1, 4, 4, 32], [0, 2, 2, 3], [1, 0, 2, 3]] {
        check(&Case::new(Upsample, vec![random(1, &[n, h, w, c], DType::F32)], 0.0, |all| vec![spread(all)]));
        let x = random(2, &[n, 2 * h, 2 * w, c], DType::F32);
        let case = || Case::new(FoldUpsample, vec![x.clone()], 1e-6, |all| vec![fold(all)]);
        check(&case());
        check_narrow(&rounded(case(), &[0]));
    }
    refuses(FoldUpsample, &[&random(1, &[1, 3, 2, 1], DType::F32)], "expected even sides");
}

#[test]
fn gradients() {
    for (dtype, bound) in [(DType::F32, 1e-6), (DType::BF16, ROUNDING)] {
        check_gradients(Upsample, &[random(1, &[2, 2, 3, 2], dtype)], &[0], bound, |all| vec![spread(all)]);
        check_gradients(FoldUpsample, &[random(1, &[1, 4, 6, 2], dtype)], &[0], bound, |all| vec![fold(all)]);
    }
}
