use crate::table::{Case, Wide, check, check_narrow, device, on, random, refuses, round, rounded, same_bits};
use fqgan::Result;
use fqgan::backend::cpu::Isa;
use fqgan::exec::{Eager, Exec, Op};
use fqgan::ops::kv_attention::{Cache, KvAttention};
use fqgan::ops::rotary::Rotary;
use fqgan::tensor::{DType, Tensor};
use proptest::prelude::*;
use std::cell::OnceCell;

fn oracle(all: &[Wide], heads: usize) -> Vec<f64> {
    let [b, t, packed] = all[0].shape[..] else { panic!() };
    let d = packed / 3;
    let dim = d / heads;
    let at = |row: usize, i: usize, which: usize, head: usize| {
        &all[0].data[(row * t + i) * packed + which * d + head * dim..][..dim]
    };
    let mut out = vec![0.0; b * t * d];
    for row in 0..b {
        for i in 0..t {
            for head in 0..heads {
                let scores: Vec<f64> = (0..=i)
                    .map(|j| {
                        let product = at(row, i, 0, head).iter().zip(at(row, j, 1, head)).map(|(q, k)| q * k);
                        (product.sum::<f64>() / (dim as f64).sqrt()).exp()
                    })
                    .collect();
                let sum: f64 = scores.iter().sum();
                for (j, score) in scores.iter().enumerate() {
                    for (c, v) in at(row, j, 2, head).iter().enumerate() {
                        out[(row * t + i) * d + head * dim + c] += score / sum * v;
                    }
                }
            }
        }
    }
    out
}

fn part(qkv: &Tensor, from: usize, to: usize) -> Tensor {
    let [b, t, packed] = qkv.shape().dims().unwrap();
    let data = Wide::of(qkv).data;
    let rows = (0..b).flat_map(|row| &data[(row * t + from) * packed..(row * t + to) * packed]);
    let rows: Vec<f32> = rows.map(|&x| x as f32).collect();
    let part = Tensor::from_slice([b, to - from, packed], &rows).unwrap();
    if qkv.dtype() == DType::BF16 { round(&part) } else { part }
}

/// The outputs of all positions when they come in runs that end at `ends`.
fn in_runs(e: &Eager<'_>, qkv: &Tensor, heads: usize, dtype: DType, ends: &[usize]) -> Result<Tensor> {
    let cx = e.cx();
    let qkv = &cx.download(qkv)?;
    let [b, t, packed] = qkv.shape().dims().unwrap();
    let d = packed / 3;
    let cache = Cache::new(e.cx().workspace, [2, b, heads, t + 3, d / heads], dtype).unwrap();
    let mut out = vec![0.0f32; b * t * d];
    let mut position = 0;
    for &end in ends {
        let qkv = part(qkv, position, end);
        // Another layer must not disturb this one.
        let other = random(position as u64, &qkv.shape()[..], qkv.dtype());
        let [_] =
            e.run(&KvAttention { layer: 0, position, at: None, cache: &cache }, &[&cx.upload(&other)?])?;
        let [y] =
            e.run(&KvAttention { layer: 1, position, at: None, cache: &cache }, &[&cx.upload(&qkv)?])?;
        assert_eq!(y.dtype(), qkv.dtype());
        let y: Vec<f32> = Wide::of(&cx.download(&y)?).data.iter().map(|&x| x as f32).collect();
        for (row, y) in y.chunks_exact((end - position) * d).enumerate() {
            out[(row * t + position) * d..(row * t + end) * d].copy_from_slice(y);
        }
        position = end;
    }
    assert_eq!(cache.len(), t);
    Tensor::from_slice([b, t, d], &out)
}

fn case(seed: u64, [b, t]: [usize; 2], heads: usize, dim: usize, dtype: DType) -> Case {
    let qkv = random(seed, &[b, t, 3 * heads * dim], DType::F32);
    let bound = if dtype == DType::BF16 { 8e-3 } else { 1e-6 };
    let name = format!("kv_attention {b}x{t}, {heads} heads of {dim}, cache {dtype}");
    Case::made(
        name,
        vec![qkv],
        bound,
        move |e, all| Ok(vec![in_runs(e, &all[0], heads, dtype, &[t])?]),
        move |all| vec![oracle(all, heads)],
    )
}

/// A step in the middle of FAR-B's sequence, for a guided image.
pub fn published() -> Vec<Case> {
    [DType::F32, DType::BF16]
        .map(|dtype| {
            let (heads, dim, position) = (16, 64, 128);
            let past = random(1, &[2, position, 3 * heads * dim], DType::F32);
            let qkv = random(2, &[2, 1, 3 * heads * dim], DType::F32);
            let cost = on(&device(Isa::best(), 1), |e| {
                let cache = Cache::new(e.cx().workspace, [1, 2, heads, position + 1, dim], dtype).unwrap();
                KvAttention { layer: 0, position, at: None, cache: &cache }.cost(&[*qkv.desc()])
            });
            let cache = OnceCell::new();
            let name = format!("kv_attention position {position}, {heads} heads of {dim}, cache {dtype}");
            let run = move |e: &Eager<'_>, all: &[Tensor]| {
                let cache = cache.get_or_init(|| {
                    let cache =
                        Cache::new(e.cx().workspace, [1, 2, heads, position + 1, dim], dtype).unwrap();
                    e.run(&KvAttention { layer: 0, position: 0, at: None, cache: &cache }, &[&past]).unwrap();
                    cache
                });
                e.run(&KvAttention { layer: 0, position, at: None, cache }, &[&all[0]]).map(Vec::from)
            };
            let mut case = Case::made(name, vec![qkv], 0.0, run, |_| vec![]);
            case.cost = cost;
            case
        })
        .into()
}

#[test]
fn corners() {
    for (shape, heads, dim) in
        [([1, 1], 1, 1), ([2, 5], 3, 7), ([1, 130], 2, 64), ([2, 33], 1, 80), ([1, 40], 1, 128)]
    {
        for dtype in [DType::F32, DType::BF16] {
            check(&case(1, shape, heads, dim, dtype));
        }
        check_narrow(&rounded(case(2, shape, heads, dim, DType::BF16), &[0]));
    }
}

#[test]
fn position_by_position_is_all_at_once() {
    let qkv = random(5, &[2, 21, 3 * 2 * 64], DType::F32);
    for dtype in [DType::F32, DType::BF16] {
        for isa in Isa::available() {
            let run = |ends: &[usize]| on(&device(isa, 2), |e| in_runs(e, &qkv, 2, dtype, ends).unwrap());
            let whole = run(&[21]);
            assert!(same_bits(&whole, &run(&(1..=21).collect::<Vec<_>>())), "on {}", isa.name());
            assert!(same_bits(&whole, &run(&[4, 5, 17, 21])), "on {}", isa.name());
        }
    }
}

/// With a table, queries and keys are turned as the rotary operation turns them, to the bit.
#[test]
fn turned_inside() {
    for (heads, dim, t) in [(2, 64, 9), (3, 4, 5), (1, 20, 3)] {
        let (qkv, table) =
            (random(7, &[2, t, 3 * heads * dim], DType::F32), random(8, &[t + 2, dim / 2, 2], DType::F32));
        for isa in Isa::available() {
            on(&device(isa, 2), |e| {
                let cache = || Cache::new(e.cx().workspace, [1, 2, heads, t, dim], DType::F32).unwrap();
                let (inside, outside) = (cache(), cache());
                for (from, to) in [(0, 1), (1, 3), (3, t)] {
                    let qkv = part(&qkv, from, to);
                    let op = |cache| KvAttention { layer: 0, position: from, at: None, cache };
                    let [a] = e.run(&op(&inside), &[&qkv, &table]).unwrap();
                    let [turned] = e.apply(Rotary { heads, first: from }, &[&qkv, &table]).unwrap();
                    let [b] = e.run(&op(&outside), &[&turned]).unwrap();
                    assert!(same_bits(&a, &b), "on {}", isa.name());
                }
            });
        }
    }
}

/// Large scores do not overflow; a NaN reaches every later output.
#[test]
fn extremes() {
    on(&device(Isa::best(), 1), |e| {
        let cache = Cache::new(e.cx().workspace, [1, 1, 1, 4, 1], DType::F32).unwrap();
        let qkv =
            Tensor::from_slice([1, 3, 3], &[1e4, -1e4, 1.0, 1e4, 1e4, 2.0, 1.0, f32::NAN, 3.0]).unwrap();
        let [y] = e.run(&KvAttention { layer: 0, position: 0, at: None, cache: &cache }, &[&qkv]).unwrap();
        let y = y.data::<f32>().unwrap();
        assert!(y[0] == 1.0 && y[1] == 2.0 && y[2].is_nan(), "{y:?}");
    });
}

#[test]
fn a_later_position_can_be_taken_back() {
    let qkv = random(6, &[1, 4, 12], DType::F32);
    on(&device(Isa::best(), 1), |e| {
        let cache = Cache::new(e.cx().workspace, [1, 1, 1, 4, 4], DType::F32).unwrap();
        let run = |position, from, to| {
            let [y] = e
                .run(&KvAttention { layer: 0, position, at: None, cache: &cache }, &[&part(&qkv, from, to)])
                .unwrap();
            y
        };
        let first = run(0, 0, 3);
        let _ = run(1, 3, 4);
        assert_eq!(cache.len(), 2);
        assert!(same_bits(&first, &run(0, 0, 3)));
    });
}

#[test]
fn refusals() {
    let device = device(Isa::best(), 1);
    let workspace = device.workspace(None);
    let cache = Cache::new(&workspace, [1, 2, 2, 3, 4], DType::F32).unwrap();
    let op = |position| KvAttention { layer: 0, position, at: None, cache: &cache };
    let qkv = |b: usize, t: usize, d: usize| random(1, &[b, t, d], DType::F32);
    refuses(op(0), &[&qkv(1, 1, 24)], "the cache expects [2, t, 24]");
    refuses(op(0), &[&qkv(2, 1, 21)], "the cache expects [2, t, 24]");
    refuses(KvAttention { layer: 1, ..op(0) }, &[&qkv(2, 1, 24)], "layer 1 of 1");
    refuses(op(1), &[&qkv(2, 1, 24)], "position 1 after 0 cached ones");
    refuses(op(0), &[&qkv(2, 4, 24)], "positions 0..+4 of a cache of 3");
    refuses(op(0), &[&random(1, &[2, 1, 24], DType::BF16)], "beside a cache of f32");
    let table = |rows: usize, pairs: usize| random(1, &[rows, pairs, 2], DType::F32);
    refuses(op(0), &[&qkv(2, 2, 24), &table(1, 2)], "expected f32 (at least 2, 4 / 2, 2)");
    refuses(op(0), &[&qkv(2, 2, 24), &table(3, 4)], "expected f32 (at least 2, 4 / 2, 2)");
    refuses(op(0), &[&qkv(2, 1, 24), &table(3, 2), &table(3, 2)], "3 inputs");
    let refused = Cache::new(&workspace, [1, 2, 2, 3, 4], DType::I8).unwrap_err();
    assert!(refused.message().contains("expected f32 or bf16"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]
    #[test]
    fn any_shape(seed in 0u64..1000, b in 1usize..3, t in 1usize..40, heads in 1usize..4, dim in 1usize..70) {
        check(&case(seed, [b, t], heads, dim, DType::F32));
        check_narrow(&rounded(case(seed, [b, t], heads, dim, DType::BF16), &[0]));
    }
}

/// A place that the device's memory has is as good as one that is told.
#[cfg(feature = "cuda")]
#[test]
fn a_place_of_the_device() {
    on(crate::cuda::device(), |e| {
        let cache = Cache::new(e.cx().workspace, [1, 2, 2, 9, 8], DType::F32).unwrap();
        let up = |t: &Tensor| crate::cuda::up(e, t);
        let table = up(&random(3, &[9, 4, 2], DType::F32));
        let run = |at: Option<u32>, position, qkv: &Tensor| {
            let at = at.map(|at| up(&Tensor::from_slice([1], &[at]).unwrap()));
            let op = KvAttention { layer: 0, position, at: at.as_ref(), cache: &cache };
            let [y] = e.run(&op, &[qkv, &table]).unwrap();
            crate::cuda::down(e, &y).data::<f32>().unwrap().to_vec()
        };
        let (past, qkv) = (up(&random(1, &[2, 5, 48], DType::F32)), up(&random(2, &[2, 2, 48], DType::F32)));
        run(None, 0, &past);
        assert_eq!(run(Some(4), 1, &qkv), run(None, 5, &qkv));
    });
    let at = Tensor::from_slice([1], &[0u32]).unwrap();
    on(&device(Isa::best(), 1), |e| {
        let cache = Cache::new(e.cx().workspace, [1, 2, 2, 9, 8], DType::F32).unwrap();
        let op = KvAttention { layer: 0, position: 0, at: Some(&at), cache: &cache };
        refuses(op, &[&random(2, &[2, 2, 48], DType::F32)], "at a place that only a device knows");
    });
}
