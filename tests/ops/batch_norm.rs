use crate::table::{Case, check, random, refuses};
use fqgan::ops::batch_norm::{Keep, Kept};
use fqgan::tensor::{DType, Tensor};

fn positive(seed: u64, c: usize) -> Tensor {
    let values: Vec<f32> =
        random(seed, &[c], DType::F32).data::<f32>().unwrap().iter().map(|v| v + 1.5).collect();
    Tensor::from_slice([c], &values).unwrap()
}

fn inputs(c: usize) -> Vec<Tensor> {
    let plain = |seed| random(seed, &[c], DType::F32);
    vec![plain(1), plain(2), plain(3), positive(4, c)]
}

#[test]
fn kept_statistics() {
    for c in [0, 1, 7, 512] {
        check(&Case::new(Kept { eps: 1e-5 }, inputs(c), 1e-7, |all| {
            let [weight, bias, mean, variance] = [0, 1, 2, 3].map(|i| &all[i].data);
            let scale: Vec<f64> = weight.iter().zip(variance).map(|(w, v)| w / (v + 1e-5).sqrt()).collect();
            let shift = bias.iter().zip(mean).zip(&scale).map(|((b, m), s)| b - m * s);
            vec![scale.iter().copied().chain(shift).collect()]
        }));
    }
    refuses(Kept { eps: 1e-5 }, &inputs(3)[..3].iter().collect::<Vec<_>>(), "3 inputs, expected 4");
    let other = random(1, &[4], DType::F32);
    let [w, b, m, _] = &inputs(3)[..] else { panic!() };
    refuses(Kept { eps: 1e-5 }, &[w, b, m, &other], "variance is f32 [4]");
}

/// Of a batch whose mean and variance are known: coefficients are 1 / sqrt(v + eps) and -mean / sqrt(v + eps).
#[test]
fn statistics_move_towards_the_batch() {
    for c in [1usize, 5, 100] {
        let (batch_mean, batch_variance) = (random(5, &[c], DType::F32), positive(6, c));
        let root: Vec<f64> =
            batch_variance.data::<f32>().unwrap().iter().map(|&v| (f64::from(v) + 1e-5).sqrt()).collect();
        let scales = root.iter().map(|r| (1.0 / r) as f32);
        let shifts =
            batch_mean.data::<f32>().unwrap().iter().zip(&root).map(|(&m, r)| (-f64::from(m) / r) as f32);
        let unit: Vec<f32> = scales.chain(shifts).collect();
        let [_, _, mean, variance] = <[Tensor; 4]>::try_from(inputs(c)).unwrap();
        let all = vec![Tensor::from_slice([1, 2, c], &unit).unwrap(), mean, variance];
        let op = Keep { momentum: 0.1, eps: 1e-5, positions: 20 };
        check(&Case::new(op, all, 1e-6, move |all| {
            let c = all[1].data.len();
            let new = |i: usize| {
                let (r, shift) = (all[0].data[i], all[0].data[c + i]);
                (-shift / r, (1.0 / (r * r) - 1e-5) * 20.0 / 19.0)
            };
            let move_to =
                |old: &[f64], new: Vec<f64>| old.iter().zip(new).map(|(o, n)| 0.9 * o + 0.1 * n).collect();
            vec![
                move_to(&all[1].data, (0..c).map(|i| new(i).0).collect()),
                move_to(&all[2].data, (0..c).map(|i| new(i).1).collect()),
            ]
        }));
    }
    let (unit, kept) = (random(1, &[1, 2, 3], DType::F32), random(2, &[3], DType::F32));
    let op = Keep { momentum: 0.1, eps: 1e-5, positions: 1 };
    refuses(op, &[&unit, &kept, &kept], "1 positions have no variance");
}
