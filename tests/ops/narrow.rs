//! Values of bf16 between operations, as a GPU keeps them, and a processor's tape between convolutions: the cases of an
//! operation again, what it reads rounded before it is given to the oracle too. Operations that are not here have these
//! cases in their own files.

use crate::table::{Case, check_narrow, exactly_rounded, random, rounded};
use crate::{add, attention, conv2d, layer_norm, linear, upsample};
use fqgan::ops::attention::Attention;
use fqgan::ops::conv2d::{Conv2d, Norm};
use fqgan::ops::linear::{Activation, Linear, Pack, SwiGlu};
use fqgan::ops::upsample::Upsample;
use fqgan::tensor::DType;

#[test]
fn of_elements() {
    for (shape, leading) in
        [(&[2, 9, 64][..], 1), (&[3, 33, 37], 0), (&[5, 3, 7, 1], 3), (&[1], 0), (&[0, 5], 1)]
    {
        check_narrow(&rounded(add::add(1, shape, leading), &[0, 1]));
    }
    for shape in [[1, 1, 1, 1], [2, 3, 5, 7], [1, 4, 4, 32], [0, 2, 2, 3]] {
        let case =
            Case::new(Upsample, vec![random(1, &shape, DType::F32)], 0.0, |all| vec![upsample::spread(all)]);
        check_narrow(&exactly_rounded(case, &[0]));
    }
}

#[test]
fn of_rows() {
    for shape in [&[2, 16, 512][..], &[1, 7, 1024], &[3, 17], &[7, 65], &[0, 8]] {
        check_narrow(&rounded(layer_norm::layer_norm(1, shape, 0.0), &[0]));
    }
}

/// Heads that tensor cores multiply, and others.
#[test]
fn attention_of_any_width() {
    for causal in [false, true] {
        for (shape, heads) in [
            ([2, 33, 128], 2),
            ([1, 130, 64], 1),
            ([1, 65, 256], 2),
            ([1, 5, 64], 8),
            ([2, 1, 64], 1),
            ([1, 9, 512], 1),
        ] {
            let op = Attention { heads, causal };
            check_narrow(&rounded(attention::packed(1, shape, op, 1.0), &[0]));
            check_narrow(&rounded(attention::separate(2, shape, op), &[0, 1, 2]));
        }
    }
}

#[test]
fn linear_layers() {
    let pack = |operands| Some(Pack { operands });
    // Without an activation, what follows may be a part of the product.
    let ops = [linear::ALL, Linear { activation: Activation::None, ..linear::ALL }];
    for (rows, k, n) in [(5, 64, 96), (33, 40, 17), (1, 128, 64), (0, 8, 8), (3, 8, 0)] {
        for (operands, all) in [DType::BF16, DType::F32].into_iter().flat_map(|o| ops.map(|all| (o, all))) {
            for narrow in [false, true] {
                let op = Linear { narrow, panels: pack(operands), ..all };
                let case = linear::case(1, &[rows], k, n, DType::F32, op);
                check_narrow(&rounded(case, &[0, 3]));
                let case = linear::case(2, &[rows], k, n, DType::F32, Linear { panels: None, ..op });
                // The residual alone is rounded.
                check_narrow(&rounded(linear::packed(case, op, operands), &[3]));
            }
        }
    }
    // Beside weights of bytes, with their scales; and as a generator has them, for few rows and for many.
    let op = Linear { narrow: true, ..linear::ALL };
    for rows in [1, 3, 11, 16, 17, 40] {
        check_narrow(&rounded(linear::case(4, &[rows], 32, 24, DType::I8, op), &[0, 4]));
        for (k, n) in [(64, 96), (40, 17), (21, 5)] {
            for narrow in [false, true] {
                let op = Linear { narrow, ..op };
                check_narrow(&rounded(linear::case(5, &[rows], k, n, DType::BF16, op), &[0, 3]));
                check_narrow(&rounded(linear::case(6, &[rows], k, n, DType::BF16, op), &[0]));
            }
        }
    }
}

#[test]
fn gated_layers() {
    for extents in linear::GATED {
        for dtype in [DType::F32, DType::BF16, DType::F16, DType::I8] {
            check_narrow(&rounded(linear::gated(SwiGlu { narrow: true }, extents, dtype), &[0]));
            check_narrow(&rounded(linear::gated(SwiGlu { narrow: false }, extents, dtype), &[0]));
        }
        check_narrow(&rounded(linear::gated(SwiGlu { narrow: true }, extents, DType::BF16), &[]));
    }
}

#[test]
fn convolutions() {
    let same = Conv2d { operands: DType::BF16, narrow: true, ..Conv2d::same(3) };
    let block = Conv2d { norm: Some(Norm { silu: true }), residual: true, ..same };
    for (op, image, kernel) in [
        (same, [2, 5, 6, 32], [24, 3, 3]),
        (block, [2, 5, 6, 32], [32, 3, 3]),
        // What cuDNN does not add itself, and where channels are too few for factors of bf16.
        (block, [1, 4, 4, 16], [7, 3, 3]),
        (Conv2d { residual: false, ..block }, [1, 6, 5, 3], [16, 3, 3]),
        (Conv2d { stride: 2, padding: [0, 0, 1, 1], ..same }, [1, 8, 6, 32], [32, 3, 3]),
        (Conv2d { upsample: true, ..same }, [1, 3, 4, 16], [16, 3, 3]),
        (
            Conv2d { residual: true, ..Conv2d { operands: DType::BF16, narrow: true, ..Conv2d::same(1) } },
            [1, 5, 5, 64],
            [32, 1, 1],
        ),
        // From narrow to wide, and the other way round.
        (Conv2d { narrow: false, ..block }, [1, 5, 6, 32], [32, 3, 3]),
        (Conv2d { operands: DType::F32, ..block }, [1, 5, 6, 32], [32, 3, 3]),
        (Conv2d { operands: DType::F32, narrow: false, ..block }, [1, 5, 6, 32], [32, 3, 3]),
    ] {
        let inputs = conv2d::inputs(&op, 1, image, kernel);
        let last = inputs.len() - 1;
        let which = if op.residual { vec![0, last] } else { vec![0] };
        // The processor rounds what is transformed, too.
        let transformed = if op.operands == DType::BF16 { 1.2e-2 } else { 0.0 };
        for case in [conv2d::plain(op, inputs.clone()), conv2d::packed(op, op.pack(), inputs.clone())] {
            let bound = case.bound.max(transformed);
            check_narrow(&rounded(case.within(bound), &which));
        }
        if op.narrow && kernel[0] % 2 == 0 {
            let mut case = rounded(conv2d::normed(op, None, inputs), &which);
            // Of what was rounded as it was written.
            case.bound = 2e-2;
            check_narrow(&case);
        }
    }
    // Values that are f32, of which narrow ones are made.
    let inputs = conv2d::inputs(&block, 3, [1, 5, 6, 32], [32, 3, 3]);
    check_narrow(&rounded(conv2d::plain(block, inputs), &[]));
}
