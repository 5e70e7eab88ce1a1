use crate::table::{Case, Weight, Wide, check, check_narrow, cx, device, on, random, refuses, round};
use fqgan::backend::cpu::Isa;
use fqgan::exec::{Exec, Prepare};
use fqgan::ops::nearest_code::{Codebook, NearestCode};
use fqgan::tensor::{DType, Tensor};
use proptest::prelude::*;

fn packed(codebook: &Tensor) -> fqgan::Result<Tensor> {
    on(&device(Isa::best(), 1), |e| Codebook.prepare(cx(e), codebook))
}

fn unit(rows: &[f64], d: usize) -> Vec<f64> {
    let normalise = |row: &[f64]| {
        let norm = row.iter().map(|v| v * v).sum::<f64>().sqrt().max(1e-12);
        row.iter().map(|v| v / norm).collect::<Vec<_>>()
    };
    rows.chunks_exact(d).flat_map(normalise).collect()
}

/// Squared distances (rows, codes) between the normalised vectors.
fn distances(z: &Wide, codebook: &Wide) -> Vec<Vec<f64>> {
    let d = codebook.shape[1];
    let (z, e) = (unit(&z.data, d), unit(&codebook.data, d));
    let distance = |z: &[f64], e: &[f64]| z.iter().zip(e).map(|(a, b)| (a - b) * (a - b)).sum::<f64>();
    z.chunks_exact(d).map(|z| e.chunks_exact(d).map(|e| distance(z, e)).collect()).collect()
}

/// The codes at every level and thread count: those of the oracle, or ones as near up to f32 rounding, and
/// the same ones on any thread count. Latents of bf16 are a GPU's alone.
fn check_near(z: Tensor, codebook: Tensor) {
    let narrow = z.dtype() == DType::BF16;
    let far = distances(&Wide::of(&z), &Wide::of(&codebook));
    let near = |what: &str, codes: &[u32]| {
        for (row, (&code, far)) in codes.iter().zip(&far).enumerate() {
            let least = far.iter().cloned().fold(f64::INFINITY, f64::min);
            let got = far[code as usize];
            assert!(got - least <= 1e-6, "{what}, row {row}: {code} at {got}, least {least}");
        }
    };
    let plain = codebook;
    let codebook = packed(&plain).unwrap();
    for isa in Isa::available().filter(|_| !narrow) {
        let run = |threads| {
            on(&device(isa, threads), |e| {
                let [codes] = e.apply(NearestCode, &[&z, &codebook]).unwrap();
                assert_eq!(codes.shape()[..], z.shape()[..z.shape().len() - 1]);
                codes.data::<u32>().unwrap().to_vec()
            })
        };
        let codes = run(1);
        near(isa.name(), &codes);
        assert_eq!(codes, run(2));
        assert_eq!(codes, run(3));
        if plain.dtype() == DType::F32 {
            let [unpacked] = on(&device(isa, 2), |e| e.apply(NearestCode, &[&z, &plain]).unwrap());
            assert_eq!(unpacked.data::<u32>().unwrap(), codes, "a plain codebook");
        }
    }
    // A GPU has another order of sums, and so may have another code that is as near.
    #[cfg(feature = "cuda")]
    on(crate::cuda::device(), |e| {
        let case = nearest(z, plain);
        let inputs: Vec<Tensor> = case.inputs.iter().map(|t| crate::cuda::up(e, t)).collect();
        let codes = crate::cuda::down(e, &case.run_on(e, &inputs).unwrap()[0]);
        near("cuda", codes.data().unwrap());
    });
}

fn nearest(z: Tensor, codebook: Tensor) -> Case {
    let param = Weight::new("embedding.weight", &codebook);
    let name = format!("nearest_code ({}, {})", z.desc(), codebook.desc());
    Case::new(NearestCode, vec![z, codebook], 0.0, |_| vec![]).with_run(name, move |e, inputs| {
        let codebook = e.prepared(param.beside(inputs), &Codebook)?;
        e.apply(NearestCode, &[&inputs[0], &codebook]).map(Vec::from)
    })
}

/// A branch at f16, at f8, and a codebook of another shape.
pub fn published() -> Vec<Case> {
    let f32 = DType::F32;
    [([1, 16, 16, 8], 16384), ([4, 32, 32, 8], 16384), ([1, 16, 16, 256], 1024)]
        .map(|(shape, n)| nearest(random(1, &shape, f32), random(2, &[n, shape[3]], f32)))
        .into()
}

/// Exactly these codes, at every level, and of the latents rounded to bf16.
fn check_exact(z: Tensor, codebook: &Tensor, codes: &[u32]) {
    let codes: Vec<f64> = codes.iter().map(|&c| f64::from(c)).collect();
    let case = |z: Tensor| {
        let codes = codes.clone();
        let case = Case::new(NearestCode, vec![z, codebook.clone()], 0.0, move |_| vec![codes.clone()]);
        case.with_run("nearest_code", |e, inputs| {
            let codebook = Codebook.prepare(cx(e), &inputs[1])?;
            e.apply(NearestCode, &[&inputs[0], &codebook]).map(Vec::from)
        })
    };
    check(&case(z.clone()));
    check_narrow(&case(round(&z)));
}

#[test]
fn corners() {
    for (rows, n, d) in [
        (&[1, 16, 16][..], 16384, 8),
        (&[33], 1000, 8),
        (&[2, 3], 1, 8),
        (&[5], 15, 1),
        (&[17], 17, 4),
        (&[3], 33, 100),
        (&[], 40, 3),
        (&[0], 40, 3),
    ] {
        let shape: Vec<usize> = rows.iter().copied().chain([d]).collect();
        check_near(random(1, &shape, DType::F32), random(2, &[n, d], DType::F32));
        check_near(random(1, &shape, DType::BF16), random(2, &[n, d], DType::F32));
    }
}

#[test]
fn half_precision_codebooks() {
    check_near(random(1, &[20, 8], DType::F32), random(2, &[100, 8], DType::BF16));
}

#[test]
fn the_first_of_equals() {
    // Codes are chosen so that all products are exact: 3-4-5 and axes.
    let mut rows = vec![[0.0f32, 1.0]; 70];
    rows[21] = [1.0, 0.0];
    rows[22] = [1.0, 0.0];
    rows[37] = [1.0, 0.0];
    rows[40] = [2.0, 0.0];
    rows[3] = [-1.0, 0.0];
    let codebook = Tensor::from_slice([70, 2], rows.as_flattened()).unwrap();
    let z = Tensor::from_slice([4, 2], &[5.0f32, 0.0, 0.0, 0.1, 0.0, -7.0, -1e-3, 0.0]).unwrap();
    check_exact(z, &codebook, &[21, 0, 3, 3]);
}

#[test]
fn zero_vectors() {
    let codebook = Tensor::from_slice([3, 2], &[1.0f32, 0.0, 0.0, 0.0, 0.0, 1.0]).unwrap();
    // A zero latent is nearest to the zero row, and so is one that is far from all others.
    let z = Tensor::from_slice([4, 2], &[0.0f32, 0.0, -1.0, -1.0, 2.0, 1.0, 1e-30, 1e-30]).unwrap();
    check_exact(z, &codebook, &[1, 1, 0, 1]);
    let axes = Tensor::from_slice([2, 2], &[0.0f32, 1.0, 1.0, 0.0]).unwrap();
    check_exact(Tensor::from_slice([1, 2], &[0.0f32, 0.0]).unwrap(), &axes, &[0]);
}

#[test]
fn huge_and_tiny_latents_have_a_direction() {
    let codebook = Tensor::from_slice([2, 2], &[1.0f32, 0.0, 0.0, 1.0]).unwrap();
    let z = Tensor::from_slice([2, 2], &[1e38f32, 2e38, 1e-9, 2e-9]).unwrap();
    check_exact(z, &codebook, &[1, 1]);
}

#[test]
fn refusals() {
    let book = packed(&random(1, &[100, 8], DType::F32)).unwrap();
    let mut values = vec![0.5f32; 100 * 8];
    values[70 * 8 + 3] = f32::NAN;
    values[90 * 8] = f32::INFINITY;
    let z = Tensor::from_slice([100, 8], &values).unwrap();
    refuses(NearestCode, &[&z, &book], "row 70 of 100 latents holds NaN or infinity");
    refuses(NearestCode, &[&random(1, &[4, 7], DType::F32), &book], "z has 7 dimensions, the codebook 8");
    let plain = random(1, &[100, 8], DType::F32);
    let half = random(1, &[100, 8], DType::BF16);
    refuses(NearestCode, &[&plain, &half], "expected packed or plain f32");
    refuses(NearestCode, &[&plain, &z], "codebook row 70 holds NaN or infinity");
    refuses(NearestCode, &[&random(1, &[4, 8], DType::F16), &book], "expected plain f32 or bf16");
    refuses(NearestCode, &[&random(1, &[], DType::F32), &book], "expected (..., d), (N, d)");
    let says = |codebook: &Tensor| packed(codebook).unwrap_err().message().to_string();
    assert!(says(&z).contains("codebook row 70 holds NaN or infinity"));
    assert!(says(&random(1, &[0, 8], DType::F32)).contains("codebook has shape [0, 8]"));
    assert!(says(&random(1, &[8, 0], DType::F32)).contains("codebook has shape [8, 0]"));
    assert!(says(&random(1, &[8], DType::F32)).contains("expected 2 axes"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn any_shape(seed in 0u64..1000, rows in 0usize..50, n in 1usize..300, d in 1usize..20) {
        check_near(random(seed, &[rows, d], DType::F32), random(seed + 1, &[n, d], DType::F32));
    }
}
