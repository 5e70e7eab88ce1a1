use crate::table::{Case, check, check_narrow, random, rounded};
use crate::windows;
use fqgan::ops::mean_pool::MeanPool;
use fqgan::ops::window::Window;
use fqgan::tensor::DType;

fn case(seed: u64, shape: [usize; 4], window: Window) -> Case {
    Case::new(MeanPool(window), vec![random(seed, &shape, DType::F32)], 1e-6, move |all| {
        vec![windows::oracle(window, &all[0], |pixels| pixels.iter().sum::<f64>() / pixels.len() as f64)]
    })
}

pub fn published() -> Vec<Case> {
    vec![case(1, [1, 35, 35, 288], Window { side: 3, stride: 1, padding: 1 })]
}

#[test]
fn corners() {
    windows::each(|shape, window| check(&case(1, shape, window)));
    windows::each(|shape, window| check_narrow(&rounded(case(1, shape, window), &[0])));
    windows::refusals(MeanPool);
}
