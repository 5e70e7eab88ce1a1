use crate::table::{Case, Weight, Wide, check, cx, device, on, random, refuses, relative_l2, same_bits};
use fqgan::backend::cpu::Isa;
use fqgan::exec::{Exec, Prepare};
use fqgan::ops::conv2d::{Conv2d, Norm, Pack, Variant, WithSums};
use fqgan::ops::group_norm::Coefficients;
use fqgan::tensor::{DType, Tensor};
use half::f16;
use proptest::prelude::*;

/// The definition, in plain loops.
pub fn oracle(op: &Conv2d, all: &[Wide]) -> Vec<f64> {
    let [n, h, w, c] = all[0].shape[..] else { panic!() };
    let [k, _, r, s] = all[1].shape[..] else { panic!() };
    let up = if op.upsample { 2 } else { 1 };
    let [top, left, bottom, right] = op.padding;
    let (oh, ow) = ((h * up + top + bottom - r) / op.stride + 1, (w * up + left + right - s) / op.stride + 1);
    let value = |image: usize, y: usize, x: usize, ch: usize| {
        if y < top || x < left || y - top >= h * up || x - left >= w * up {
            return 0.0;
        }
        let v = all[0].data[((image * h + (y - top) / up) * w + (x - left) / up) * c + ch];
        let Some(norm) = op.norm else { return v };
        let v = v * all[3].data[image * 2 * c + ch] + all[3].data[(image * 2 + 1) * c + ch];
        if norm.silu { v / (1.0 + (-v).exp()) } else { v }
    };
    let mut out = Vec::with_capacity(n * oh * ow * k);
    for (image, y, x) in (0..n).flat_map(|i| (0..oh).flat_map(move |y| (0..ow).map(move |x| (i, y, x)))) {
        let mut window = Vec::with_capacity(c * r * s);
        for (ch, a, b) in (0..c).flat_map(|ch| (0..r).flat_map(move |a| (0..s).map(move |b| (ch, a, b)))) {
            window.push(value(image, y * op.stride + a, x * op.stride + b, ch));
        }
        for filter in 0..k {
            let weights = &all[1].data[filter * c * r * s..][..c * r * s];
            let sum: f64 = window.iter().zip(weights).map(|(a, b)| a * b).sum();
            let residual = if op.residual { all[all.len() - 1].data[out.len()] } else { 0.0 };
            out.push(sum + all[2].data[filter] + residual);
        }
    }
    out
}

/// Inputs for an image batch (n, h, w, c) and a weight (k, r, s).
pub fn inputs(op: &Conv2d, seed: u64, [n, h, w, c]: [usize; 4], [k, r, s]: [usize; 3]) -> Vec<Tensor> {
    let f32 = DType::F32;
    let mut all = vec![
        random(seed, &[n, h, w, c], f32),
        random(seed + 1, &[k, c, r, s], f32),
        random(seed + 2, &[k], f32),
    ];
    if op.norm.is_some() {
        all.push(random(seed + 3, &[n, 2, c], f32));
    }
    if op.residual {
        let up = if op.upsample { 2 } else { 1 };
        let oh = (h * up + op.padding[0] + op.padding[2] - r) / op.stride + 1;
        let ow = (w * up + op.padding[1] + op.padding[3] - s) / op.stride + 1;
        all.push(random(seed + 4, &[n, oh, ow, k], f32));
    }
    all
}

/// With the weight as the file has it, packed within the call.
pub fn plain(op: Conv2d, inputs: Vec<Tensor>) -> Case {
    Case::new(op, inputs, bound(None, DType::F32), move |all| vec![oracle(&op, all)])
}

/// Transforms lose a bit or two.
fn bound(variant: Option<Variant>, operands: DType) -> f64 {
    match (variant, operands) {
        (Some(Variant::Winograd), DType::BF16) => 1.2e-2,
        (_, DType::BF16) => 5e-3,
        (Some(Variant::Direct | Variant::Scatter | Variant::WinogradDown), _) => 1e-6,
        (Some(Variant::Winograd | Variant::WinogradLate), _) => 2e-6,
        (Some(Variant::WinogradUp), _) => 4e-6,
        (Some(Variant::Winograd6) | None, _) => 8e-6,
    }
}

/// With the weight packed beforehand.
pub fn packed(op: Conv2d, pack: Pack, inputs: Vec<Tensor>) -> Case {
    let mut case = plain(op, inputs);
    case.bound = bound(pack.variant, pack.operands);
    let name = format!("{} {op:?} {:?} {}", case.name, pack.variant, pack.operands);
    case.with_run(name, move |e, inputs| {
        let mut refs: Vec<&Tensor> = inputs.iter().collect();
        let weight = pack.prepare(cx(e), refs[1])?;
        refs[1] = &weight;
        e.apply(op, &refs).map(Vec::from)
    })
}

/// Every variant that takes such a convolution, and the plain weight.
#[track_caller]
fn check_all(op: Conv2d, seed: u64, image: [usize; 4], kernel: [usize; 3]) {
    let inputs = inputs(&op, seed, image, kernel);
    check(&plain(op, inputs.clone()));
    for (variant, operands) in Variant::ALL.into_iter().flat_map(|v| [(v, DType::F32), (v, DType::BF16)]) {
        let pack = Pack { operands, variant: Some(variant), ..op.pack() };
        let takes = on(&device(Isa::best(), 1), |e| pack.prepare(cx(e), &inputs[1]).is_ok());
        if takes {
            check(&packed(op, pack, inputs.clone()));
        }
    }
}

/// Each kind of layer of the tokenizer, at f16: the widest, the deepest, and those that change size.
pub fn published() -> Vec<Case> {
    let same = Conv2d::same(3);
    let block = Conv2d { norm: SILU, residual: true, ..same };
    let down = Conv2d { stride: 2, padding: [0, 0, 1, 1], ..same };
    let up = Conv2d { upsample: true, ..same };
    [
        (same, [256, 3], [128, 3]),
        (block, [256, 128], [128, 3]),
        (block, [128, 256], [256, 3]),
        (block, [16, 512], [512, 3]),
        (down, [256, 128], [128, 3]),
        (up, [128, 128], [128, 3]),
        (Conv2d::same(1), [16, 512], [1536, 1]),
        (Conv2d { norm: SILU, ..same }, [256, 128], [3, 3]),
    ]
    .map(|(op, [side, c], [k, r])| {
        let inputs = inputs(&op, 1, [1, side, side, c], [k, r, r]);
        let weight = Weight::new("weight", &inputs[1]);
        let case = plain(op, inputs);
        let name = format!("{} {op:?}", case.name);
        case.with_run(name, move |e, inputs| {
            let mut refs: Vec<&Tensor> = inputs.iter().collect();
            let weight = e.prepared(weight.beside(inputs), &op.pack())?;
            refs[1] = &weight;
            e.apply(op, &refs).map(Vec::from)
        })
    })
    .into()
}

pub const SILU: Option<Norm> = Some(Norm { silu: true });

#[test]
fn the_models_shapes() {
    let same = Conv2d::same(3);
    let block = Conv2d { norm: SILU, residual: true, ..same };
    // conv_in, a residual block, conv_out, the attention's 1x1, a shortcut, down, up, an adapter's head.
    check_all(same, 1, [1, 20, 36, 3], [128, 3, 3]);
    check_all(block, 2, [2, 12, 20, 64], [96, 3, 3]);
    check_all(Conv2d { norm: SILU, ..same }, 3, [1, 18, 70, 40], [3, 3, 3]);
    check_all(Conv2d { norm: Some(Norm { silu: false }), ..Conv2d::same(1) }, 4, [1, 6, 6, 96], [288, 1, 1]);
    check_all(Conv2d::same(1), 5, [2, 7, 9, 64], [128, 1, 1]);
    check_all(Conv2d { stride: 2, padding: [0, 0, 1, 1], ..same }, 6, [1, 14, 18, 64], [64, 3, 3]);
    check_all(Conv2d { upsample: true, ..same }, 7, [1, 9, 7, 64], [64, 3, 3]);
    check_all(Conv2d::same(1), 8, [1, 4, 4, 256], [8, 1, 1]);
}

/// The coefficients of a GroupNorm in two groups, of weight 1 and bias 0, by the sums that the convolution gathered.
pub fn normed(op: Conv2d, pack: Option<Pack>, inputs: Vec<Tensor>) -> Case {
    let k = inputs[1].shape()[0];
    let (one, zero) = (
        Tensor::from_slice([k], &vec![1.0f32; k]).unwrap(),
        Tensor::from_slice([k], &vec![0.0f32; k]).unwrap(),
    );
    let case = Case::new(op, inputs, 1e-5, move |all| {
        let out = oracle(&op, all);
        let n = all[0].shape[0];
        let (positions, width) = (out.len() / n / k, k / 2);
        let mut found = vec![0.0; n * 2 * k];
        for (image, out) in out.chunks_exact(positions * k).enumerate() {
            for channel in 0..k {
                let group = channel / width * width;
                let values = || (0..positions).flat_map(|p| out[p * k + group..][..width].iter());
                let mean = values().sum::<f64>() / (positions * width) as f64;
                let variance =
                    values().map(|v| (v - mean) * (v - mean)).sum::<f64>() / (positions * width) as f64;
                found[image * 2 * k + channel] = 1.0 / (variance + 1e-6).sqrt();
                found[(image * 2 + 1) * k + channel] = -mean / (variance + 1e-6).sqrt();
            }
        }
        vec![found]
    });
    let name = format!("sums of {} {op:?} {:?}", case.name, pack.map(|p| p.variant));
    case.with_run(name, move |e, inputs| {
        let mut refs: Vec<&Tensor> = inputs.iter().collect();
        let weight = pack.map(|p| p.prepare(cx(e), refs[1])).transpose()?;
        refs[1] = weight.as_ref().unwrap_or(refs[1]);
        let [out, sums] = e.apply(WithSums(op), &refs)?;
        let [alone] = e.apply(op, &refs)?;
        assert!(same_bits(&out, &alone), "{op:?}: the sums changed the output");
        let (one, zero) = (e.cx().upload(&one)?, e.cx().upload(&zero)?);
        e.apply(Coefficients { groups: 2, eps: 1e-6 }, &[&out, &one, &zero, &sums]).map(Vec::from)
    })
}

#[test]
fn sums_for_a_group_norm() {
    let same = Conv2d::same(3);
    for (op, image, kernel) in [
        (same, [1, 33, 47, 32], [64, 3, 3]),
        (Conv2d { residual: true, ..same }, [2, 16, 16, 16], [40, 3, 3]),
        (Conv2d { stride: 2, padding: [0, 0, 1, 1], ..same }, [1, 18, 30, 16], [32, 3, 3]),
        (Conv2d { upsample: true, ..same }, [1, 9, 9, 16], [34, 3, 3]),
        (Conv2d::same(1), [3, 20, 20, 8], [6, 1, 1]),
        (same, [1, 1, 1, 16], [16, 3, 3]),
    ] {
        let mut inputs = inputs(&op, 1, image, kernel);
        // Far from zero, where sums of squares about zero would lose all digits of the variance.
        let far: Vec<f32> = inputs[2].data::<f32>().unwrap().iter().map(|b| b + 100.0).collect();
        inputs[2] = Tensor::from_slice([kernel[0]], &far).unwrap();
        check(&normed(op, None, inputs.clone()));
        for variant in Variant::ALL {
            let pack = Pack { variant: Some(variant), ..op.pack() };
            if on(&device(Isa::best(), 1), |e| pack.prepare(cx(e), &inputs[1]).is_ok()) {
                check(&normed(op, Some(pack), inputs.clone()));
            }
        }
    }
}

/// What is gathered with the outputs, also of a weight that is packed as it is used, says the same of them as they do.
#[test]
fn sums_are_the_outputs() {
    let groups = Coefficients { groups: 4, eps: 1e-6 };
    for operands in [DType::F32, DType::BF16] {
        let same = Conv2d { operands, ..Conv2d::same(3) };
        for (op, image, kernel) in [
            (same, [2, 70, 65, 32], [64, 3, 3]),
            (Conv2d { norm: SILU, residual: true, ..same }, [1, 40, 33, 32], [48, 3, 3]),
            (Conv2d { stride: 2, padding: [0, 0, 1, 1], ..same }, [2, 34, 30, 16], [32, 3, 3]),
            (Conv2d { upsample: true, ..same }, [1, 19, 17, 16], [32, 3, 3]),
        ] {
            let inputs = inputs(&op, 1, image, kernel);
            on(&device(Isa::best(), 2), |e| {
                let k = kernel[0];
                let vector = |value: f32| e.cx().upload(&Tensor::from_slice([k], &vec![value; k])?);
                let all: Vec<Tensor> = inputs.iter().map(|t| e.cx().upload(t).unwrap()).collect();
                let [out, sums] = e.apply(WithSums(op), &all.iter().collect::<Vec<_>>()).unwrap();
                let (one, zero) = (vector(1.0).unwrap(), vector(0.0).unwrap());
                let [gathered] = e.apply(groups, &[&out, &one, &zero, &sums]).unwrap();
                let [read] = e.apply(groups, &[&out, &one, &zero]).unwrap();
                let error = relative_l2(&Wide::of(&gathered).data, &Wide::of(&read).data);
                assert!(error <= 1e-6, "{op:?}: {error:.2e}");
            });
        }
    }
}

#[test]
fn corners() {
    let same = Conv2d::same(3);
    check_all(same, 1, [1, 1, 1, 1], [1, 3, 3]);
    check_all(same, 2, [0, 4, 4, 8], [8, 3, 3]);
    check_all(same, 3, [1, 2, 300, 8], [33, 3, 3]);
    check_all(Conv2d { padding: [3, 0, 0, 2], ..same }, 4, [1, 5, 5, 17], [31, 3, 3]);
    check_all(Conv2d { padding: [0; 4], ..same }, 5, [1, 3, 3, 20], [40, 3, 3]);
    check_all(Conv2d { stride: 2, padding: [1; 4], ..same }, 6, [1, 9, 9, 16], [64, 4, 4]);
    check_all(Conv2d { upsample: true, norm: SILU, residual: true, ..same }, 7, [2, 1, 1, 5], [7, 3, 3]);
    check_all(Conv2d { stride: 3, ..same }, 8, [1, 10, 8, 16], [16, 2, 5]);
    check_all(Conv2d { upsample: true, stride: 2, ..same }, 9, [1, 6, 5, 16], [32, 3, 3]);
}

/// What is not finite stays where it is: outside the taps of such a pixel nothing changes.
#[test]
fn not_a_number_stays_near() {
    let op = Conv2d { norm: SILU, ..Conv2d::same(3) };
    let mut all = inputs(&op, 1, [1, 16, 16, 16], [32, 3, 3]);
    let mut x = all[0].data::<f32>().unwrap().to_vec();
    x[(5 * 16 + 6) * 16 + 3] = f32::NAN;
    all[0] = Tensor::from_slice([1, 16, 16, 16], &x).unwrap();
    check(&packed(op, Pack { variant: Some(Variant::Direct), ..op.pack() }, all));
}

#[test]
fn weights_of_sixteen_bits() {
    let op = Conv2d::same(3);
    let all = inputs(&op, 1, [1, 6, 6, 19], [37, 3, 3]);
    let wide = all[1].data::<f32>().unwrap();
    let shape = [37, 19, 3, 3];
    let f16s: Vec<f16> = wide.iter().map(|&x| f16::from_f32(x)).collect();
    let f16 = Tensor::from_slice(shape, &f16s).unwrap();
    let bf16 = random(2, &shape, DType::BF16);
    for narrow in [f16, bf16] {
        let mut all = all.clone();
        all[1] = narrow.to_f32().unwrap();
        for variant in [Variant::Direct, Variant::Scatter] {
            let pack = Pack { variant: Some(variant), ..op.pack() };
            let narrow = narrow.clone();
            let case = packed(op, pack, all.clone());
            check(&case.with_run(format!("{:?}", narrow.dtype()), move |e, inputs| {
                let weight = pack.prepare(cx(e), &narrow)?;
                e.apply(op, &[&inputs[0], &weight, &inputs[2]]).map(Vec::from)
            }));
        }
    }
}

#[test]
fn refusals() {
    let f32 = DType::F32;
    let op = Conv2d::same(3);
    let (x, w, b) = (random(1, &[1, 4, 4, 8], f32), random(2, &[6, 8, 3, 3], f32), random(3, &[6], f32));
    refuses(op, &[&x, &random(2, &[6, 7, 3, 3], f32), &b], "expected weight (k, 8, r, s)");
    refuses(op, &[&x, &w, &random(3, &[5], f32)], "bias is f32 [5]");
    refuses(
        Conv2d { padding: [0; 4], ..op },
        &[&random(1, &[1, 2, 4, 8], f32), &w, &b],
        "smaller than the kernel, 3 x 3",
    );
    refuses(Conv2d { stride: 0, ..op }, &[&x, &w, &b], "stride is 0");
    refuses(op, &[&x, &random(2, &[6, 8, 0, 3], f32), &b], "no extent may be 0");
    refuses(op, &[&random(1, &[1, 4, 4, 8], DType::F16), &w, &b], "expected plain f32 or bf16");
    refuses(op, &[&x, &random(2, &[6, 8, 3, 3], DType::BF16), &b], "expected plain f32");
    let norm = Conv2d { norm: SILU, ..op };
    refuses(norm, &[&x, &w, &b, &random(4, &[1, 2, 7], f32)], "coefficients is f32 [1, 2, 7]");
    let residual = Conv2d { residual: true, ..op };
    refuses(residual, &[&x, &w, &b, &random(4, &[1, 4, 4, 5], f32)], "residual is f32 [1, 4, 4, 5]");
    refuses(Conv2d { padding: [usize::MAX, 0, 0, 0], ..op }, &[&x, &w, &b], "padded by");

    let scatter = Pack { variant: Some(Variant::Scatter), ..Conv2d { stride: 2, ..op }.pack() };
    let error = on(&device(Isa::best(), 1), |e| scatter.prepare(cx(e), &w)).unwrap_err();
    assert!(
        error
            .message()
            .contains("conv2d:scatter of f32 by a kernel of 3 x 3 over 8 channels: Conv2d { stride: 2"),
        "{error}"
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    #[test]
    fn any_shape(seed in 0u64..1000, n in 1usize..3, h in 1usize..14, w in 1usize..14, c in 1usize..40,
                 k in 1usize..70, r in 1usize..5, s in 1usize..5, stride in 1usize..3,
                 padding in proptest::array::uniform4(0usize..3), upsample: bool,
                 norm in proptest::option::of(any::<bool>()), residual: bool) {
        let padding = [padding[0].max(r.saturating_sub(h)), padding[1].max(s.saturating_sub(w)), padding[2], padding[3]];
        let op = Conv2d { stride, padding, upsample, norm: norm.map(|silu| Norm { silu }), residual, ..Conv2d::same(1) };
        check_all(op, seed, [n, h, w, c], [k, r, s]);
    }
}
