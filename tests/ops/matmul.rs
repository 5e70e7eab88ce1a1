use crate::table::{Case, check, random, refuses};
use fqgan::ops::matmul::MatMul;
use fqgan::tensor::DType;
use proptest::prelude::*;

fn case(seed: u64, [m, k, n]: [usize; 3], transpose_a: bool) -> Case {
    let shape = if transpose_a { [k, m] } else { [m, k] };
    let a = random(seed, &shape, DType::F32);
    let b = random(seed + 1, &[k, n], DType::F32);
    Case::new(MatMul { transpose_a }, vec![a, b], 2e-6, move |all| {
        let a = |i: usize, l: usize| all[0].data[if transpose_a { l * m + i } else { i * k + l }];
        let element = |i: usize, j: usize| (0..k).map(|l| a(i, l) * all[1].data[l * n + j]).sum();
        vec![(0..m).flat_map(|i| (0..n).map(move |j| (i, j))).map(|(i, j)| element(i, j)).collect()]
    })
}

/// Two pictures in a feed-forward part of FAR-B: the gradient of what came in, and of the weight.
pub fn published() -> Vec<Case> {
    vec![case(1, [512, 2816, 1024], false), case(2, [2816, 512, 1024], true)]
}

#[test]
fn corners() {
    for shape in [
        [1, 1, 1],
        [0, 3, 2],
        [3, 0, 2],
        [3, 2, 0],
        [65, 193, 257],
        [7, 400, 33],
        [128, 64, 512],
        [3, 4100, 40],
        [2050, 5, 35],
    ] {
        check(&case(1, shape, false));
        check(&case(2, shape, true));
    }
    let (a, b) = (random(1, &[2, 3], DType::F32), random(2, &[2, 4], DType::F32));
    refuses(MatMul { transpose_a: false }, &[&a, &b], "3 products against 2");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn any_shape(seed in 0u64..100, m in 1usize..90, k in 1usize..220, n in 1usize..70, turned: bool) {
        check(&case(seed, [m, k, n], turned));
    }
}
