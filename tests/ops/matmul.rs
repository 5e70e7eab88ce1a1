use crate::table::{Case, check, check_narrow, random, refuses, rounded};
use fqgan::ops::matmul::MatMul;
use fqgan::tensor::DType;
use proptest::prelude::*;

fn case(seed: u64, shape: [usize; 3], transpose_a: bool) -> Case {
    of(seed, shape, transpose_a, DType::F32)
}

fn of(seed: u64, shape: [usize; 3], transpose_a: bool, operands: DType) -> Case {
    with(seed, shape, transpose_a, operands, false)
}

fn with(seed: u64, [m, k, n]: [usize; 3], transpose_a: bool, operands: DType, narrow: bool) -> Case {
    let shape = if transpose_a { [k, m] } else { [m, k] };
    let a = random(seed, &shape, DType::F32);
    let b = random(seed + 1, &[k, n], DType::F32);
    // Factors of bf16 have 8 bits.
    let bound = if operands == DType::BF16 { 5e-3 } else { 2e-6 };
    Case::new(MatMul { transpose_a, operands, narrow }, vec![a, b], bound, move |all| {
        let a = |i: usize, l: usize| all[0].data[if transpose_a { l * m + i } else { i * k + l }];
        let element = |i: usize, j: usize| (0..k).map(|l| a(i, l) * all[1].data[l * n + j]).sum();
        vec![(0..m).flat_map(|i| (0..n).map(move |j| (i, j))).map(|(i, j)| element(i, j)).collect()]
    })
}

/// Two pictures in a feed-forward part of FAR-B: the gradient of what came in, and of the weight.
pub fn published() -> Vec<Case> {
    let (of_x, of_weight) = ([512, 2816, 1024], [2816, 512, 1024]);
    [DType::F32, DType::BF16]
        .into_iter()
        .flat_map(|operands| [of(1, of_x, false, operands), of(2, of_weight, true, operands)])
        .collect()
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
        check(&of(3, shape, false, DType::BF16));
        check(&of(4, shape, true, DType::BF16));
    }
    for shape in [[1, 1, 1], [0, 3, 2], [3, 0, 2], [65, 33, 40], [7, 64, 33]] {
        for (operands, turned) in
            [(DType::F32, false), (DType::F32, true), (DType::BF16, false), (DType::BF16, true)]
        {
            for which in [&[0][..], &[1], &[0, 1]] {
                check_narrow(&rounded(with(1, shape, turned, operands, false), which));
                check_narrow(&rounded(with(2, shape, turned, operands, true), which));
            }
            check_narrow(&rounded(with(3, shape, turned, operands, true), &[]));
        }
    }
    let (a, b) = (random(1, &[2, 3], DType::F32), random(2, &[2, 4], DType::F32));
    refuses(
        MatMul { transpose_a: false, operands: DType::F32, narrow: false },
        &[&a, &b],
        "3 products against 2",
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn any_shape(seed in 0u64..100, m in 1usize..90, k in 1usize..220, n in 1usize..70, turned: bool, narrow: bool) {
        check(&case(seed, [m, k, n], turned));
        check(&of(seed, [m, k, n], turned, DType::BF16));
        check_narrow(&rounded(with(seed, [m, k, n], turned, DType::BF16, narrow), &[0]));
    }
}
