use crate::table::{Case, check, check_narrow, random, refuses, rounded};
use fqgan::ops::resize_bilinear::{Grid, ResizeBilinear};
use fqgan::tensor::DType;

fn case(seed: u64, shape: [usize; 4], to: [usize; 2], grid: Grid) -> Case {
    Case::new(ResizeBilinear { to, grid }, vec![random(seed, &shape, DType::F32)], 2e-6, move |all| {
        let [n, h, w, c] = shape;
        // Of a pixel, the weight that each of the picture has: a tent, and what falls over an edge goes to the edge.
        let weight = |at: usize, i: usize, from: usize, to: usize| {
            let place = match grid {
                Grid::Centres => (i as f64 + 0.5) * from as f64 / to as f64 - 0.5,
                Grid::Corners => i as f64 * from as f64 / to as f64,
            };
            (1.0 - (place.clamp(0.0, from as f64 - 1.0) - at as f64).abs()).max(0.0)
        };
        let mut out = Vec::new();
        for image in 0..n {
            for (y, x) in (0..to[0]).flat_map(|y| (0..to[1]).map(move |x| (y, x))) {
                for channel in 0..c {
                    let mut sum = 0.0;
                    for (v, u) in (0..h).flat_map(|v| (0..w).map(move |u| (v, u))) {
                        let share = weight(v, y, h, to[0]) * weight(u, x, w, to[1]);
                        if share > 0.0 {
                            sum += share * all[0].data[((image * h + v) * w + u) * c + channel];
                        }
                    }
                    out.push(sum);
                }
            }
        }
        vec![out]
    })
}

pub fn published() -> Vec<Case> {
    [Grid::Centres, Grid::Corners].map(|grid| case(1, [1, 256, 256, 3], [299, 299], grid)).into()
}

#[test]
fn corners() {
    for (shape, to) in [
        ([1, 1, 1, 1], [3, 2]),
        ([2, 8, 8, 3], [7, 5]),
        ([1, 3, 5, 2], [9, 10]),
        ([1, 4, 4, 3], [4, 4]),
        ([1, 4, 4, 3], [0, 2]),
        ([0, 4, 4, 3], [2, 2]),
        ([1, 20, 16, 3], [9, 31]),
    ] {
        check(&case(1, shape, to, Grid::Centres));
        check(&case(2, shape, to, Grid::Corners));
        check_narrow(&rounded(case(1, shape, to, Grid::Centres), &[0]));
        check_narrow(&rounded(case(2, shape, to, Grid::Corners), &[0]));
    }
    let empty = random(1, &[1, 0, 3, 3], DType::F32);
    refuses(ResizeBilinear { to: [2, 2], grid: Grid::Centres }, &[&empty], "cannot be resized to 2 x 2");
    let x = random(1, &[1, 2, 3, 3], DType::F32);
    refuses(ResizeBilinear { to: [usize::MAX, 2], grid: Grid::Corners }, &[&x], "cannot be resized");
    refuses(
        ResizeBilinear { to: [2, 2], grid: Grid::Centres },
        &[&random(1, &[2, 3, 3], DType::F32)],
        "expected 4 axes",
    );
}
