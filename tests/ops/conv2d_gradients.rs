//! The convolution's rule.

use crate::conv2d::{SILU, inputs, oracle, plain};
use crate::gradients::check_gradients;
use crate::table::{Wide, check, device, exactly_rounded, on, random, relative_l2, same_bits};
use fqgan::backend::cpu::Isa;
use fqgan::exec::{Eager, Exec, Tape};
use fqgan::ops::conv2d::{Conv2d, Norm};
use fqgan::tensor::{DType, Tensor};
use std::collections::BTreeMap;

#[test]
fn gradients() {
    let same = Conv2d::same(3);
    for (op, image, kernel) in [
        (same, [2, 4, 5, 3], [4, 3, 3]),
        (Conv2d { norm: SILU, residual: true, ..same }, [2, 3, 4, 2], [3, 3, 3]),
        (Conv2d { norm: Some(Norm { silu: false }), ..same }, [1, 3, 3, 2], [2, 3, 3]),
        (Conv2d { stride: 2, padding: [0, 0, 1, 1], ..same }, [1, 6, 4, 2], [3, 3, 3]),
        (Conv2d { stride: 2, padding: [1; 4], ..same }, [1, 7, 6, 2], [2, 4, 4]),
        (Conv2d { stride: 2, padding: [1, 0, 1, 0], ..same }, [2, 7, 8, 5], [2, 4, 4]),
        (Conv2d { stride: 2, padding: [1; 4], ..same }, [1, 5, 5, 16], [17, 3, 3]),
        (Conv2d { upsample: true, ..same }, [1, 2, 3, 2], [3, 3, 3]),
        (Conv2d { stride: 4, ..Conv2d::same(1) }, [1, 8, 8, 3], [5, 4, 4]),
        (Conv2d::same(1), [1, 3, 2, 4], [3, 1, 1]),
        // Channels enough for the filter's gradient by F(3x3, 4x4).
        (same, [2, 3, 5, 17], [16, 3, 3]),
        (Conv2d { norm: SILU, residual: true, ..same }, [1, 5, 2, 16], [18, 3, 3]),
        (Conv2d { upsample: true, ..same }, [1, 2, 3, 16], [16, 3, 3]),
        (Conv2d { padding: [0, 2, 1, 0], ..same }, [1, 4, 4, 16], [16, 3, 3]),
    ] {
        let inputs = inputs(&op, 9, image, kernel);
        let wanted: Vec<usize> = (0..inputs.len()).collect();
        check_gradients(op, &inputs, &wanted, 2e-5, |all| vec![oracle(&op, all)]);
    }
}

/// Operands of bf16, forward and in the rule: what their 8 bits and the transforms lose.
#[test]
fn gradients_of_rounded_operands() {
    let same = Conv2d { operands: DType::BF16, gradient: DType::BF16, ..Conv2d::same(3) };
    for (op, image, kernel) in [
        (same, [2, 3, 5, 17], [16, 3, 3]),
        (same, [1, 9, 5, 18], [34, 3, 3]),
        (Conv2d { norm: SILU, residual: true, ..same }, [1, 5, 2, 16], [18, 3, 3]),
        (Conv2d { upsample: true, ..same }, [1, 2, 3, 16], [16, 3, 3]),
        (Conv2d { stride: 2, padding: [0, 0, 1, 1], ..same }, [1, 6, 4, 16], [16, 3, 3]),
    ] {
        let inputs = inputs(&op, 9, image, kernel);
        let mut case = plain(op, inputs.clone());
        case.bound = 1.2e-2;
        check(&case);
        let wanted: Vec<usize> = (0..inputs.len()).collect();
        check_gradients(op, &inputs, &wanted, 2e-2, |all| vec![oracle(&op, all)]);
    }
}

/// Values of bf16 in and out, and their gradients.
#[test]
fn gradients_of_rounded_values() {
    let same = Conv2d { operands: DType::BF16, gradient: DType::BF16, narrow: true, ..Conv2d::same(3) };
    for (op, image, kernel) in [
        (same, [2, 3, 5, 17], [16, 3, 3]),
        (Conv2d { norm: SILU, residual: true, ..same }, [1, 5, 2, 16], [18, 3, 3]),
        (Conv2d { norm: SILU, residual: true, narrow: false, ..same }, [1, 5, 2, 16], [18, 3, 3]),
        (Conv2d { norm: SILU, operands: DType::F32, ..same }, [1, 5, 2, 16], [3, 3, 3]),
        (Conv2d { upsample: true, ..same }, [1, 2, 3, 16], [16, 3, 3]),
        (Conv2d { stride: 2, padding: [0, 0, 1, 1], ..same }, [1, 6, 4, 16], [16, 3, 3]),
    ] {
        let inputs = inputs(&op, 9, image, kernel);
        let last = inputs.len() - 1;
        let (wanted, which) =
            ((0..=last).collect::<Vec<_>>(), if op.residual { vec![0, last] } else { vec![0] });
        // All of them, and one of the two.
        for which in [&which[..], &which[..1], &which[1..]] {
            let inputs = exactly_rounded(plain(op, inputs.clone()), which).inputs;
            check_gradients(op, &inputs, &wanted, 2.5e-2, |all| vec![oracle(&op, all)]);
        }
    }
}

/// The filter's gradient over more tiles than are transformed at once.
#[test]
fn filter_gradient_of_a_large_picture() {
    filter_gradient(DType::F32, [16, 20], 3e-6);
    filter_gradient(DType::BF16, [16, 20], 1.2e-2);
    filter_gradient(DType::BF16, [33, 70], 1.2e-2);
    // Of few channels.
    filter_gradient(DType::F32, [3, 20], 3e-6);
    filter_gradient(DType::BF16, [20, 3], 3e-6);
}

fn filter_gradient(operands: DType, [c, k]: [usize; 2], bound: f64) {
    let [h, w] = [70, 65];
    let (x, weight) = (random(1, &[1, h, w, c], DType::F32), random(2, &[k, c, 3, 3], DType::F32));
    let (bias, seed) = (random(3, &[k], DType::F32), random(4, &[1, h, w, k], DType::F32));
    let mut want = vec![0.0; k * c * 9];
    let (pixels, grads) = (Wide::of(&x), Wide::of(&seed));
    for (y, x) in (0..h).flat_map(|y| (0..w).map(move |x| (y, x))) {
        for (a, b) in (0..3).flat_map(|a| (0..3).map(move |b| (a, b))) {
            let (Some(py), Some(px)) = ((y + a).checked_sub(1), (x + b).checked_sub(1)) else { continue };
            if py >= h || px >= w {
                continue;
            }
            for (i, j) in (0..k).flat_map(|i| (0..c).map(move |j| (i, j))) {
                want[(i * c + j) * 9 + a * 3 + b] +=
                    grads.data[(y * w + x) * k + i] * pixels.data[(py * w + px) * c + j];
            }
        }
    }
    for isa in Isa::available() {
        let run = |threads| {
            on(&device(isa, threads), |e| {
                let none = BTreeMap::new();
                let add = |e: &Eager<'_>, a: &Tensor, b: &Tensor| {
                    e.apply(fqgan::ops::add::Add, &[a, b]).map(|[y]| y)
                };
                let tape = Tape::new(*e, &none, add);
                let weight = tape.leaf("weight", weight.clone());
                let (x, bias) = (tape.constant(x.clone()), tape.constant(bias.clone()));
                let op = Conv2d { operands, gradient: operands, ..Conv2d::same(3) };
                let [y] = tape.apply(op, &[&x, &weight, &bias]).unwrap();
                let found = tape.into_gradients(&[(&y, seed.clone())]).unwrap();
                Tensor::from_slice([k, c, 3, 3], found["weight"].data::<f32>().unwrap()).unwrap()
            })
        };
        let one = run(1);
        let error = relative_l2(&Wide::of(&one).data, &want);
        assert!(error <= bound, "{operands} {c} {k}, {}: {error:.2e}", isa.name());
        assert!(same_bits(&one, &run(2)) && same_bits(&one, &run(3)));
    }
}
