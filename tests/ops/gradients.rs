//! Rules against finite differences of the f64 oracles.

use crate::table::{Wide, device, on, random, relative_l2, takes_narrow};
use fqgan::Status;
use fqgan::backend::Device;
use fqgan::backend::cpu::Isa;
use fqgan::exec::{Eager, Exec, Op, Tape, Var};
use fqgan::tensor::{DType, Desc, Tensor};
use std::collections::BTreeMap;

fn sum(e: &Eager<'_>, a: &Tensor, b: &Tensor) -> fqgan::Result<Tensor> {
    e.apply(fqgan::ops::add::Add, &[a, b]).map(|[y]| y)
}

/// The gradients of `inputs[wanted]` under random gradients of all outputs, at every instruction level (and on
/// a GPU with the feature `cuda`), against
/// central differences of the oracle. Small shapes only: the oracle runs twice for each element. Many a rule of bf16 is a
/// GPU's alone: the processor refuses the operation. Gradients have the types of what they are of.
#[track_caller]
pub fn check_gradients<O: Op<N> + Copy + 'static, const N: usize>(
    op: O,
    inputs: &[Tensor],
    wanted: &[usize],
    bound: f64,
    oracle: impl Fn(&[Wide]) -> Vec<Vec<f64>>,
) {
    let mut wide: Vec<Wide> = inputs.iter().map(Wide::of).collect();
    let descs: Vec<Desc> = inputs.iter().map(|t| *t.desc()).collect();
    let outputs = op.outputs(&descs).unwrap();
    let narrow = descs.iter().chain(&outputs).any(|desc| desc.dtype == DType::BF16);
    let seeds: Vec<Tensor> =
        outputs.iter().zip(77..).map(|(y, seed)| random(seed, &y.shape, y.dtype)).collect();
    let factors: Vec<f64> = seeds.iter().flat_map(|seed| Wide::of(seed).data).collect();
    let objective = |wide: &[Wide]| -> f64 {
        let each = oracle(wide);
        each.iter().flatten().zip(&factors).map(|(y, s)| y * s).sum()
    };
    let step = 1e-5;
    let mut expected: BTreeMap<usize, Vec<f64>> = BTreeMap::new();
    for &input in wanted {
        for i in 0..wide[input].data.len() {
            let x = wide[input].data[i];
            wide[input].data[i] = x + step;
            let above = objective(&wide);
            wide[input].data[i] = x - step;
            let below = objective(&wide);
            wide[input].data[i] = x;
            expected.entry(input).or_default().push((above - below) / (2.0 * step));
        }
    }
    let check = |device: &Device| {
        let refused = narrow && !takes_narrow(O::NAME) && matches!(device, Device::Cpu(_));
        let mut found: BTreeMap<String, Vec<f64>> = BTreeMap::new();
        for output in 0..N {
            on(device, |e| {
                let none = BTreeMap::new();
                let cx = e.cx();
                let tape = Tape::new(Eager::new(cx.device, cx.workspace), &none, sum);
                let vars: Vec<Var> = inputs
                    .iter()
                    .map(|t| cx.upload(t).unwrap())
                    .enumerate()
                    .map(|(i, t)| match wanted.contains(&i) {
                        true => tape.leaf(&i.to_string(), t),
                        false => tape.constant(t),
                    })
                    .collect();
                let y = tape.apply(op, &vars.iter().collect::<Vec<_>>());
                if refused {
                    assert_eq!(y.err().map(|e| e.status()), Some(Status::Unsupported), "{}", O::NAME);
                    return;
                }
                let y = y.unwrap();
                let seed = cx.upload(&seeds[output]).unwrap();
                for (name, grad) in tape.backward(&y[output], seed).unwrap() {
                    let input: usize = name.parse().unwrap();
                    assert_eq!(grad.dtype(), inputs[input].dtype(), "{}, input {input}", O::NAME);
                    let grad = Wide::of(&cx.download(&grad).unwrap()).data;
                    match found.get_mut(&name) {
                        Some(sum) => sum.iter_mut().zip(grad).for_each(|(a, b)| *a += b),
                        None => {
                            found.insert(name, grad);
                        }
                    }
                }
            });
        }
        for (input, want) in expected.iter().filter(|_| !refused) {
            let got = found.get(&input.to_string()).unwrap_or_else(|| panic!("{}: input {input}", O::NAME));
            let error = relative_l2(got, want);
            assert!(error <= bound, "{} on {device}, input {input}: {error:.2e}", O::NAME);
        }
    };
    for isa in Isa::available() {
        check(&device(isa, 2));
    }
    #[cfg(feature = "cuda")]
    if crate::cuda::has_gradient(O::NAME) {
        check(crate::cuda::device());
    }
}
