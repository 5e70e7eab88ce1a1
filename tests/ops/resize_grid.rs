use crate::table::{Case, check, check_narrow, random, refuses, rounded};
use fqgan::ops::resize_grid::ResizeGrid;
use fqgan::tensor::DType;
use proptest::prelude::*;

/// Keys' kernel, written out.
fn cubic(x: f64) -> f64 {
    let (a, x) = (-0.75, x.abs());
    if x <= 1.0 {
        (a + 2.0) * x.powi(3) - (a + 3.0) * x.powi(2) + 1.0
    } else if x < 2.0 {
        a * (x.powi(3) - 5.0 * x.powi(2) + 8.0 * x - 4.0)
    } else {
        0.0
    }
}

fn case(seed: u64, from: [usize; 2], to: [usize; 2], c: usize) -> Case {
    let table = random(seed, &[from[0] * from[1], c], DType::F32);
    Case::new(ResizeGrid { from, to }, vec![table], 2e-6, move |all| {
        let mut out = Vec::new();
        let centre = |i: usize, axis: usize| (i as f64 + 0.5) * from[axis] as f64 / to[axis] as f64 - 0.5;
        for (y, x) in (0..to[0]).flat_map(|y| (0..to[1]).map(move |x| (y, x))) {
            let (cy, cx) = (centre(y, 0), centre(x, 1));
            for channel in 0..c {
                let mut sum = 0.0;
                for (dy, dx) in (-1..3).flat_map(|dy| (-1..3).map(move |dx| (dy, dx))) {
                    let (py, px) = (cy.floor() as i64 + dy, cx.floor() as i64 + dx);
                    let row = py.clamp(0, from[0] as i64 - 1) as usize;
                    let column = px.clamp(0, from[1] as i64 - 1) as usize;
                    let value = all[0].data[(row * from[1] + column) * c + channel];
                    sum += cubic(cy - py as f64) * cubic(cx - px as f64) * value;
                }
                out.push(sum);
            }
        }
        vec![out]
    })
}

/// The adapters' positions for a picture of 1024 pixels, and DINOv2's for one of 224.
pub fn published() -> Vec<Case> {
    vec![case(1, [16, 16], [64, 64], 512), case(2, [37, 37], [16, 16], 384)]
}

#[test]
fn corners() {
    for (from, to) in
        [([16, 16], [32, 32]), ([16, 16], [16, 16]), ([1, 1], [3, 2]), ([4, 3], [1, 1]), ([37, 37], [16, 16])]
    {
        check(&case(1, from, to, 5));
        check_narrow(&rounded(case(1, from, to, 5), &[0]));
    }
    check(&case(2, [2, 2], [0, 4], 3));
    refuses(
        ResizeGrid { from: [2, 3], to: [2, 2] },
        &[&random(1, &[5, 4], DType::F32)],
        "expected f32 [6, 4]",
    );
    refuses(ResizeGrid { from: [0, 3], to: [2, 2] }, &[&random(1, &[0, 4], DType::F32)], "empty grid");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]
    #[test]
    fn any_grid(seed in 0u64..100, fh in 1usize..9, fw in 1usize..9, th in 1usize..12, tw in 1usize..12, c in 1usize..9) {
        check(&case(seed, [fh, fw], [th, tw], c));
    }
}
