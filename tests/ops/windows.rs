//! What the operations that pool have in common.

use crate::table::{Wide, random, refuses};
use fqgan::exec::Op;
use fqgan::ops::window::Window;
use fqgan::tensor::DType;

/// What `pool` makes of the pixels inside the picture under each window, a channel at a time.
pub fn oracle(window: Window, x: &Wide, pool: impl Fn(&[f64]) -> f64) -> Vec<f64> {
    let [n, h, w, c] = x.shape[..] else { panic!() };
    let starts = |size: usize| {
        let (size, padding) = (size as isize, window.padding as isize);
        let fits = move |at: &isize| at + window.side as isize <= size + padding;
        (0..).map(move |i| i * window.stride as isize - padding).take_while(fits)
    };
    let mut out = Vec::new();
    for image in 0..n {
        for (top, left) in starts(h).flat_map(|top| starts(w).map(move |left| (top, left))) {
            for channel in 0..c {
                let mut under = Vec::new();
                for y in (top..top + window.side as isize).filter(|y| (0..h as isize).contains(y)) {
                    for x_ in (left..left + window.side as isize).filter(|x| (0..w as isize).contains(x)) {
                        under.push(x.data[((image * h + y as usize) * w + x_ as usize) * c + channel]);
                    }
                }
                out.push(pool(&under));
            }
        }
    }
    out
}

/// Shapes and windows: overlapping, with gaps, over the edges, larger than the picture, of the whole picture.
pub fn each(mut run: impl FnMut([usize; 4], Window)) {
    for shape in [[1, 5, 7, 3], [2, 8, 8, 17], [1, 1, 1, 2], [1, 2, 9, 1], [0, 4, 4, 2], [1, 4, 4, 0]] {
        for (side, stride, padding) in
            [(3, 2, 0), (3, 1, 1), (1, 1, 0), (2, 3, 0), (5, 1, 4), (4, 2, 3), (8, 1, 0), (1, 2, 0)]
        {
            run(shape, Window { side, stride, padding });
        }
    }
}

/// Windows that cannot be.
pub fn refusals<O: Op<1>>(op: impl Fn(Window) -> O) {
    let x = random(1, &[1, 4, 4, 2], DType::F32);
    for (side, stride, padding) in [(0, 1, 0), (2, 0, 0), (2, 1, 2), (usize::MAX, 1, 0)] {
        refuses(op(Window { side, stride, padding }), &[&x], "less padding than the side");
    }
    let window = Window { side: 3, stride: 1, padding: 1 };
    refuses(op(window), &[&random(1, &[1, 0, 4, 2], DType::F32)], "no pixel to pool");
    refuses(op(window), &[&random(1, &[4, 4, 2], DType::F32)], "expected 4 axes");
    refuses(op(window), &[&random(1, &[1, 4, 4, 2], DType::BF16)], "bf16");
}
