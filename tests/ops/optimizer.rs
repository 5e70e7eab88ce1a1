use crate::table::{
    Case, check, check_narrow, device, exactly_rounded, on, random, refuses, round, same_bits,
};
use fqgan::Status;
use fqgan::backend::Device;
use fqgan::backend::cpu::Isa;
use fqgan::exec::Eager;
use fqgan::ops::optimizer::{Adam, Average, Length, Moved, average, lengths, step};
use fqgan::tensor::{DType, Tensor};
use proptest::prelude::*;

const OP: Adam = Adam { rate: 0.01, betas: [0.9, 0.95], eps: 1e-8, decay: 0.05, step: 3, scale: 0.25 };

fn inputs(n: usize) -> Vec<Tensor> {
    let mut all: Vec<Tensor> = (1..5).map(|seed| random(seed, &[n], DType::F32)).collect();
    // A second moment is no less than zero.
    let v: Vec<f32> = all[3].data::<f32>().unwrap().iter().map(|v| v.abs()).collect();
    all[3] = Tensor::from_slice([n], &v).unwrap();
    all
}

fn adam(op: Adam, n: usize) -> Case {
    Case::new(op, inputs(n), 4e-7, move |all| {
        let [b1, b2] = op.betas;
        let (mut w, mut m, mut v) = (Vec::new(), Vec::new(), Vec::new());
        for i in 0..all[0].data.len() {
            let g = all[1].data[i] * op.scale;
            m.push(b1 * all[2].data[i] + (1.0 - b1) * g);
            v.push(b2 * all[3].data[i] + (1.0 - b2) * g * g);
            let (mean, square) =
                (m[i] / (1.0 - b1.powf(op.step as f64)), v[i] / (1.0 - b2.powf(op.step as f64)));
            w.push(all[0].data[i] * (1.0 - op.rate * op.decay) - op.rate * mean / (square.sqrt() + op.eps));
        }
        vec![w, m, v]
    })
}

/// A weight of the deepest level.
pub fn published() -> Vec<Case> {
    vec![adam(OP, 512 * 512 * 9)]
}

#[test]
fn corners() {
    for n in [0, 1, 15, 17, 4096, 4097, 9001] {
        check(&adam(OP, n));
        check(&adam(Adam { step: 1, decay: 0.0, scale: 1.0, ..OP }, n));
        check_narrow(&exactly_rounded(adam(OP, n), &[1]));
        let pair = vec![random(1, &[n], DType::F32), random(2, &[n], DType::F32)];
        check(&Case::new(Average { decay: 0.75 }, pair, 1e-7, |all| {
            vec![all[0].data.iter().zip(&all[1].data).map(|(a, w)| 0.75 * a + 0.25 * w).collect()]
        }));
        let length = || {
            Case::new(Length, vec![random(1, &[n], DType::F32)], 1e-6, |all| {
                vec![vec![all[0].data.iter().map(|x| x * x).sum::<f64>().sqrt()]]
            })
        };
        check(&length());
        check_narrow(&exactly_rounded(length(), &[0]));
    }
    let huge = Tensor::from_slice([2], &[f32::INFINITY, 1.0]).unwrap();
    check(&Case::new(Length, vec![huge], 0.0, |_| vec![vec![f64::INFINITY]]));
    let all = inputs(3);
    refuses(OP, &[&all[0], &random(1, &[4], DType::F32), &all[2], &all[3]], "gradient is f32 [4]");
    refuses(Average { decay: 0.5 }, &[&all[0], &random(1, &[4], DType::F32)], "weight is f32 [4]");
}

/// Many tensors at once: the first of some, a middle one and the last are empty.
const SIZES: [usize; 9] = [0, 5, 4096, 4097, 0, 20000, 1, 8192, 0];

/// The inputs of tensor i; with `narrow` every other gradient is bf16.
fn inputs_of(i: usize, narrow: bool) -> Vec<Tensor> {
    let mut all = inputs(SIZES[i]);
    if narrow && i % 2 == 1 {
        all[1] = round(&all[1]);
    }
    all
}

/// Steps of Adam and averages of all tensors, and the lengths of weights and gradients after `rounds` rounds; half of the
/// weights are held by somebody else, who must not see them move.
fn many(device: &Device, rounds: u64, narrow: bool) -> (Vec<Tensor>, Vec<f64>) {
    on(device, |e| {
        let up = |t: &Tensor| e.cx().upload(t).unwrap();
        let mut all: Vec<Vec<Tensor>> = (0..SIZES.len())
            .map(|i| {
                let average = random(9, &[SIZES[i]], DType::F32);
                inputs_of(i, narrow).iter().chain([&average]).map(up).collect()
            })
            .collect();
        let held: Vec<Tensor> = all.iter().step_by(2).map(|one| one[0].clone()).collect();
        for round in 1..=rounds {
            let mut moved = Vec::new();
            for (i, one) in all.iter_mut().enumerate() {
                let [weight, gradient, first, second, _] = &mut one[..] else { unreachable!() };
                moved.push(Moved { weight, gradient, first, second, decay: 0.1 * i as f64 });
            }
            step(e, &Adam { step: round, ..OP }, &mut moved).unwrap();
            let mut pairs = Vec::new();
            for one in &mut all {
                let (weight, rest) = one.split_first_mut().unwrap();
                pairs.push((&mut rest[3], &*weight));
            }
            average(e, &Average { decay: 0.9 }, &mut pairs).unwrap();
        }
        for (held, &n) in held.iter().zip(SIZES.iter().step_by(2)) {
            assert!(same_bits(&e.cx().download(held).unwrap(), &inputs(n)[0]), "{n}: what is held has moved");
        }
        let lengths = lengths(e, &all.iter().flat_map(|one| &one[..2]).collect::<Vec<_>>()).unwrap();
        (all.iter().flatten().map(|t| e.cx().download(t).unwrap()).collect(), lengths)
    })
}

/// The same as one tensor after the other, gradients of bf16 widened.
fn one_by_one(e: &Eager<'_>, rounds: u64, narrow: bool) -> (Vec<Tensor>, Vec<f64>) {
    let (mut all, mut lengths) = (Vec::new(), Vec::new());
    for (i, &n) in SIZES.iter().enumerate() {
        let mut average = random(9, &[n], DType::F32);
        let [mut weight, gradient, mut m, mut v] = <[Tensor; 4]>::try_from(inputs_of(i, narrow)).unwrap();
        let gradient = gradient.to_f32().unwrap();
        for round in 1..=rounds {
            let op = Adam { step: round, decay: 0.1 * i as f64, ..OP };
            [weight, m, v] = e.run(&op, &[&weight, &gradient, &m, &v]).unwrap();
            [average] = e.run(&Average { decay: 0.9 }, &[&average, &weight]).unwrap();
        }
        for x in [&weight, &gradient] {
            let [length] = e.run(&Length, &[x]).unwrap();
            lengths.push(f64::from(length.data::<f32>().unwrap()[0]));
        }
        all.extend([weight, gradient, m, v, average]);
    }
    (all, lengths)
}

#[test]
fn all_tensors_at_once() {
    let cpu = device(Isa::best(), 2);
    let (want, want_lengths) = on(&cpu, |e| one_by_one(e, 3, false));
    let (got, got_lengths) = many(&cpu, 3, false);
    assert!(want.iter().zip(&got).all(|(want, got)| same_bits(want, got)));
    assert_eq!(got_lengths, want_lengths);
    #[cfg(feature = "cuda")]
    for narrow in [false, true] {
        use crate::table::{Wide, close};
        let (want, want_lengths) = on(&cpu, |e| one_by_one(e, 3, narrow));
        let (got, got_lengths) = many(crate::cuda::device(), 3, narrow);
        for (i, (got, want)) in got.iter().zip(&want).enumerate() {
            close(&format!("tensor {i}"), &Wide::of(got).data, &Wide::of(want).data, 4e-7);
        }
        close("lengths", &got_lengths, &want_lengths, 2e-7);
    }
    on(&cpu, |e| assert!(lengths(e, &[]).unwrap().is_empty()));
}

#[test]
fn the_processor_takes_no_gradients_of_bf16() {
    on(&device(Isa::best(), 1), |e| {
        let [mut weight, gradient, mut first, mut second] =
            <[Tensor; 4]>::try_from(inputs_of(1, true)).unwrap();
        assert_eq!(lengths(e, &[&gradient]).unwrap_err().status(), Status::Unsupported);
        let one = Moved {
            weight: &mut weight,
            gradient: &gradient,
            first: &mut first,
            second: &mut second,
            decay: 0.1,
        };
        assert_eq!(step(e, &OP, &mut [one]).unwrap_err().status(), Status::Unsupported);
    });
}

/// A step takes as many launches of kernels for many tensors as for few.
#[cfg(feature = "cuda")]
#[test]
fn launches_do_not_grow_with_tensors() {
    use fqgan::backend::cuda::Cuda;
    let cuda = std::sync::Arc::new(Cuda::new(0).unwrap());
    let device = Device::Cuda(std::sync::Arc::clone(&cuda));
    let before = cuda.counts();
    many(&device, 4, true);
    // Adam and the average each round, the lengths in two.
    assert_eq!((cuda.counts() - before).kernels, 4 * 2 + 2);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]
    #[test]
    fn any_shape(n in 1usize..9000, step in 1u64..100000, scale in 0.01f64..1.0) {
        check(&adam(Adam { step, scale, ..OP }, n));
    }
}
