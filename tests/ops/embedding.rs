use crate::gradients::check_gradients;
use crate::table::{Case, ROUNDING, check, check_narrow, random, refuses};
use fqgan::ops::embedding::Embedding;
use fqgan::tensor::{DType, Shape, Tensor};
use proptest::prelude::*;

fn indices(shape: &[usize], values: &[u32]) -> Tensor {
    Tensor::from_slice(Shape::try_from_slice(shape).unwrap(), values).unwrap()
}

fn case(seed: u64, rows: usize, tables: &[usize], width: usize, dtype: DType) -> Case {
    of(Embedding::default(), seed, rows, tables, width, dtype)
}

/// To values of bf16.
fn narrow(seed: u64, rows: usize, tables: &[usize], width: usize, dtype: DType) -> Case {
    of(NARROW, seed, rows, tables, width, dtype)
}

const NARROW: Embedding = Embedding { narrow: true };

fn of(op: Embedding, seed: u64, rows: usize, tables: &[usize], width: usize, dtype: DType) -> Case {
    let k = tables.len();
    let index: Vec<u32> =
        (0..rows * k).map(|i| ((seed as usize * 7 + i * 13) % tables[i % k]) as u32).collect();
    let mut inputs = vec![indices(&[rows, k], &index)];
    inputs.extend(tables.iter().enumerate().map(|(i, &n)| random(seed + i as u64, &[n, width], dtype)));
    // Rounded once, unless that changes nothing.
    let bound = if op.narrow && dtype != DType::BF16 { 4e-3 } else { 0.0 };
    Case::new(op, inputs, bound, move |all| {
        let row = |(i, at): (usize, &f64)| all[1 + i % k].data[*at as usize * width..][..width].to_vec();
        vec![all[0].data.iter().enumerate().flat_map(row).collect()]
    })
}

/// The sub-codes of a guided image's step, and of a teacher-forced picture, for FAR-B.
pub fn published() -> Vec<Case> {
    let (tables, dtype) = ([16384, 16384], DType::F32);
    vec![case(1, 2, &tables, 1024, dtype), case(2, 256, &tables, 1024, dtype)]
}

#[test]
fn corners() {
    for dtype in [DType::F32, DType::BF16, DType::F16] {
        for (rows, tables, width) in [
            (1, &[1][..], 1),
            (3, &[4, 9], 33),
            (700, &[5, 6, 7], 50),
            (9, &[4, 4], 64),
            (0, &[5], 8),
            (2, &[5], 0),
        ] {
            check(&case(1, rows, tables, width, dtype));
            check_narrow(&narrow(2, rows, tables, width, dtype));
        }
    }
}

#[test]
fn refusals() {
    let (a, b) = (random(1, &[4, 6], DType::F32), random(2, &[3, 6], DType::F32));
    let at = |values: &[u32]| indices(&[1, values.len()], values);
    refuses(Embedding::default(), &[&at(&[4, 0]), &a, &b], "index 4 of a table of 4 rows");
    refuses(Embedding::default(), &[&at(&[3, 3]), &a, &b], "index 3 of a table of 3 rows");
    refuses(Embedding::default(), &[&at(&[0]), &a, &b], "expected one entry for each of 2 tables");
    refuses(Embedding::default(), &[&at(&[0, 0]), &a, &random(2, &[3, 5], DType::F32)], "one width and type");
    refuses(
        Embedding::default(),
        &[&at(&[0, 0]), &a, &random(2, &[3, 6], DType::BF16)],
        "one width and type",
    );
    refuses(Embedding::default(), &[&a, &a], "index is f32 [4, 6], expected plain u32");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]
    #[test]
    fn any_shape(seed in 0u64..1000, rows in 1usize..40, tables in prop::collection::vec(1usize..50, 1..4),
                 width in 1usize..70) {
        check(&case(seed, rows, &tables, width, DType::F32));
        check_narrow(&narrow(seed, rows, &tables, width, DType::F32));
    }
}

#[test]
fn gradients() {
    let case = case(1, 7, &[3, 5], 4, DType::F32);
    check_gradients(Embedding::default(), &case.inputs, &[1, 2], 1e-6, |all| case.expected(all));
    check_gradients(NARROW, &case.inputs, &[1, 2], ROUNDING, |all| case.expected(all));
    // A table longer than a block of the rule, its last row among those looked up.
    let last = [indices(&[3, 1], &[4999, 0, 4999]), random(2, &[5000, 1], DType::F32)];
    check_gradients(Embedding::default(), &last, &[1], 1e-6, |all| {
        vec![all[0].data.iter().map(|&i| all[1].data[i as usize]).collect()]
    });
}
