use crate::gradients::check_gradients;
use crate::table::{Case, ROUNDING, check, check_narrow, random, refuses, rounded};
use fqgan::ops::rotary::Rotary;
use fqgan::tensor::{DType, Tensor};
use proptest::prelude::*;

fn case(seed: u64, [b, t]: [usize; 2], heads: usize, pairs: usize, first: usize) -> Case {
    let (head, d) = (2 * pairs, 2 * pairs * heads);
    let inputs = vec![
        random(seed, &[b, t, 3 * d], DType::F32),
        random(seed + 1, &[first + t + 1, pairs, 2], DType::F32),
    ];
    Case::new(Rotary { heads, first }, inputs, 2e-7, move |all| {
        let mut out = all[0].data.clone();
        for (i, v) in out.iter_mut().enumerate() {
            let (row, at) = (i / (3 * d), i % (3 * d));
            if at >= 2 * d {
                continue;
            }
            let turn = ((first + row % t) * pairs + at % head / 2) * 2;
            let (cos, sin) = (all[1].data[turn], all[1].data[turn + 1]);
            let x = &all[0].data;
            *v = if at % 2 == 0 { x[i] * cos - x[i + 1] * sin } else { x[i] * cos + x[i - 1] * sin };
        }
        vec![out]
    })
}

/// A step of FAR-B for a guided image, and a teacher-forced picture.
pub fn published() -> Vec<Case> {
    vec![case(1, [2, 1], 16, 32, 128), case(2, [1, 256], 16, 32, 0)]
}

#[test]
fn corners() {
    for (shape, heads, pairs, first) in
        [([1, 1], 1, 1, 0), ([2, 3], 3, 5, 4), ([2, 70], 4, 32, 0), ([0, 3], 2, 4, 0), ([2, 0], 2, 4, 0)]
    {
        check(&case(1, shape, heads, pairs, first));
        check_narrow(&rounded(case(1, shape, heads, pairs, first), &[0]));
    }
}

/// The class token's row.
#[test]
fn a_row_of_zeros_makes_zero() {
    let qkv = random(1, &[1, 1, 12], DType::F32);
    let table = Tensor::from_slice([1, 2, 2], &[0.0f32; 4]).unwrap();
    check(&Case::new(Rotary { heads: 1, first: 0 }, vec![qkv, table], 0.0, |all| {
        vec![all[0].data.iter().enumerate().map(|(i, &v)| if i < 8 { 0.0 } else { v }).collect()]
    }));
}

#[test]
fn refusals() {
    let (qkv, table) = (random(1, &[1, 2, 24], DType::F32), random(2, &[3, 2, 2], DType::F32));
    refuses(Rotary { heads: 3, first: 0 }, &[&qkv, &table], "expected (b, t, 3 * 3 * head_dim)");
    refuses(Rotary { heads: 2, first: 2 }, &[&qkv, &table], "positions 2..+2 of a table of 3 rows");
    refuses(Rotary { heads: 2, first: usize::MAX }, &[&qkv, &table], "of a table of 3 rows");
    refuses(Rotary { heads: 2, first: 0 }, &[&qkv, &random(2, &[3, 2, 1], DType::F32)], "head_dim / 2, 2)");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]
    #[test]
    fn any_shape(seed in 0u64..1000, b in 1usize..4, t in 1usize..20, heads in 1usize..5, pairs in 1usize..20,
                 first in 0usize..9) {
        check(&case(seed, [b, t], heads, pairs, first));
        check_narrow(&rounded(case(seed, [b, t], heads, pairs, first), &[0]));
    }
}

/// The table is any numbers here, no rotations: the rule is the transposed matrix all the same.
#[test]
fn gradients() {
    for (shape, heads, pairs, first) in [([2, 3], 2, 2, 1), ([1, 1], 1, 1, 0)] {
        let case = case(3, shape, heads, pairs, first);
        check_gradients(Rotary { heads, first }, &case.inputs, &[0], 2e-6, |all| case.expected(all));
        let case = rounded(case, &[0]);
        check_gradients(Rotary { heads, first }, &case.inputs, &[0], ROUNDING, |all| case.expected(all));
    }
}
