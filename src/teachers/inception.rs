use crate::error::{Context, Error, Result};
use crate::exec::Exec;
use crate::nn::{Conv2d, Linear, Numerics, Params};
use crate::ops::activation::LeakyRelu;
use crate::ops::concat::Concat;
use crate::ops::max_pool::MaxPool;
use crate::ops::mean_pool::MeanPool;
use crate::ops::resize_bilinear::ResizeBilinear;
use crate::ops::window::Window;
use crate::tensor::Tensor;
use crate::weights::Source;
use std::collections::BTreeMap;

/// The side of the pictures it sees.
const SIDE: usize = 299;
const EPS: f64 = 1e-3;
const RELU: LeakyRelu = LeakyRelu { slope: 0.0 };

/// The Inception v3 that the Fréchet distance is measured with (Szegedy et al., 2015; TensorFlow's weights of
/// 2015-12-05), as the package pytorch-fid has it: under its names, and with its resizing, bilinear from pixel centres.
/// Figures of the ADM protocol resize otherwise, so that they differ.
pub struct Inception {
    stem: Vec<Step>,
    blocks: Vec<Block>,
    classes: Linear,
}

/// What Inception says of pictures.
pub struct Judgement<V> {
    /// (n, 2048): the mean of the last activations, `pool3`.
    pub features: V,
    /// (n, 1008): without the bias, as the inception score wants them before its softmax.
    pub logits: V,
}

/// One thing after the other.
#[derive(Clone)]
enum Plan {
    Largest(Window),
    Mean(Window),
    /// Name, channels out, kernel, stride, padding.
    Conv(&'static str, usize, [usize; 2], usize, [usize; 2]),
}

enum Step {
    Largest(Window),
    Mean(Window),
    Conv(Box<Conv2d>),
}

/// Branches over one input, laid side by side; the last steps of a branch may be two, of one input.
struct Block(Vec<Branch>);

struct Branch {
    steps: Vec<Step>,
    ends: Vec<Step>,
}

use Plan::{Conv, Largest, Mean};

const HALVE: Window = Window { side: 3, stride: 2, padding: 0 };
const AROUND: Window = Window { side: 3, stride: 1, padding: 1 };

const fn one(name: &'static str, to: usize) -> Plan {
    Conv(name, to, [1, 1], 1, [0, 0])
}
const fn same(name: &'static str, to: usize, side: usize) -> Plan {
    Conv(name, to, [side, side], 1, [side / 2, side / 2])
}
const fn wide(name: &'static str, to: usize, side: usize) -> Plan {
    Conv(name, to, [1, side], 1, [0, side / 2])
}
const fn tall(name: &'static str, to: usize, side: usize) -> Plan {
    Conv(name, to, [side, 1], 1, [side / 2, 0])
}
const fn halved(name: &'static str, to: usize) -> Plan {
    Conv(name, to, [3, 3], 2, [0, 0])
}

/// A branch, and what it ends with when that is more than one.
type Plans = (Vec<Plan>, Vec<Plan>);

fn plain(plans: Vec<Plan>) -> Plans {
    (plans, Vec::new())
}

fn stem() -> Vec<Plan> {
    vec![
        halved("Conv2d_1a_3x3", 32),
        Conv("Conv2d_2a_3x3", 32, [3, 3], 1, [0, 0]),
        same("Conv2d_2b_3x3", 64, 3),
        Largest(HALVE),
        one("Conv2d_3b_1x1", 80),
        Conv("Conv2d_4a_3x3", 192, [3, 3], 1, [0, 0]),
        Largest(HALVE),
    ]
}

/// The blocks, by the names their weights begin with.
fn blocks() -> Vec<(&'static str, Vec<Plans>)> {
    let first = |pool| {
        vec![
            plain(vec![one("branch1x1", 64)]),
            plain(vec![one("branch5x5_1", 48), same("branch5x5_2", 64, 5)]),
            plain(vec![
                one("branch3x3dbl_1", 64),
                same("branch3x3dbl_2", 96, 3),
                same("branch3x3dbl_3", 96, 3),
            ]),
            plain(vec![Mean(AROUND), one("branch_pool", pool)]),
        ]
    };
    let middle = |c| {
        let long = vec![
            one("branch7x7dbl_1", c),
            tall("branch7x7dbl_2", c, 7),
            wide("branch7x7dbl_3", c, 7),
            tall("branch7x7dbl_4", c, 7),
            wide("branch7x7dbl_5", 192, 7),
        ];
        vec![
            plain(vec![one("branch1x1", 192)]),
            plain(vec![one("branch7x7_1", c), wide("branch7x7_2", c, 7), tall("branch7x7_3", 192, 7)]),
            plain(long),
            plain(vec![Mean(AROUND), one("branch_pool", 192)]),
        ]
    };
    let last = |pool| {
        vec![
            plain(vec![one("branch1x1", 320)]),
            (vec![one("branch3x3_1", 384)], vec![wide("branch3x3_2a", 384, 3), tall("branch3x3_2b", 384, 3)]),
            (
                vec![one("branch3x3dbl_1", 448), same("branch3x3dbl_2", 384, 3)],
                vec![wide("branch3x3dbl_3a", 384, 3), tall("branch3x3dbl_3b", 384, 3)],
            ),
            plain(vec![pool, one("branch_pool", 192)]),
        ]
    };
    let to_middle = vec![
        plain(vec![halved("branch3x3", 384)]),
        plain(vec![one("branch3x3dbl_1", 64), same("branch3x3dbl_2", 96, 3), halved("branch3x3dbl_3", 96)]),
        plain(vec![Largest(HALVE)]),
    ];
    let to_last = vec![
        plain(vec![one("branch3x3_1", 192), halved("branch3x3_2", 320)]),
        plain(vec![
            one("branch7x7x3_1", 192),
            wide("branch7x7x3_2", 192, 7),
            tall("branch7x7x3_3", 192, 7),
            halved("branch7x7x3_4", 192),
        ]),
        plain(vec![Largest(HALVE)]),
    ];
    vec![
        ("Mixed_5b", first(32)),
        ("Mixed_5c", first(64)),
        ("Mixed_5d", first(64)),
        ("Mixed_6a", to_middle),
        ("Mixed_6b", middle(128)),
        ("Mixed_6c", middle(160)),
        ("Mixed_6d", middle(160)),
        ("Mixed_6e", middle(192)),
        ("Mixed_7a", to_last),
        ("Mixed_7b", last(Mean(AROUND))),
        // The largest here alone, as in the network that TensorFlow published.
        ("Mixed_7c", last(Largest(AROUND))),
    ]
}

impl Inception {
    /// Elements of a feature.
    pub const WIDTH: usize = 2048;
    /// Classes, some of which stand for none.
    pub const CLASSES: usize = 1008;

    /// The network in a file: `Conv2d_1a_3x3.conv.weight` to `fc.weight`.
    ///
    /// # Errors
    /// `Format` when a weight is missing or has a wrong shape; `OutOfMemory`.
    pub fn open(source: &Source) -> Result<Inception> {
        let folded = fold(source)?;
        let top = Params::new(&folded, Numerics::default());
        let mut channels = 3;
        let stem = steps(&top, &mut channels, &stem())?;
        let mut all = Vec::new();
        for (name, branches) in blocks() {
            let at = top.scope(name);
            let mut width = 0;
            let mut block = Vec::new();
            for (plans, ends) in branches {
                let mut to = channels;
                let steps = steps(&at, &mut to, &plans)?;
                let mut made = Vec::new();
                let mut sum = 0;
                for end in &ends {
                    let mut each = to;
                    made.extend(self::steps(&at, &mut each, std::slice::from_ref(end))?);
                    sum += each;
                }
                width += if ends.is_empty() { to } else { sum };
                block.push(Branch { steps, ends: made });
            }
            channels = width;
            all.push(Block(block));
        }
        let at = Params::new(source, Numerics::default()).scope("fc");
        let classes = Linear::without_bias(&at, Inception::WIDTH, Inception::CLASSES)?;
        Ok(Inception { stem, blocks: all, classes })
    }

    /// What it says of pictures (n, H, W, 3) in \[-1, 1\], of any size.
    ///
    /// # Errors
    /// The operations'.
    pub fn judge<E: Exec>(&self, e: &E, pictures: &E::Value) -> Result<Judgement<E::Value>> {
        let [mut x] = e.apply(ResizeBilinear { to: [SIDE; 2] }, &[pictures])?;
        x = run(e, &self.stem, &x)?;
        for Block(branches) in &self.blocks {
            let mut parts = Vec::new();
            for branch in branches {
                let y = run(e, &branch.steps, &x)?;
                match branch.ends.is_empty() {
                    true => parts.push(y),
                    false => {
                        for end in &branch.ends {
                            parts.push(run(e, std::slice::from_ref(end), &y)?);
                        }
                    }
                }
            }
            [x] = e.apply(Concat, &parts.iter().collect::<Vec<_>>())?;
        }
        let shape = e.desc(&x).shape;
        let all = Window { side: shape[1], stride: 1, padding: 0 };
        let [pooled] = e.apply(MeanPool(all), &[&x])?;
        let features = e.reshape(&pooled, &[shape[0], Inception::WIDTH])?;
        let logits = self.classes.forward(e, &features)?;
        Ok(Judgement { features, logits })
    }
}

fn steps(at: &Params<'_>, channels: &mut usize, plans: &[Plan]) -> Result<Vec<Step>> {
    let step = |plan: &Plan| match *plan {
        Largest(window) => Ok(Step::Largest(window)),
        Mean(window) => Ok(Step::Mean(window)),
        Conv(name, to, kernel, stride, padding) => {
            let from = std::mem::replace(channels, to);
            let conv = Conv2d::window(&at.scope(name), [from, to], kernel, stride, padding, true)?;
            Ok(Step::Conv(Box::new(conv)))
        }
    };
    plans.iter().map(step).collect()
}

fn run<E: Exec>(e: &E, steps: &[Step], x: &E::Value) -> Result<E::Value> {
    let mut x = x.clone();
    for step in steps {
        [x] = match step {
            Step::Largest(window) => e.apply(MaxPool(*window), &[&x])?,
            Step::Mean(window) => e.apply(MeanPool(*window), &[&x])?,
            Step::Conv(conv) => e.apply(RELU, &[&conv.forward(e, &x)?.x])?,
        };
    }
    Ok(x)
}

/// The same convolutions with their norms' kept statistics in weights and biases: `NAME.weight` and `NAME.bias` of each
/// `NAME.conv` and `NAME.bn`.
fn fold(source: &Source) -> Result<Source> {
    let first = "Conv2d_1a_3x3.conv.weight";
    if !source.contains(first) {
        return Err(Error::format(format!("{}: no Inception: expected a tensor {first}", source.name())));
    }
    let mut tensors = Vec::new();
    for weight in source.names().filter(|name| name.ends_with(".conv.weight")) {
        let name = weight.trim_end_matches(".conv.weight");
        let read = |leaf: &str| -> Result<Vec<f64>> {
            let tensor =
                source.tensor(&format!("{name}.{leaf}"))?.to_f32().context(|| format!("{name}.{leaf}"))?;
            Ok(tensor.data::<f32>()?.iter().map(|&v| f64::from(v)).collect())
        };
        let shape = *source.tensor(weight)?.shape();
        let (values, gain, shift) = (read("conv.weight")?, read("bn.weight")?, read("bn.bias")?);
        let (mean, variance) = (read("bn.running_mean")?, read("bn.running_var")?);
        let to = shape.first().copied().unwrap_or(0);
        if [&gain, &shift, &mean, &variance].iter().any(|v| v.len() != to) || to == 0 {
            return Err(Error::format(format!(
                "{}: {name}.bn: expected {to} elements each, as {weight} has rows",
                source.name()
            )));
        }
        let scale: Vec<f64> = gain.iter().zip(&variance).map(|(g, v)| g / (v + EPS).sqrt()).collect();
        let rows = values.chunks(values.len() / to).zip(&scale);
        let folded: Vec<f32> = rows.flat_map(|(row, s)| row.iter().map(move |v| (v * s) as f32)).collect();
        let bias: Vec<f32> = (0..to).map(|i| (shift[i] - mean[i] * scale[i]) as f32).collect();
        tensors.push((format!("{name}.weight"), Tensor::from_slice(shape, &folded)?));
        tensors.push((format!("{name}.bias"), Tensor::from_slice([to], &bias)?));
    }
    Ok(Source::from_tensors(tensors, BTreeMap::new()))
}
