use crate::table::{Case, check, check_narrow, exactly_rounded, random, refuses};
use fqgan::ops::sum_rows::SumRows;
use fqgan::tensor::{DType, Tensor};
use proptest::prelude::*;

fn case(seed: u64, shape: &[usize], keep: usize) -> Case {
    of(random(seed, shape, DType::F32), keep)
}

fn of(x: Tensor, keep: usize) -> Case {
    let kept: usize = x.shape()[x.shape().len() - keep..].iter().product();
    Case::new(SumRows { keep }, vec![x], 2e-6, move |all| {
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
        // Of one sign: a sum that is near zero has few digits that are right.
        let x = random(seed, &[rows, c], DType::F32);
        let x: Vec<f32> = x.data::<f32>().unwrap().iter().map(|x| x.abs()).collect();
        let case = || of(Tensor::from_slice([rows, c], &x).unwrap(), 1);
        check(&case());
        check_narrow(&exactly_rounded(case(), &[0]));
    }
}
