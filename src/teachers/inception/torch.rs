//! The network as the package pytorch-fid has it, under its names.

use super::network::{Network, Step};
use crate::error::{Context, Error, Result};
use crate::nn::{Conv2d, Linear, Numerics, Params};
use crate::ops::resize_bilinear::{Grid, ResizeBilinear};
use crate::ops::window::Window;
use crate::tensor::Tensor;
use crate::weights::Source;
use std::collections::BTreeMap;

/// The side of the pictures it sees.
const SIDE: usize = 299;
const EPS: f64 = 1e-3;

/// One thing after the other.
#[derive(Clone)]
enum Plan {
    Largest(Window),
    Mean(Window),
    /// Name, channels out, kernel, stride, padding.
    Conv(&'static str, usize, [usize; 2], usize, [usize; 2]),
}

use Plan::{Conv, Largest, Mean};

const HALVE: Window = Window { side: 3, stride: 2, padding: 0 };
const AROUND: Window = Window { side: 3, stride: 1, padding: 1 };
const ALL: Window = Window { side: 8, stride: 1, padding: 0 };

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

/// The block whose first branch is looked at for its places, as ADM's `mixed_6/conv`.
const SPATIAL: &str = "Mixed_6d";

/// The network in a file: `Conv2d_1a_3x3.conv.weight` to `fc.weight`.
pub fn open(source: &Source) -> Result<(Network, Linear)> {
    let folded = fold(source)?;
    let top = Params::new(&folded, Numerics::default());
    let mut building = Building { network: Network::default(), channels: 3 };
    let resized = ResizeBilinear { to: [SIDE; 2], grid: Grid::Centres };
    let mut x = building.network.add(Step::Resize(resized), &[Network::PICTURES]);
    x = building.chain(&top, x, &stem())?;
    for (name, branches) in blocks() {
        let at = top.scope(name);
        let (from, mut width, mut parts) = (building.channels, 0, Vec::new());
        for (plans, ends) in branches {
            building.channels = from;
            let y = building.chain(&at, x, &plans)?;
            if name == SPATIAL && parts.is_empty() {
                building.network.spatial = y;
            }
            let to = building.channels;
            if ends.is_empty() {
                parts.push(y);
                width += to;
            }
            for end in &ends {
                building.channels = to;
                parts.push(building.chain(&at, y, std::slice::from_ref(end))?);
                width += building.channels;
            }
        }
        building.channels = width;
        x = building.network.add(Step::Concat, &parts);
    }
    let Building { mut network, channels } = building;
    network.features = network.add(Step::Mean(ALL), &[x]);
    let at = Params::new(source, Numerics::default()).scope("fc");
    Ok((network, Linear::without_bias(&at, channels, super::Inception::CLASSES)?))
}

/// A network, and the channels of what was added last.
struct Building {
    network: Network,
    channels: usize,
}

impl Building {
    /// One step after the other, from a value on.
    fn chain(&mut self, at: &Params<'_>, mut x: usize, plans: &[Plan]) -> Result<usize> {
        for plan in plans {
            let step = match *plan {
                Largest(window) => Step::Largest(window),
                Mean(window) => Step::Mean(window),
                Conv(name, to, kernel, stride, padding) => {
                    let extents = [std::mem::replace(&mut self.channels, to), to];
                    let at = at.scope(name);
                    let conv = Conv2d::window(&at, extents, kernel, stride, padding, true)?;
                    x = self.network.add(Step::Conv(Box::new(conv)), &[x]);
                    Step::Relu
                }
            };
            x = self.network.add(step, &[x]);
        }
        Ok(x)
    }
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
