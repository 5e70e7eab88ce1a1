use crate::table::{Case, check, check_narrow, exactly_rounded, random, refuses};
use fqgan::ops::sum_rows::SumRows;
use fqgan::tensor::DType;
use proptest::prelude::*;

fn case(seed: u64, shape: &[usize], keep: usize) -> Case {
    let kept: usize = shape[shape.len() - keep..].iter().product();
    Case::new(SumRows { keep }, vec![random(seed, shape, DType::F32)], 2e-6, move |all| {
        vec![(0..kept).map(|i| all[0].data.iter().skip(i).step_by(kept).sum()).collect()]
    })
}

#[test]
fn corners() {
    for (shape, keep) in
        [(&[3, 4][..], 0), (&[3, 4], 1), (&[3, 4], 2), (&[0, 4], 1), (&[700, 5], 1), (&[2, 300, 3, 7], 2)]
    {
        check(&case(1, shape, keep));
        check_narrow(&exactly_rounded(case(1, shape, keep), &[0]));
    }
    refuses(SumRows { keep: 3 }, &[&random(1, &[2, 2], DType::F32)], "it has not 3 axes");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]
    #[test]
    fn any_shape(seed in 0u64..100, rows in 1usize..900, c in 1usize..40) {
        check(&case(seed, &[rows, c], 1));
        check_narrow(&exactly_rounded(case(seed, &[rows, c], 1), &[0]));
    }
}
