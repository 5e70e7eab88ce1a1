//! Rules against finite differences of the f64 oracles.

use crate::table::{Wide, device, noise, on, relative_l2};
use fqgan::backend::Device;
use fqgan::backend::cpu::Isa;
use fqgan::exec::{Eager, Exec, Op, Tape, Var};
use fqgan::tensor::Tensor;
use std::collections::BTreeMap;

fn sum(e: &Eager<'_>, a: &Tensor, b: &Tensor) -> fqgan::Result<Tensor> {
    e.apply(fqgan::ops::add::Add, &[a, b]).map(|[y]| y)
}

/// The gradients of `inputs[wanted]` under random gradients of all outputs, at every instruction level (and on
/// a GPU with the feature `cuda`), against
/// central differences of the oracle. Small shapes only: the oracle runs twice for each element.
#[track_caller]
pub fn check_gradients<O: Op<N> + Copy + 'static, const N: usize>(
    op: O,
    inputs: &[Tensor],
    wanted: &[usize],
    bound: f64,
    oracle: impl Fn(&[Wide]) -> Vec<Vec<f64>>,
) {
    let mut wide: Vec<Wide> = inputs.iter().map(Wide::of).collect();
    let seeds: Vec<Vec<f32>> = oracle(&wide).iter().zip(77..).map(|(y, seed)| noise(seed, y.len())).collect();
    let objective = |wide: &[Wide]| -> f64 {
        let each = oracle(wide);
        each.iter().flatten().zip(seeds.iter().flatten()).map(|(y, s)| y * f64::from(*s)).sum()
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
                let y = tape.apply(op, &vars.iter().collect::<Vec<_>>()).unwrap();
                let seed = Tensor::from_slice(*y[output].tensor().shape(), &seeds[output]).unwrap();
                for (name, grad) in tape.backward(&y[output], cx.upload(&seed).unwrap()).unwrap() {
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
        for (input, want) in &expected {
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
