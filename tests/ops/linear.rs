use crate::gradients::check_gradients;
use crate::table::{Case, Weight, Wide, check, cx, device, on, random, refuses, rounded};
use fqgan::backend::cpu::Isa;
use fqgan::exec::{Exec, Prepare};
use fqgan::ops::conv2d;
use fqgan::ops::linear::{Activation, Linear, Pack, SwiGlu};
use fqgan::tensor::{DType, Tensor};
use proptest::prelude::*;

/// erf by its Maclaurin series, and by the continued fraction of erfc where that converges slowly.
fn erf(x: f64) -> f64 {
    if x.abs() < 3.0 {
        let (mut term, mut sum) = (x, x);
        for n in 1..120 {
            term *= -x * x / f64::from(n);
            sum += term / f64::from(2 * n + 1);
        }
        return sum * 2.0 / std::f64::consts::PI.sqrt();
    }
    let a = x.abs();
    let tail = (1..80).rev().fold(a, |f, n| a + f64::from(n) / 2.0 / f);
    x.signum() * (1.0 - (-a * a).exp() / (tail * std::f64::consts::PI.sqrt()))
}

fn activate(activation: Activation, v: f64) -> f64 {
    match activation {
        Activation::None => v,
        Activation::Relu => v.max(0.0),
        Activation::Silu => v / (1.0 + (-v).exp()),
        Activation::Gelu => v * 0.5 * (1.0 + erf(v / std::f64::consts::SQRT_2)),
        Activation::QuickGelu => v / (1.0 + (-1.702 * v).exp()),
    }
}

fn oracle(op: Linear, all: &[Wide]) -> Vec<f64> {
    let [n, k] = all[1].shape[..] else { panic!() };
    let rows: usize = all[0].shape[..all[0].shape.len() - 1].iter().product();
    let mut out = Vec::with_capacity(rows * n);
    let bytes = all.len() > 2 + usize::from(op.bias) + usize::from(op.residual);
    for row in 0..rows {
        for j in 0..n {
            let scale = if bytes { all[2].data[j] } else { 1.0 };
            let products = (0..k).map(|i| all[0].data[row * k + i] * all[1].data[j * k + i] * scale);
            let bias = if op.bias { all[2 + usize::from(bytes)].data[j] } else { 0.0 };
            let residual = if op.residual { all[all.len() - 1].data[row * n + j] } else { 0.0 };
            out.push(activate(op.activation, products.sum::<f64>() + bias) + residual);
        }
    }
    out
}

pub fn inputs(seed: u64, lead: &[usize], k: usize, n: usize, weight: DType, op: Linear) -> Vec<Tensor> {
    let with = |last: usize| [lead, &[last]].concat();
    let mut all = vec![random(seed, &with(k), DType::F32)];
    all.push(random(seed + 1, &[n, k], weight));
    if weight == DType::I8 {
        let scale: Vec<f32> = random(seed + 4, &[n], DType::F32).data().unwrap().to_vec();
        let scale: Vec<f32> = scale.iter().map(|v| (v + 2.0) / 300.0).collect();
        all.push(Tensor::from_slice([n], &scale).unwrap());
    }
    if op.bias {
        all.push(random(seed + 2, &[n], DType::F32));
    }
    if op.residual {
        all.push(random(seed + 3, &with(n), DType::F32));
    }
    all
}

pub fn case(seed: u64, lead: &[usize], k: usize, n: usize, weight: DType, op: Linear) -> Case {
    // Products of either sign: the error of a sum of k of them grows with sqrt(k), the sum itself too.
    // Beside bytes, x is rounded to 16 bits of its row's largest.
    // In panels, one sum after the other, where plain weights have one a lane. Factors of bf16 have 8 bits.
    let bound = match (weight, op.panels.map(|pack| pack.operands)) {
        (DType::I8, _) => 5e-5,
        (_, None) => 1e-6,
        (_, Some(DType::BF16)) => 5e-3,
        _ => 2e-6,
    };
    Case::new(op, inputs(seed, lead, k, n, weight, op), bound, move |all| vec![oracle(op, all)])
}

/// With the weight in panels.
pub fn packed(mut case: Case, op: Linear, operands: DType) -> Case {
    case.bound = if operands == DType::BF16 { 5e-3 } else { 2e-6 };
    let weight = Weight::new("weight", &case.inputs[1]);
    let name = format!("{} in panels of {operands}", case.name);
    case.with_run(name, move |e, inputs| {
        let mut refs: Vec<&Tensor> = inputs.iter().collect();
        let weight = e.prepared(weight.beside(inputs), &Pack { operands })?;
        refs[1] = &weight;
        e.apply(op, &refs).map(Vec::from)
    })
}

pub const ALL: Linear =
    Linear { activation: Activation::Gelu, bias: true, residual: true, panels: None, narrow: false };

/// The adapters' layers at f16; one step of FAR-B for a guided image, in f32 and bf16, and its prefill.
pub fn published() -> Vec<Case> {
    let plain = Linear { activation: Activation::None, bias: true, ..Linear::default() };
    let bare = Linear { bias: false, ..plain };
    let (f32, bf16) = (DType::F32, DType::BF16);
    let gelu = Linear { activation: Activation::Gelu, ..plain };
    let add = Linear { residual: true, ..plain };
    vec![
        packed(case(1, &[256], 512, 1536, f32, plain), plain, f32),
        packed(case(1, &[256], 512, 1536, f32, plain), plain, bf16),
        packed(case(2, &[256], 512, 2048, f32, gelu), gelu, f32),
        packed(case(3, &[256], 2048, 512, f32, add), add, f32),
        case(4, &[2], 1024, 16384, f32, bare),
        case(5, &[2], 1024, 16384, bf16, bare),
        case(6, &[256], 1024, 3072, bf16, bare),
        case(7, &[512], 1024, 2816, f32, bare),
        packed(case(7, &[512], 1024, 2816, f32, bare), bare, f32),
        case(7, &[512], 1024, 2816, f32, Linear { panels: Some(Pack { operands: DType::F32 }), ..bare }),
        case(7, &[2], 1024, 16384, DType::I8, bare),
        case(8, &[16], 1024, 16384, DType::I8, bare),
    ]
}

#[test]
fn corners() {
    for weight in [DType::F32, DType::BF16, DType::F16, DType::I8] {
        for (lead, k, n) in [
            (&[1][..], 1, 1),
            (&[1], 16, 4),
            (&[2, 3], 33, 67),
            (&[7], 129, 5),
            (&[97], 40, 130),
            (&[13], 1500, 9),
            (&[2], 2816, 70),
            (&[16], 160, 37),
            (&[], 24, 10),
        ] {
            check(&case(1, lead, k, n, weight, Linear::default()));
            check(&case(2, lead, k, n, weight, ALL));
            for operands in [DType::F32, DType::BF16].into_iter().filter(|_| weight != DType::I8) {
                let op = Linear { panels: Some(Pack { operands }), ..ALL };
                check(&case(2, lead, k, n, weight, op));
                check(&packed(case(2, lead, k, n, weight, ALL), ALL, operands));
            }
        }
        // What follows a product of many rows in the same call on a GPU, and, of 130 and 67 outputs, what does not.
        for (bias, residual, activation) in [
            (true, false, Activation::None),
            (false, true, Activation::None),
            (true, true, Activation::None),
            (true, false, Activation::Relu),
            (false, false, Activation::Relu),
            (true, true, Activation::Relu),
        ] {
            let op = Linear { activation, bias, residual, panels: None, narrow: false };
            for n in [132, 130, 67] {
                check(&case(9, &[37], 40, n, weight, op));
            }
            if weight != DType::I8 {
                check(&packed(case(9, &[37], 40, 132, weight, op), op, DType::BF16));
            }
        }
        check(&case(3, &[0], 8, 8, weight, ALL));
        check(&case(4, &[3], 8, 0, weight, ALL));
        check(&case(5, &[3], 0, 8, weight, ALL));
        check(&case(6, &[3], 0, 8, weight, Linear { panels: Some(Pack { operands: DType::F32 }), ..ALL }));
        check(&case(7, &[0], 8, 8, weight, Linear { panels: Some(Pack { operands: DType::F32 }), ..ALL }));
        check(&case(8, &[3], 8, 0, weight, Linear { panels: Some(Pack { operands: DType::F32 }), ..ALL }));
    }
}

#[test]
fn activations() {
    let op = |activation| Linear { activation, ..Linear::default() };
    let x: Vec<f32> = (-4000..4000).map(|i| i as f32 / 400.0).collect();
    let x = Tensor::from_slice([x.len(), 1], &x).unwrap();
    let w = Tensor::from_slice([1, 1], &[1.0f32]).unwrap();
    for activation in [Activation::Relu, Activation::Silu, Activation::Gelu, Activation::QuickGelu] {
        let inputs = vec![x.clone(), w.clone()];
        let name = format!("{activation:?}");
        check(&Case::new(op(activation), inputs.clone(), 1.5e-7, move |all| {
            vec![oracle(op(activation), all)]
        }));
        // Each value by itself, so that small ones count.
        for isa in Isa::available() {
            let [y] = on(&device(isa, 1), |e| e.apply(op(activation), &[&inputs[0], &inputs[1]])).unwrap();
            for (&x, &y) in inputs[0].data::<f32>().unwrap().iter().zip(y.data::<f32>().unwrap()) {
                let want = activate(activation, f64::from(x));
                let error = (f64::from(y) - want).abs() / f64::from(x.abs().max(1.0));
                assert!(error < 2e-7, "{name} on {} of {x}: {y}, not {want}", isa.name());
            }
        }
    }
}

#[test]
fn infinite_and_not_a_number() {
    let x = Tensor::from_slice([4, 1], &[f32::NAN, f32::INFINITY, 1e30, -1e30]).unwrap();
    let w = Tensor::from_slice([1, 1], &[1.0f32]).unwrap();
    for activation in [Activation::None, Activation::Relu, Activation::Gelu] {
        let op = Linear { activation, ..Linear::default() };
        for isa in Isa::available() {
            let [y] = on(&device(isa, 1), |e| e.apply(op, &[&x, &w])).unwrap();
            let y = y.data::<f32>().unwrap();
            assert!(y[0].is_nan() && y[1] == f32::INFINITY && y[2] == 1e30, "{activation:?}: {y:?}");
            assert!(if activation == Activation::None { y[3] == -1e30 } else { y[3].abs() < 1e-7 }, "{y:?}");
        }
    }
}

pub fn gated(op: SwiGlu, [rows, k, n]: [usize; 3], dtype: DType) -> Case {
    let weight = |seed| random(seed, &[n, k], dtype);
    let mut inputs = vec![random(1, &[rows, k], DType::F32), weight(2), weight(3)];
    let bytes = dtype == DType::I8;
    if bytes {
        inputs.extend([5, 6].map(|seed| random(seed, &[n], DType::F32)));
    }
    Case::new(op, inputs, if bytes { 1e-4 } else { 1e-6 }, move |all| {
        let product = |which: usize, i: usize| -> f64 {
            let scale = if bytes { all[2 + which].data[i % n] } else { 1.0 };
            let w = &all[which].data;
            scale * (0..k).map(|j| all[0].data[i / n * k + j] * w[i % n * k + j]).sum::<f64>()
        };
        let value = |i| activate(Activation::Silu, product(1, i)) * product(2, i);
        vec![(0..rows * n).map(value).collect()]
    })
}

pub const GATED: [[usize; 3]; 6] =
    [[1, 1, 1], [2, 64, 100], [7, 1300, 65], [16, 160, 37], [0, 4, 4], [50, 33, 130]];

#[test]
fn swiglu() {
    for dtype in [DType::F32, DType::BF16, DType::F16, DType::I8] {
        for extents in GATED {
            check(&gated(SwiGlu::default(), extents, dtype));
        }
    }
    let (x, w) = (random(1, &[2, 6], DType::F32), random(2, &[3, 6], DType::F32));
    refuses(
        SwiGlu::default(),
        &[&x, &w, &random(2, &[4, 6], DType::F32)],
        "up is f32 [4, 6], expected f32 [3, 6]",
    );
    refuses(
        SwiGlu::default(),
        &[&x, &w, &random(2, &[3, 6], DType::BF16)],
        "up is bf16 [3, 6], expected f32 [3, 6]",
    );
}

/// A bias or a residual is added in the pass of the product, where cuBLASLt has something for the shape.
#[cfg(feature = "cuda")]
#[test]
fn what_follows_costs_no_launch() {
    let cuda = std::sync::Arc::new(fqgan::backend::cuda::Cuda::new(0).unwrap());
    let op = Linear { bias: true, residual: true, ..Linear::default() };
    on(&fqgan::backend::Device::Cuda(std::sync::Arc::clone(&cuda)), |e| {
        let kernels = |op: Linear| {
            // All but the bias of the output's type.
            let dtype = if op.narrow { DType::BF16 } else { DType::F32 };
            let mut all = inputs(1, &[40], 24, 64, dtype, op);
            for input in [Some(0), all.len().checked_sub(1).filter(|_| op.residual)].into_iter().flatten() {
                all[input] = random(7, all[input].shape(), dtype);
            }
            let all: Vec<Tensor> = all.iter().map(|t| crate::cuda::up(e, t)).collect();
            let before = cuda.counts();
            e.apply(op, &all.iter().collect::<Vec<_>>()).unwrap();
            (cuda.counts() - before).kernels
        };
        let gelu = Linear { activation: Activation::Gelu, ..op };
        assert_eq!(kernels(op), 0);
        assert_eq!(kernels(gelu), 1);
        // Beside bf16 a bias is rounded, which is a kernel of n elements.
        let panels = Some(Pack { operands: DType::BF16 });
        let narrow = Linear { narrow: true, panels, ..op };
        assert_eq!(kernels(narrow), 1);
        assert_eq!(kernels(Linear { bias: false, ..narrow }), 0);
        assert_eq!(kernels(Linear { activation: Activation::Gelu, ..narrow }), 1);
    });
}

/// A row that is not finite gives no numbers, and does not touch its neighbours; a row of nothing gives zeros.
#[test]
fn bytes_and_what_is_no_number() {
    let x = [f32::NAN, 1.0, 1.0, f32::INFINITY, f32::NEG_INFINITY, 0.0, 0.0, 0.0, 1e-42, -1e-42, 2.0, 4.0];
    let inputs = [
        Tensor::from_slice([6, 2], &x).unwrap(),
        Tensor::from_slice([1, 2], &[1i8, 1]).unwrap(),
        Tensor::from_slice([1], &[1.0f32]).unwrap(),
    ];
    for isa in Isa::available() {
        let [y] = on(&device(isa, 1), |e| e.apply(Linear::default(), &inputs.each_ref())).unwrap();
        let y = y.data::<f32>().unwrap();
        assert!(y[..3].iter().all(|v| v.is_nan()), "{y:?}");
        assert!(y[3] == 0.0 && y[4].abs() < 1e-40 && (y[5] - 6.0).abs() < 1e-3, "{y:?}");
    }
}

#[test]
fn refusals() {
    let (x, w) = (random(1, &[2, 6], DType::F32), random(2, &[3, 6], DType::F32));
    let op = Linear::default();
    refuses(op, &[&x, &random(2, &[3, 5], DType::F32)], "x is f32 [2, 6] and weight f32 [3, 5]");
    refuses(op, &[&x, &random(2, &[6], DType::F32)], "expected (..., k) and (n, k)");
    refuses(op, &[&random(1, &[2, 6], DType::F16), &w], "expected plain f32 or bf16");
    refuses(Linear { bias: true, ..op }, &[&x, &w, &random(3, &[4], DType::F32)], "bias is f32 [4]");
    refuses(Linear { residual: true, ..op }, &[&x, &w, &x], "residual is f32 [2, 6], expected f32 [2, 3]");
    refuses(op, &[&x, &w, &x], "3 inputs, expected 2");
    refuses(
        op,
        &[&x, &Tensor::from_slice([3, 6], &[0u8; 18]).unwrap()],
        "expected plain f32 or bf16 or f16 or i8",
    );
    let bytes = Tensor::from_slice([3, 6], &[0i8; 18]).unwrap();
    refuses(op, &[&x, &bytes], "2 inputs, expected 3");
    refuses(op, &[&x, &bytes, &random(3, &[4], DType::F32)], "scale is f32 [4], expected f32 [3]");
    refuses(SwiGlu::default(), &[&x, &bytes, &bytes, &random(3, &[3], DType::F32)], "4 inputs, expected 5");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn any_shape(seed in 0u64..1000, rows in 1usize..60, k in 1usize..700, n in 1usize..90, bias: bool,
                 residual: bool, half: bool, panels: bool) {
        let weight = if half { DType::BF16 } else { DType::F32 };
        let panels = panels.then_some(Pack { operands: if half { DType::BF16 } else { DType::F32 } });
        let op = Linear { activation: Activation::None, bias, residual, panels, narrow: false };
        check(&case(seed, &[rows], k, n, weight, op));
        if panels.is_some() {
            check(&packed(case(seed, &[rows], k, n, weight, op), op, DType::F32));
        }
    }
}

#[test]
fn what_cannot_be_packed() {
    on(&device(Isa::best(), 1), |e| {
        let pack = |w: &Tensor| Pack { operands: DType::F32 }.prepare(cx(e), w).map(|_| ()).unwrap_err();
        assert!(pack(&random(1, &[4], DType::F32)).message().contains("expected (n, k)"));
        assert!(pack(&random(1, &[4, 3, 3, 3], DType::F32)).message().contains("expected (n, k)"));
        let bytes = Tensor::from_slice([3, 6], &[0i8; 18]).unwrap();
        assert!(pack(&bytes).message().contains("no kernel for i8"));
        let conv =
            conv2d::Conv2d::same(1).pack().prepare(cx(e), &random(1, &[4, 6, 1, 1], DType::F32)).unwrap();
        refuses(Linear::default(), &[&random(1, &[2, 6], DType::F32), &conv], "not packed for a layer");
    });
}

#[test]
fn gradients() {
    for activation in
        [Activation::None, Activation::Relu, Activation::Silu, Activation::Gelu, Activation::QuickGelu]
    {
        for (bias, residual) in [(false, false), (true, true)] {
            let panels = bias.then_some(Pack { operands: DType::F32 });
            let op = Linear { activation, bias, residual, panels, narrow: false };
            let case = case(5, &[2, 3], 7, 18, DType::F32, op);
            let wanted: Vec<usize> = (0..case.inputs.len()).collect();
            check_gradients(op, &case.inputs, &wanted, 1e-5, |all| case.expected(all));
            // Values of bf16, and the factors of the products or not.
            let which: &[usize] = if residual { &[0, 3] } else { &[0] };
            let case = rounded(case, which);
            for operands in [DType::F32, DType::BF16] {
                let panels = bias.then_some(Pack { operands });
                for narrow in [false, true] {
                    let op = Linear { panels, narrow, ..op };
                    check_gradients(op, &case.inputs, &wanted, 1e-2, |all| case.expected(all));
                }
            }
        }
    }
}
