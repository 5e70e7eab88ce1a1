//! What must be the same bits, or exact, of a fully connected layer.

use crate::linear::{ALL, inputs};
use crate::table::{cx, device, on, random, same_bits};
use fqgan::backend::cpu::Isa;
use fqgan::exec::{Exec, Prepare};
use fqgan::ops::linear::{Linear, Pack};
use fqgan::tensor::{DType, Tensor};

/// A row gives the same bits alone and in any company, and in any place of it.
#[test]
fn any_batch() {
    let weights = [DType::F32, DType::BF16, DType::I8];
    let cases = weights.into_iter().flat_map(|w| [(100, 70, w), (1024, 68, w), (2816, 20, w)]);
    for (k, n, weight) in cases {
        let all = inputs(9, &[131], k, n, weight, ALL);
        for isa in Isa::available() {
            let device = device(isa, 2);
            let [whole] = on(&device, |e| e.apply(ALL, &all.iter().collect::<Vec<_>>())).unwrap();
            for (first, rows) in [(0, 1), (5, 1), (5, 2), (6, 3), (7, 4), (3, 5), (9, 6), (1, 16), (64, 67)] {
                let cut = |t: &Tensor, width: usize| {
                    let data = &t.data::<f32>().unwrap()[first * width..(first + rows) * width];
                    Tensor::from_slice([rows, width], data).unwrap()
                };
                let mut inputs: Vec<&Tensor> = all.iter().collect();
                let (x, residual) = (cut(&all[0], k), cut(all.last().unwrap(), n));
                (inputs[0], inputs[all.len() - 1]) = (&x, &residual);
                let [part] = on(&device, |e| e.apply(ALL, &inputs)).unwrap();
                assert!(same_bits(&part, &cut(&whole, n)), "rows {first}..+{rows} on {}", isa.name());
            }
        }
    }
}

/// The same on a GPU, where the rows are few.
#[cfg(feature = "cuda")]
#[test]
fn any_few_rows_on_a_gpu() {
    for (k, n, weight) in
        [(96, 11, DType::F32), (104, 11, DType::BF16), (77, 6, DType::F16), (160, 9, DType::I8)]
    {
        let all = inputs(9, &[16], k, n, weight, ALL);
        on(crate::cuda::device(), |e| {
            let run = |first: usize, rows: usize| {
                let mut inputs = all.clone();
                for (input, width) in [(0, k), (all.len() - 1, n)] {
                    let data = &all[input].data::<f32>().unwrap()[first * width..(first + rows) * width];
                    inputs[input] = Tensor::from_slice([rows, width], data).unwrap();
                }
                let inputs: Vec<Tensor> = inputs.iter().map(|t| crate::cuda::up(e, t)).collect();
                let [out] = e.apply(ALL, &inputs.iter().collect::<Vec<_>>()).unwrap();
                crate::cuda::down(e, &out).data::<f32>().unwrap().to_vec()
            };
            let whole = run(0, 16);
            for (first, rows) in [(0, 1), (5, 2), (6, 3), (3, 8), (1, 9)] {
                assert!(
                    run(first, rows) == whole[first * n..(first + rows) * n],
                    "rows {first}..+{rows} of {weight}"
                );
            }
        });
    }
}

/// A bf16 weight gives the bits of its f32 copy.
#[test]
fn widened_weight() {
    let op = Linear::default();
    let all = inputs(9, &[5], 200, 33, DType::BF16, op);
    let wide = all[1].to_f32().unwrap();
    for isa in Isa::available() {
        let run = |w: &Tensor| on(&device(isa, 1), |e| e.apply(op, &[&all[0], w])).unwrap();
        assert!(same_bits(&run(&all[1])[0], &run(&wide)[0]), "on {}", isa.name());
    }
}

/// With whole numbers for x, of which the largest needs all 16 bits, nothing is rounded and nothing overflows,
/// however long the rows are.
#[test]
fn sums_of_bytes_are_exact() {
    for (k, signs) in [(40, 1), (8192, 1), (9000, 1), (30001, 1), (9000, 3), (5000, 2)] {
        let sign = |i: usize| if i.is_multiple_of(signs) { 1 } else { -1 };
        let x: Vec<f32> = (0..k).map(|i| (sign(i) * 32767) as f32).collect();
        let w: Vec<i8> = (0..2 * k).map(|i| if i < k { 127 } else { (sign(i - k) * 127) as i8 }).collect();
        let sum = |row: usize| -> i64 {
            (0..k).map(|i| i64::from(sign(i) * 32767) * i64::from(w[row * k + i])).sum()
        };
        let inputs = [
            Tensor::from_slice([1, k], &x).unwrap(),
            Tensor::from_slice([2, k], &w).unwrap(),
            Tensor::from_slice([2], &[1.0f32, 0.5]).unwrap(),
        ];
        for isa in Isa::available() {
            let [y] = on(&device(isa, 1), |e| e.apply(Linear::default(), &inputs.each_ref())).unwrap();
            for (row, &y) in y.data::<f32>().unwrap().iter().enumerate() {
                let want = sum(row) as f64 * [1.0, 0.5][row];
                let error = (f64::from(y) - want).abs();
                assert!(error <= want.abs() * 1e-6, "{k} elements on {}: {y}, not {want}", isa.name());
            }
        }
    }
}

#[test]
fn panels_give_a_row_the_same_bits_in_any_batch() {
    let (x, w) = (random(1, &[300, 70], DType::F32), random(2, &[45, 70], DType::F32));
    for (isa, operands) in Isa::available().flat_map(|i| [(i, DType::F32), (i, DType::BF16)]) {
        on(&device(isa, 2), |e| {
            let w = Pack { operands }.prepare(cx(e), &w).unwrap();
            let run = |x: &Tensor| e.apply(Linear::default(), &[x, &w]).unwrap();
            let [all] = run(&x);
            for row in [0, 7, 255, 256, 299] {
                let one = Tensor::from_slice([1, 70], &x.data::<f32>().unwrap()[row * 70..][..70]).unwrap();
                let [one] = run(&one);
                assert_eq!(one.data::<f32>().unwrap(), &all.data::<f32>().unwrap()[row * 45..][..45]);
            }
        });
    }
}

/// More rows than pass a panel at once.
#[test]
fn panels_made_as_they_are_used_are_the_same_panels() {
    let (x, half) = (random(1, &[2100, 70], DType::F32), random(2, &[45, 70], DType::F16));
    let w = half.to_f32().unwrap();
    for (isa, operands) in Isa::available().flat_map(|i| [(i, DType::F32), (i, DType::BF16)]) {
        on(&device(isa, 2), |e| {
            let pack = Pack { operands };
            let packed = pack.prepare(cx(e), &half).unwrap();
            let [a] = e.apply(Linear::default(), &[&x, &packed]).unwrap();
            let [b] = e.apply(Linear { panels: Some(pack), ..Linear::default() }, &[&x, &w]).unwrap();
            assert!(same_bits(&a, &b), "on {}", isa.name());
        });
    }
}
