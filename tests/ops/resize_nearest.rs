use crate::table::{Case, check, check_narrow, exactly_rounded, random, refuses};
use fqgan::ops::resize_nearest::ResizeNearest;
use fqgan::tensor::DType;

fn case(seed: u64, shape: [usize; 4], to: [usize; 2]) -> Case {
    Case::new(ResizeNearest { to }, vec![random(seed, &shape, DType::F32)], 0.0, move |all| {
        let [n, h, w, c] = shape;
        let place = |i: usize, from: usize, to: usize| (i as f64 * from as f64 / to as f64).floor() as usize;
        let pixels =
            (0..n).flat_map(move |i| (0..to[0]).flat_map(move |y| (0..to[1]).map(move |x| (i, y, x))));
        let of =
            |(i, y, x): (usize, usize, usize)| ((i * h + place(y, h, to[0])) * w + place(x, w, to[1])) * c;
        vec![pixels.flat_map(|p| all[0].data[of(p)..of(p) + c].to_vec()).collect()]
    })
}

pub fn published() -> Vec<Case> {
    vec![case(1, [2, 256, 256, 3], [224, 224])]
}

#[test]
fn corners() {
    for (shape, to) in [
        ([1, 1, 1, 1], [1, 1]),
        ([2, 8, 8, 3], [7, 5]),
        ([1, 3, 5, 2], [9, 10]),
        ([1, 4, 4, 3], [0, 2]),
        ([0, 4, 4, 3], [2, 2]),
        ([1, 256, 256, 3], [224, 224]),
    ] {
        check(&case(1, shape, to));
        check_narrow(&exactly_rounded(case(1, shape, to), &[0]));
    }
    refuses(
        ResizeNearest { to: [2, 2] },
        &[&random(1, &[1, 0, 3, 3], DType::F32)],
        "cannot be resized to 2 x 2",
    );
    refuses(
        ResizeNearest { to: [usize::MAX, 2] },
        &[&random(1, &[1, 2, 3, 3], DType::F32)],
        "cannot be resized",
    );
}
