//! The op table. An operation's file lists [`Case`]s: inputs, the configured operation, an oracle in f64 and
//! an error bound. [`check`] runs a case at every instruction level and several thread counts, compares with
//! the oracle, and demands the same bits on every thread count; with the feature `cuda`, on a GPU too. Benches read the same cases.

#![allow(dead_code)] // The benches use what the tests do not, and the other way round.

use fqgan::backend::cpu::{Cpu, Isa, Pool};
use fqgan::backend::{Device, Workspace};
use fqgan::exec::{Cost, Cx, Eager, Exec, Op, Param};
use fqgan::tensor::{DType, Desc, Tensor};
use fqgan::{Result, Status};
use half::{bf16, f16};
use std::sync::Arc;

/// A tensor's elements in f64, for oracles.
pub struct Wide {
    pub shape: Vec<usize>,
    pub data: Vec<f64>,
}

impl Wide {
    pub fn of(t: &Tensor) -> Wide {
        let data = match t.dtype() {
            DType::F32 => t.data::<f32>().unwrap().iter().map(|&x| f64::from(x)).collect(),
            DType::BF16 => t.data::<bf16>().unwrap().iter().map(|x| x.to_f64()).collect(),
            DType::F16 => t.data::<f16>().unwrap().iter().map(|x| x.to_f64()).collect(),
            DType::U32 => t.data::<u32>().unwrap().iter().map(|&x| f64::from(x)).collect(),
            DType::I8 => t.data::<i8>().unwrap().iter().map(|&x| f64::from(x)).collect(),
            DType::U8 => t.data::<u8>().unwrap().iter().map(|&x| f64::from(x)).collect(),
            other => panic!("no oracle for {other}"),
        };
        Wide { shape: t.shape().to_vec(), data }
    }
}

type Run = dyn Fn(&Eager<'_>, &[Tensor]) -> Result<Vec<Tensor>>;
type Oracle = dyn Fn(&[Wide]) -> Vec<Vec<f64>>;

/// One configured operation on given inputs.
pub struct Case {
    /// For messages: `group_norm 2x3x5x32 f32`.
    pub name: String,
    /// The operation's own name.
    pub op: String,
    pub inputs: Vec<Tensor>,
    /// Largest allowed relative L2 error of an output.
    pub bound: f64,
    pub cost: Cost,
    run: Box<Run>,
    oracle: Box<Oracle>,
}

impl Case {
    pub fn new<O: Op<N> + Copy + 'static, const N: usize>(
        op: O,
        inputs: Vec<Tensor>,
        bound: f64,
        oracle: impl Fn(&[Wide]) -> Vec<Vec<f64>> + 'static,
    ) -> Case {
        let descs: Vec<Desc> = inputs.iter().map(|t| *t.desc()).collect();
        let shapes: Vec<String> = descs.iter().map(|d| d.to_string()).collect();
        Case {
            name: format!("{} ({})", O::NAME, shapes.join(", ")),
            op: O::NAME.to_string(),
            cost: op.cost(&descs),
            inputs,
            bound,
            run: Box::new(move |e, inputs| {
                let refs: Vec<&Tensor> = inputs.iter().collect();
                e.apply(op, &refs).map(Vec::from)
            }),
            oracle: Box::new(oracle),
        }
    }

    /// For an operation that borrows what it needs to run, and so is made anew in each run.
    pub fn made(
        name: impl Into<String>,
        inputs: Vec<Tensor>,
        bound: f64,
        run: impl Fn(&Eager<'_>, &[Tensor]) -> Result<Vec<Tensor>> + 'static,
        oracle: impl Fn(&[Wide]) -> Vec<Vec<f64>> + 'static,
    ) -> Case {
        let (run, oracle, name) = (Box::new(run), Box::new(oracle), name.into());
        let op = name.split(' ').next().unwrap_or_default().to_string();
        Case { name, op, inputs, bound, cost: Cost::default(), run, oracle }
    }

    /// The operation through an executor, for benches and for ops that want their weights prepared first.
    pub fn with_run(
        mut self,
        name: impl Into<String>,
        run: impl Fn(&Eager<'_>, &[Tensor]) -> Result<Vec<Tensor>> + 'static,
    ) -> Case {
        self.name = name.into();
        self.run = Box::new(run);
        self
    }

    /// With another bound.
    pub fn within(self, bound: f64) -> Case {
        Case { bound, ..self }
    }

    pub fn run(&self, e: &Eager<'_>) -> Result<Vec<Tensor>> {
        (self.run)(e, &self.inputs)
    }

    /// On a device's copies of the inputs.
    pub fn run_on(&self, e: &Eager<'_>, inputs: &[Tensor]) -> Result<Vec<Tensor>> {
        (self.run)(e, inputs)
    }

    /// What the oracle says of other inputs of the same shapes.
    pub fn expected(&self, inputs: &[Wide]) -> Vec<Vec<f64>> {
        (self.oracle)(inputs)
    }
}

pub fn device(isa: Isa, threads: usize) -> Device {
    Device::Cpu(Arc::new(Cpu { pool: Pool::new(threads).unwrap(), isa }))
}

/// A weight that is prepared once, as models have it: one for the processor and one for a GPU.
pub struct Weight([Param; 2]);

impl Weight {
    pub fn new(name: &str, tensor: &Tensor) -> Weight {
        Weight([0, 1].map(|_| Param::new(name, tensor.clone())))
    }

    /// That of the device which has these inputs.
    pub fn beside(&self, inputs: &[Tensor]) -> &Param {
        &self.0[usize::from(inputs.iter().any(|input| input.storage().on_device()))]
    }
}

/// Runs something with a fresh workspace.
pub fn on<T>(device: &Device, f: impl FnOnce(&Eager<'_>) -> T) -> T {
    let workspace: Workspace = device.workspace(None);
    f(&Eager::new(device, &workspace))
}

/// The case at every level and on 1, 2 and 3 threads.
#[track_caller]
pub fn check(case: &Case) {
    let wide: Vec<Wide> = case.inputs.iter().map(Wide::of).collect();
    let expected = (case.oracle)(&wide);
    for isa in Isa::available() {
        let mut first: Option<Vec<Tensor>> = None;
        for threads in [1, 2, 3] {
            let outputs = on(&device(isa, threads), |e| case.run(e))
                .unwrap_or_else(|e| panic!("{} on {}: {e}", case.name, isa.name()));
            assert_eq!(outputs.len(), expected.len(), "{}: outputs", case.name);
            match &first {
                Some(first) => {
                    for (a, b) in first.iter().zip(&outputs) {
                        assert!(same_bits(a, b), "{} on {}: {threads} threads differ", case.name, isa.name());
                    }
                }
                None => {
                    for (i, (got, want)) in outputs.iter().zip(&expected).enumerate() {
                        let what = format!("{} on {}, output {i}", case.name, isa.name());
                        close(&what, &Wide::of(got).data, want, case.bound);
                    }
                    first = Some(outputs);
                }
            }
        }
    }
    #[cfg(feature = "cuda")]
    crate::cuda::check(case, &expected);
}

/// The operations between convolutions, and what their rules are built of: the processor takes values of bf16 there.
const NARROW: [&str; 7] = ["add", "conv2d", "group_norm", "linear", "matmul", "sum_rows", "upsample"];

/// Whether the processor takes values of bf16.
pub fn takes_narrow(op: &str) -> bool {
    NARROW.contains(&op)
}

/// A case of values of bf16, which a GPU takes, and the processor too or refuses.
#[track_caller]
pub fn check_narrow(case: &Case) {
    if takes_narrow(&case.op) {
        return check(case);
    }
    let refused = on(&device(Isa::best(), 1), |e| case.run(e).err());
    let refused = refused.unwrap_or_else(|| panic!("{}: the processor took it", case.name));
    assert_eq!(refused.status(), Status::Unsupported, "{}: {refused}", case.name);
    #[cfg(feature = "cuda")]
    crate::cuda::check(case, &(case.oracle)(&case.inputs.iter().map(Wide::of).collect::<Vec<_>>()));
}

/// What rounding of the result, or of one factor, costs; of several, of different sign, not much more.
pub const ROUNDING: f64 = 6e-3;

pub fn round(tensor: &Tensor) -> Tensor {
    let values: Vec<bf16> = tensor.data::<f32>().unwrap().iter().map(|&x| bf16::from_f32(x)).collect();
    Tensor::from_slice(*tensor.shape(), &values).unwrap()
}

/// The case with these of its inputs rounded.
pub fn rounded(case: Case, which: &[usize]) -> Case {
    let bound = case.bound.max(ROUNDING);
    exactly_rounded(case, which).within(bound)
}

/// The same where the output is not: it is copied, or f32.
pub fn exactly_rounded(mut case: Case, which: &[usize]) -> Case {
    which.iter().for_each(|&i| case.inputs[i] = round(&case.inputs[i]));
    case
}

/// The largest relative L2 error is kept.
#[track_caller]
pub fn close(what: &str, got: &[f64], want: &[f64], bound: f64) {
    assert_eq!(got.len(), want.len(), "{what}: elements");
    let error = relative_l2(got, want);
    assert!(error <= bound, "{what}: relative error {error:.3e} over {bound:.1e}");
}

pub fn same_bits(a: &Tensor, b: &Tensor) -> bool {
    let bytes =
        |t: &Tensor| t.on_host().unwrap().storage().as_bytes().unwrap()[..t.desc().bytes().unwrap()].to_vec();
    a.desc() == b.desc() && bytes(a) == bytes(b)
}

/// |got - want| / |want|; a NaN where none is wanted is an infinite error, one where one is wanted is none.
pub fn relative_l2(got: &[f64], want: &[f64]) -> f64 {
    let (mut error, mut norm) = (0.0, 0.0);
    for (g, w) in got.iter().zip(want) {
        if g.is_nan() != w.is_nan() {
            return f64::INFINITY;
        }
        if !g.is_nan() && g != w {
            error += (g - w) * (g - w);
        }
        norm += if w.is_nan() { 0.0 } else { w * w };
    }
    if error == 0.0 { 0.0 } else { (error / norm.max(f64::MIN_POSITIVE)).sqrt() }
}

/// Elements in [-1, 1) that depend on the seed and the position alone.
pub fn noise(seed: u64, count: usize) -> Vec<f32> {
    (0..count as u64)
        .map(|i| {
            let mut z = seed
                .wrapping_mul(0xD134_2543_DE82_EF95)
                .wrapping_add((i + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15));
            z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
            ((z ^ (z >> 31)) >> 40) as f32 / (1u64 << 23) as f32 - 1.0
        })
        .collect()
}

/// A tensor of `noise`, rounded to the type.
pub fn random(seed: u64, shape: &[usize], dtype: DType) -> Tensor {
    let values = noise(seed, shape.iter().product());
    let shape = fqgan::tensor::Shape::try_from_slice(shape).unwrap();
    match dtype {
        DType::F32 => Tensor::from_slice(shape, &values),
        DType::BF16 => {
            Tensor::from_slice(shape, &values.iter().map(|&x| bf16::from_f32(x)).collect::<Vec<_>>())
        }
        DType::F16 => {
            Tensor::from_slice(shape, &values.iter().map(|&x| f16::from_f32(x)).collect::<Vec<_>>())
        }
        DType::I8 => {
            Tensor::from_slice(shape, &values.iter().map(|&x| (x * 127.0).round() as i8).collect::<Vec<_>>())
        }
        other => panic!("no noise of {other}"),
    }
    .unwrap()
}

/// The operation refuses these inputs, with a message that contains `says`.
#[track_caller]
pub fn refuses<O: Op<N>, const N: usize>(op: O, inputs: &[&Tensor], says: &str) {
    let error = on(&device(Isa::best(), 1), |e| e.run(&op, inputs).err()).expect("it was accepted");
    assert!(error.message().contains(says), "message {:?} lacks {says:?}", error.message());
}

/// Unused by most files: the context of an executor.
pub fn cx<'a>(e: &Eager<'a>) -> Cx<'a> {
    e.cx()
}
