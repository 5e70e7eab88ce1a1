use crate::gradients::check_gradients;
use crate::table::{Case, ROUNDING, Wide, check, device, on, random, refuses, relative_l2, same_bits};
use fqgan::backend::cpu::Isa;
use fqgan::exec::{Eager, Exec, Tape};
use fqgan::ops::conv2d::{Conv2d, Norm};
use fqgan::ops::group_norm::{Apply, Coefficients};
use fqgan::tensor::{DType, Tensor};
use proptest::prelude::*;
use std::collections::BTreeMap;

fn oracle(all: &[Wide], groups: usize, eps: f64) -> Vec<f64> {
    let [n, h, w, c] = all[0].shape[..] else { panic!() };
    let (x, weight, bias) = (&all[0].data, &all[1].data, &all[2].data);
    let (positions, width) = (h * w, c / groups);
    let mut out = vec![0.0; n * 2 * c];
    for image in 0..n {
        for group in 0..groups {
            let of_group = || {
                (0..positions).flat_map(move |p| {
                    (0..width).map(move |i| x[(image * positions + p) * c + group * width + i])
                })
            };
            let count = (positions * width) as f64;
            let mean = of_group().sum::<f64>() / count;
            let variance = of_group().map(|v| (v - mean) * (v - mean)).sum::<f64>() / count;
            for channel in group * width..(group + 1) * width {
                let scale = weight[channel] / (variance + eps).sqrt();
                out[image * 2 * c + channel] = scale;
                out[image * 2 * c + c + channel] = bias[channel] - mean * scale;
            }
        }
    }
    out
}

fn coefficients(seed: u64, shape: [usize; 4], groups: usize, dtype: DType, offset: f32) -> Case {
    let c = shape[3];
    let mut x = random(seed, &shape, dtype);
    if dtype == DType::F32 {
        let moved: Vec<f32> = x.data::<f32>().unwrap().iter().map(|v| v + offset).collect();
        x = Tensor::from_slice(shape, &moved).unwrap();
    }
    let inputs = vec![x, random(seed + 1, &[c], DType::F32), random(seed + 2, &[c], DType::F32)];
    // A mean far from zero costs digits of x itself, not of the sums.
    let bound = 2e-6 * f64::from(1.0 + offset.abs());
    Case::new(Coefficients { groups, eps: 1e-6 }, inputs, bound, move |all| vec![oracle(all, groups, 1e-6)])
}

fn apply(seed: u64, shape: [usize; 4], dtype: DType, silu: bool) -> Case {
    let [n, _, _, c] = shape;
    let inputs = vec![random(seed, &shape, dtype), random(seed + 1, &[n, 2, c], DType::F32)];
    let bound = if dtype == DType::BF16 { 4e-3 } else { 1e-6 };
    Case::new(Apply { silu }, inputs, bound, move |all| {
        vec![applied(all, all[0].data.len() / n.max(1), c, silu)]
    })
}

/// The widest and the deepest layer.
pub fn published() -> Vec<Case> {
    let f32 = DType::F32;
    vec![
        coefficients(1, [1, 256, 256, 128], 32, f32, 0.0),
        coefficients(2, [1, 16, 16, 512], 32, f32, 0.0),
        apply(3, [1, 256, 256, 128], f32, true),
        apply(4, [1, 16, 16, 512], f32, true),
    ]
}

fn applied(all: &[Wide], per_image: usize, c: usize, silu: bool) -> Vec<f64> {
    let value = |(i, x): (usize, &f64)| {
        let at = i / per_image * 2 * c + i % c;
        let v = x * all[1].data[at] + all[1].data[at + c];
        if silu { v / (1.0 + (-v).exp()) } else { v }
    };
    let added = |i: usize| all.get(2).map_or(0.0, |added| added.data[i]);
    all[0].data.iter().enumerate().map(|(i, x)| value((i, x)) + added(i)).collect()
}

/// With something added to the result.
fn apply_and_add(seed: u64, shape: [usize; 4], dtype: DType, silu: bool) -> Case {
    let mut case = apply(seed, shape, dtype, silu);
    case.inputs.push(random(seed + 2, &shape, dtype));
    case
}

#[test]
fn corners() {
    for dtype in [DType::F32, DType::BF16] {
        for (shape, groups) in
            [([1, 1, 1, 32], 32), ([1, 1, 1, 1], 1), ([2, 3, 5, 96], 32), ([1, 17, 31, 128], 32)]
        {
            check(&coefficients(1, shape, groups, dtype, 0.0));
            check(&apply(2, shape, dtype, true));
            check(&apply(3, shape, dtype, false));
            check(&apply_and_add(3, shape, dtype, true));
        }
        check(&coefficients(4, [0, 2, 2, 32], 32, dtype, 0.0));
        check(&apply(5, [1, 0, 2, 32], dtype, true));
    }
    check(&coefficients(6, [1, 9, 9, 64], 32, DType::F32, 100.0));
    // Written past the caches.
    check(&apply(7, [1, 160, 160, 130], DType::F32, true));
}

/// A large picture's gradient, which is written past the caches, is that of its halves, which are not.
#[test]
fn gradient_of_a_large_picture() {
    for c in [128, 130] {
        let shape = [1, 160, 160, c];
        let (x, seed) = (random(1, &shape, DType::F32), random(2, &shape, DType::F32));
        let coefficients = random(3, &[1, 2, c], DType::F32);
        let (all, of_seed) = (x.data::<f32>().unwrap(), seed.data::<f32>().unwrap());
        let half = |of: &[f32], which: usize| {
            let count = of.len() / 2;
            Tensor::from_slice([1, 80, 160, c], &of[which * count..][..count]).unwrap()
        };
        for isa in Isa::available() {
            on(&device(isa, 2), |e| {
                let gradient = |x: &Tensor, seed: &Tensor| {
                    let none = BTreeMap::new();
                    let add = |e: &Eager<'_>, a: &Tensor, b: &Tensor| {
                        e.apply(fqgan::ops::add::Add, &[a, b]).map(|[y]| y)
                    };
                    let tape = Tape::new(*e, &none, add);
                    let (x, coefficients) = (tape.leaf("x", x.clone()), tape.constant(coefficients.clone()));
                    let [y] = tape.apply(Apply { silu: true }, &[&x, &coefficients]).unwrap();
                    let found = tape.into_gradients(&[(&y, seed.clone())]).unwrap();
                    found["x"].data::<f32>().unwrap().to_vec()
                };
                let halves = [0, 1].map(|which| gradient(&half(all, which), &half(of_seed, which))).concat();
                let halves = Tensor::from_slice(shape, &halves).unwrap();
                let whole = Tensor::from_slice(shape, &gradient(&x, &seed)).unwrap();
                assert!(same_bits(&whole, &halves), "{c} channels, {}", isa.name());
            });
        }
    }
}

#[test]
fn not_a_number_stays() {
    let x = Tensor::from_slice([1, 1, 2, 2], &[1.0, f32::NAN, f32::INFINITY, -1.0]).unwrap();
    let coefficients = Tensor::from_slice([1, 2, 2], &[1.0f32, 1.0, 0.0, 0.0]).unwrap();
    check(&Case::new(Apply { silu: false }, vec![x, coefficients], 0.0, |all| vec![all[0].data.clone()]));
}

#[test]
fn refusals() {
    let x = random(1, &[1, 2, 2, 6], DType::F32);
    let w = random(2, &[6], DType::F32);
    refuses(Coefficients { groups: 4, eps: 1e-6 }, &[&x, &w, &w], "6 channels do not divide into 4 groups");
    refuses(
        Coefficients { groups: 3, eps: 1e-6 },
        &[&x, &w, &random(3, &[5], DType::F32)],
        "bias is f32 [5]",
    );
    let bytes = Tensor::from_slice([1, 1, 1, 6], &[0u8; 6]).unwrap();
    refuses(Coefficients { groups: 3, eps: 1e-6 }, &[&bytes, &w, &w], "expected plain f32 or bf16");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn any_shape(seed in 0u64..1000, n in 1usize..3, h in 1usize..20, w in 1usize..20, width in 1usize..7,
                 groups in 1usize..9, silu: bool, half: bool) {
        let dtype = if half { DType::BF16 } else { DType::F32 };
        check(&coefficients(seed, [n, h, w, width * groups], groups, dtype, 0.0));
        check(&apply(seed, [n, h, w, width * groups], dtype, silu));
    }
}

#[test]
fn gradients() {
    for (shape, groups) in [([2, 2, 3, 8], 4), ([1, 3, 1, 6], 1), ([1, 1, 2, 5], 5)] {
        let c = shape[3];
        let x = random(1, &shape, DType::F32);
        let (weight, bias) = (random(2, &[c], DType::F32), random(3, &[c], DType::F32));
        let op = Coefficients { groups, eps: 1e-2 };
        check_gradients(op, &[x.clone(), weight, bias], &[0, 1, 2], 2e-5, |all| {
            vec![oracle(all, groups, 1e-2)]
        });
        let [n, per_image] = [shape[0], shape[1] * shape[2] * c];
        for silu in [false, true] {
            let coefficients = random(4, &[n, 2, c], DType::F32);
            check_gradients(Apply { silu }, &[x.clone(), coefficients.clone()], &[0, 1], 2e-5, |all| {
                vec![applied(all, per_image, c, silu)]
            });
            let added = random(5, &shape, DType::F32);
            check_gradients(Apply { silu }, &[x.clone(), coefficients, added], &[0, 1, 2], 2e-5, |all| {
                vec![applied(all, per_image, c, silu)]
            });
        }
    }
}

/// Of bf16, as x is; and with sums of x that a convolution gathered.
#[test]
fn narrow_gradients() {
    let shape = [2, 2, 3, 8];
    let x = random(1, &shape, DType::BF16);
    let (weight, bias) = (random(2, &[8], DType::F32), random(3, &[8], DType::F32));
    let op = Coefficients { groups: 4, eps: 1e-2 };
    check_gradients(op, &[x.clone(), weight, bias], &[0, 1, 2], ROUNDING, |all| vec![oracle(all, 4, 1e-2)]);
    for silu in [false, true] {
        let coefficients = random(4, &[2, 2, 8], DType::F32);
        check_gradients(Apply { silu }, &[x.clone(), coefficients], &[0, 1], ROUNDING, |all| {
            vec![applied(all, 48, 8, silu)]
        });
    }
}

/// The rules of a value that is used again and again add to what the other uses gave: the gradient is that of each use
/// alone, added up.
#[test]
fn gradients_of_many_uses() {
    let (shape, f32) = ([1, 4, 4, 16], DType::F32);
    let (x, seed) = (random(1, &shape, f32), random(2, &shape, f32));
    let (weight, bias) = (random(3, &[16], f32), random(4, &[16], f32));
    let kernel = random(5, &[16, 16, 3, 3], f32);
    let add = |e: &Eager<'_>, a: &Tensor, b: &Tensor| e.apply(fqgan::ops::add::Add, &[a, b]).map(|[y]| y);
    // Coefficients, the convolution's input, its residual, and a value normalised without it, as a bit each.
    let gradient = |e: &Eager<'_>, uses: u32| {
        let none = BTreeMap::new();
        let tape = Tape::new(*e, &none, add);
        let leaf = tape.leaf("x", x.clone());
        let constant = |t: &Tensor| tape.constant(t.clone());
        let used = |bit: u32| if uses >> bit & 1 == 1 { leaf.clone() } else { constant(&x) };
        let op = Coefficients { groups: 4, eps: 1e-3 };
        let [coefficients] = tape.apply(op, &[&used(0), &constant(&weight), &constant(&bias)]).unwrap();
        let op = Conv2d { norm: Some(Norm { silu: true }), residual: true, ..Conv2d::same(3) };
        let inputs = [&used(1), &constant(&kernel), &constant(&bias), &coefficients, &used(2)];
        let [y] = tape.apply(op, &inputs).unwrap();
        let [z] = tape.apply(Apply { silu: false }, &[&used(3), &coefficients]).unwrap();
        let found = tape.into_gradients(&[(&y, seed.clone()), (&z, seed.clone())]).unwrap();
        Wide::of(&found["x"]).data
    };
    on(&device(Isa::best(), 2), |e| {
        let apart = [1, 2, 4, 8].map(|uses| gradient(e, uses));
        let sum: Vec<f64> = (0..x.shape().count()).map(|i| apart.iter().map(|all| all[i]).sum()).collect();
        assert!(relative_l2(&gradient(e, 15), &sum) < 1e-6);
    });
}
