use crate::table::{Case, ROUNDING, check, check_narrow, cx, device, noise, on, random, refuses};
use fqgan::backend::cpu::Isa;
use fqgan::ops::code_embedding::{CodeEmbedding, table};
use fqgan::tensor::{DType, Tensor};
use proptest::prelude::*;

fn codes(seed: u64, shape: [usize; 4], below: usize) -> Tensor {
    let values: Vec<u32> = noise(seed, shape.iter().product())
        .iter()
        .map(|&x| ((f64::from(x) + 1.0) / 2.0 * below as f64) as u32)
        .collect();
    Tensor::from_slice(shape, &values).unwrap()
}

fn embedding(seed: u64, shape: [usize; 4], count: usize, d: usize, mask: u32) -> Case {
    embedding_of(CodeEmbedding { mask, ..Default::default() }, seed, shape, count, d)
}

/// The output of bf16.
fn narrow(seed: u64, shape: [usize; 4], count: usize, d: usize, mask: u32) -> Case {
    embedding_of(CodeEmbedding { mask, narrow: true }, seed, shape, count, d).within(ROUNDING)
}

fn embedding_of(op: CodeEmbedding, seed: u64, [n, k, h, w]: [usize; 4], count: usize, d: usize) -> Case {
    let mask = op.mask;
    let inputs = vec![codes(seed, [n, k, h, w], count), random(seed + 1, &[k, count, d], DType::F32)];
    Case::new(op, inputs, 0.0, move |all| {
        let mut out = Vec::new();
        for (image, position) in (0..n).flat_map(|i| (0..h * w).map(move |p| (i, p))) {
            for book in 0..k {
                let code = all[0].data[(image * k + book) * h * w + position] as usize;
                let used = mask == 0 || mask & (1 << book) != 0;
                let entry = &all[1].data[(book * count + code) * d..][..d];
                out.extend(entry.iter().map(|&x| if used { x } else { 0.0 }));
            }
        }
        vec![out]
    })
}

/// Dual f16 and Triple f8.
pub fn published() -> Vec<Case> {
    vec![embedding(1, [1, 2, 16, 16], 16384, 8, 0), embedding(2, [4, 3, 32, 32], 16384, 8, 0)]
}

#[test]
fn corners() {
    check(&embedding(1, [2, 2, 16, 16], 16384, 8, 0));
    check(&embedding(2, [1, 3, 32, 40], 100, 8, 0b101));
    check(&embedding(3, [1, 1, 1, 1], 1, 1, 1));
    check(&embedding(4, [2, 40, 3, 5], 7, 3, 0));
    check(&embedding(5, [2, 32, 3, 5], 7, 3, 1 << 31));
    check(&embedding(6, [0, 2, 3, 5], 7, 3, 0));
    check(&embedding(7, [1, 2, 0, 5], 7, 3, 0));
    check(&embedding(8, [1, 0, 2, 5], 7, 3, 0));
    check_narrow(&narrow(1, [2, 2, 16, 16], 16384, 8, 0));
    check_narrow(&narrow(5, [2, 32, 3, 5], 7, 3, 1 << 31));
    check_narrow(&narrow(6, [0, 2, 3, 5], 7, 3, 0));
}

#[test]
fn codes_of_unused_codebooks_are_not_read() {
    let inputs = vec![
        Tensor::from_slice([1, 2, 1, 1], &[u32::MAX, 1]).unwrap(),
        Tensor::from_slice([2, 2, 1], &[1.0f32, 2.0, 3.0, 4.0]).unwrap(),
    ];
    check(&Case::new(CodeEmbedding { mask: 2, ..Default::default() }, inputs, 0.0, |_| vec![vec![0.0, 4.0]]));
}

#[test]
fn a_table_has_unit_rows() {
    let raw = Tensor::from_slice([2, 2], &[3.0f32, 4.0, 0.0, 0.0]).unwrap();
    let other = Tensor::from_slice([2, 2], &[0.0f32, -2.0, 5.0, 0.0]).unwrap();
    let made = table(&[&raw, &other]).unwrap();
    assert_eq!(made.shape()[..], [2, 2, 2]);
    assert_eq!(made.data::<f32>().unwrap(), [0.6, 0.8, 0.0, 0.0, 0.0, -1.0, 1.0, 0.0]);
    let bad = Tensor::from_slice([2, 2], &[0.0f32, -2.0, f32::NAN, 0.0]).unwrap();
    assert_eq!(table(&[&raw, &bad]).unwrap_err().message(), "codebook 1, row 1 holds NaN or infinity");
    let short = Tensor::from_slice([1, 2], &[0.0f32, -2.0]).unwrap();
    assert!(table(&[&raw, &short]).unwrap_err().message().contains("codebook 1 has shape [1, 2]"));
    assert!(table(&[]).is_err());
}

#[test]
fn refusals() {
    let entries = random(1, &[2, 5, 8], DType::F32);
    let op = CodeEmbedding { mask: 0, ..Default::default() };
    let mut values = vec![4u32; 2 * 2 * 3 * 4];
    values[24 + 12 + 2 * 4 + 3] = 5;
    let says = "code 5 of image 1, sub-codebook 1, row 2, column 3: expected less than 5";
    refuses(op, &[&Tensor::from_slice([2, 2, 3, 4], &values).unwrap(), &entries], says);
    // The first wrong code is named, whichever thread saw it.
    let wrong = Tensor::from_slice([1, 2, 50, 50], &[u32::MAX; 5000]).unwrap();
    refuses(op, &[&wrong, &entries], "code 4294967295 of image 0, sub-codebook 0, row 0, column 0");
    let none = random(1, &[2, 0, 8], DType::F32);
    refuses(op, &[&Tensor::from_slice([1, 2, 1, 1], &[0u32; 2]).unwrap(), &none], "expected less than 0");
    let fine = codes(1, [1, 2, 2, 2], 5);
    refuses(
        CodeEmbedding { mask: 4, ..Default::default() },
        &[&fine, &entries],
        "mask 0x4 does not fit 2 sub-codebooks",
    );
    let many = [&codes(1, [1, 33, 2, 2], 5), &random(1, &[33, 5, 8], DType::F32)];
    refuses(CodeEmbedding { mask: 1, ..Default::default() }, &many, "does not fit 33 sub-codebooks");
    refuses(op, &[&fine, &random(1, &[3, 5, 8], DType::F32)], "codes of 2 sub-codebooks, the table has 3");
    refuses(op, &[&random(1, &[1, 2, 2, 2], DType::F32), &entries], "expected plain u32");
}

#[test]
fn a_refusal_does_not_spoil_the_next_call() {
    let entries = random(1, &[1, 5, 8], DType::F32);
    on(&device(Isa::best(), 2), |e| {
        use fqgan::exec::Exec;
        let bad = Tensor::from_slice([1, 1, 1, 1], &[9u32]).unwrap();
        assert!(e.apply(CodeEmbedding { mask: 0, ..Default::default() }, &[&bad, &entries]).is_err());
        let held = cx(e).workspace.bytes();
        let good = Tensor::from_slice([1, 1, 1, 1], &[3u32]).unwrap();
        let [out] = e.apply(CodeEmbedding { mask: 0, ..Default::default() }, &[&good, &entries]).unwrap();
        assert_eq!(out.data::<f32>().unwrap(), &entries.data::<f32>().unwrap()[24..32]);
        assert_eq!(cx(e).workspace.bytes(), held);
    });
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn any_shape(seed in 0u64..1000, n in 0usize..3, k in 1usize..5, h in 1usize..30, w in 1usize..30,
                 count in 1usize..50, d in 1usize..10, mask in 0u32..16) {
        check(&embedding(seed, [n, k, h, w], count, d, mask & ((1 << k) - 1)));
    }
}
