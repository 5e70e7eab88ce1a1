use crate::gradients::check_gradients;
use crate::table::{Case, ROUNDING, Wide, check, check_narrow, exactly_rounded, random, refuses};
use fqgan::ops::class_token::{Prepend, Tokens};
use fqgan::tensor::DType;

fn prepended(all: &[Wide]) -> Vec<f64> {
    let [n, t, c] = all[0].shape[..] else { panic!() };
    (0..n).flat_map(|i| [&all[1].data[..], &all[0].data[i * t * c..(i + 1) * t * c]].concat()).collect()
}

fn taken(all: &[Wide], first: usize, count: usize) -> Vec<f64> {
    let [n, t, c] = all[0].shape[..] else { panic!() };
    (0..n).flat_map(|i| all[0].data[(i * t + first) * c..][..count * c].to_vec()).collect()
}

#[test]
fn corners() {
    for [n, t, c] in [[1, 1, 1], [2, 3, 5], [0, 2, 2], [3, 0, 4], [2, 256, 384]] {
        let tokens = random(1, &[n, t, c], DType::F32);
        let inputs = vec![tokens.clone(), random(2, &[c], DType::F32)];
        let case = || Case::new(Prepend, inputs.clone(), 0.0, |all| vec![prepended(all)]);
        check(&case());
        check_narrow(&exactly_rounded(case(), &[0, 1]));
        for first in [0, t / 2] {
            let count = (t - first).min(2);
            let op = Tokens { first, count };
            let case = || Case::new(op, vec![tokens.clone()], 0.0, move |all| vec![taken(all, first, count)]);
            check(&case());
            check_narrow(&exactly_rounded(case(), &[0]));
        }
    }
    let tokens = random(1, &[2, 3, 4], DType::F32);
    refuses(Prepend, &[&tokens, &random(2, &[3], DType::F32)], "token is f32 [3], expected f32 [4]");
    refuses(Tokens { first: 3, count: 1 }, &[&tokens], "none 3..+1");
    refuses(Tokens { first: usize::MAX, count: 2 }, &[&tokens], "none");
}

#[test]
fn gradients() {
    for (dtype, bound) in [(DType::F32, 1e-6), (DType::BF16, ROUNDING)] {
        let tokens = random(1, &[2, 3, 4], dtype);
        let all = [tokens.clone(), random(2, &[4], dtype)];
        check_gradients(Prepend, &all, &[0, 1], bound, |all| vec![prepended(all)]);
        check_gradients(Tokens { first: 1, count: 2 }, &[tokens], &[0], bound, |all| vec![taken(all, 1, 2)]);
    }
}
