use crate::gradients::check_gradients;
use crate::table::{Case, ROUNDING, Wide, check, check_narrow, exactly_rounded, random, refuses};
use fqgan::ops::concat::{Columns, Concat};
use fqgan::tensor::{DType, Tensor};

fn joined(all: &[Wide]) -> Vec<f64> {
    let rows =
        all.iter().map(|x| x.data.len().checked_div(*x.shape.last().unwrap())).find_map(|r| r).unwrap_or(0);
    let row = |r: usize| {
        all.iter().flat_map(move |x| {
            let d = *x.shape.last().unwrap();
            x.data[r * d..(r + 1) * d].iter().copied()
        })
    };
    (0..rows).flat_map(row).collect()
}

fn part(all: &[Wide], first: usize, count: usize) -> Vec<f64> {
    let d = *all[0].shape.last().unwrap();
    all[0].data.chunks_exact(d).flat_map(|row| row[first..first + count].to_vec()).collect()
}

fn inputs(leading: &[usize], widths: &[usize]) -> Vec<Tensor> {
    let shape = |d: usize| leading.iter().copied().chain([d]).collect::<Vec<_>>();
    widths.iter().zip(1..).map(|(&d, seed)| random(seed, &shape(d), DType::F32)).collect()
}

/// Of bf16, which is copied as it is.
fn exact(case: Case) -> Case {
    let all: Vec<usize> = (0..case.inputs.len()).collect();
    exactly_rounded(case, &all)
}

#[test]
fn corners() {
    for (leading, widths) in [
        (&[2, 3][..], &[4, 5][..]),
        (&[], &[1, 2, 3]),
        (&[7], &[8]),
        (&[0], &[2, 2]),
        (&[5], &[0, 3]),
        (&[2, 16, 16], &[8, 8, 8]),
    ] {
        let case = || Case::new(Concat, inputs(leading, widths), 0.0, |all| vec![joined(all)]);
        check(&case());
        check_narrow(&exact(case()));
    }
    let x = random(1, &[3, 7], DType::F32);
    for (first, count) in [(0, 7), (2, 3), (6, 1), (7, 0)] {
        let op = Columns { first, count };
        let case = || Case::new(op, vec![x.clone()], 0.0, move |all| vec![part(all, first, count)]);
        check(&case());
        check_narrow(&exact(case()));
    }
    refuses(Columns { first: 5, count: 3 }, &[&x], "no columns 5..+3");
    refuses(Concat, &[&x, &random(1, &[2, 7], DType::F32)], "expected one shape but for the last extent");
    refuses(Concat, &[&x, &random(1, &[3, 7], DType::BF16)], "expected plain f32");
    refuses(Concat, &[], "no input");
}

#[test]
fn gradients() {
    check_gradients(Concat, &inputs(&[2, 3], &[2, 1, 4]), &[0, 1, 2], 1e-6, |all| vec![joined(all)]);
    check_gradients(Concat, &inputs(&[2], &[3, 2]), &[1], 1e-6, |all| vec![joined(all)]);
    let op = Columns { first: 1, count: 2 };
    for (dtype, bound) in [(DType::F32, 1e-6), (DType::BF16, ROUNDING)] {
        check_gradients(op, &[random(1, &[3, 5], dtype)], &[0], bound, |all| vec![part(all, 1, 2)]);
    }
    let narrow = [random(1, &[3, 8], DType::BF16), random(2, &[3, 16], DType::BF16)];
    check_gradients(Concat, &narrow, &[0, 1], ROUNDING, |all| vec![joined(all)]);
}
