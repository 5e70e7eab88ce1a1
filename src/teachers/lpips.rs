use super::preprocess::Colours;
use crate::error::Result;
use crate::exec::{Exec, Param};
use crate::nn::{Conv2d, Numerics, Params};
use crate::ops::activation::LeakyRelu;
use crate::ops::add::Add;
use crate::ops::max_pool::MaxPool;
use crate::ops::perceptual_distance::PerceptualDistance;
use crate::weights::Source;

const SHIFT: [f64; 3] = [-0.030, -0.088, -0.188];
const SCALE: [f64; 3] = [0.458, 0.448, 0.450];
const RELU: LeakyRelu = LeakyRelu { slope: 0.0 };

/// VGG16's convolutions up to relu5_3, a stage each: their numbers among torchvision's `features`, and the channels.
const STAGES: [(&[usize], usize); 5] =
    [(&[0, 2], 64), (&[5, 7], 128), (&[10, 12, 14], 256), (&[17, 19, 21], 512), (&[24, 26, 28], 512)];

/// The learned perceptual distance over VGG16 (LPIPS 0.1; Zhang et al., 2018).
pub struct Lpips {
    colours: Colours,
    stages: Vec<Vec<Conv2d>>,
    heads: Vec<Param>,
}

impl Lpips {
    /// The network's and the heads' weights, from one file (`net.slice1.0.weight`, `lin0.model.1.weight`) or from
    /// torchvision's VGG16 (`features.0.weight`) and the lpips package's heads.
    ///
    /// # Errors
    /// `Format` when a weight is missing or has a wrong shape.
    pub fn open(network: &Source, heads: &Source) -> Result<Lpips> {
        let torchvision = network.contains("features.0.weight");
        let top = Params::new(network, Numerics::default());
        let mut from = 3;
        let mut stages = Vec::new();
        for (stage, (numbers, to)) in STAGES.into_iter().enumerate() {
            let mut convolutions = Vec::new();
            for number in numbers {
                let at = match torchvision {
                    true => top.scope(format!("features.{number}")),
                    false => top.scope(format!("net.slice{}.{number}", stage + 1)),
                };
                convolutions.push(Conv2d::square(&at, [from, to], [3, 1, 1], true)?);
                from = to;
            }
            stages.push(convolutions);
        }
        let at = Params::new(heads, Numerics::default());
        let head = |(i, (_, c)): (usize, (_, usize))| at.get(format!("lin{i}.model.1.weight"), &[1, c, 1, 1]);
        Ok(Lpips {
            colours: Colours::shifted(SHIFT, SCALE)?,
            stages,
            heads: STAGES.into_iter().enumerate().map(head).collect::<Result<_>>()?,
        })
    }

    /// The activations that are compared, one a stage.
    ///
    /// # Errors
    /// The operations'.
    pub fn features<E: Exec>(&self, e: &E, pictures: &E::Value) -> Result<Vec<E::Value>> {
        let mut x = self.colours.forward(e, pictures)?;
        let mut all = Vec::new();
        for (stage, convolutions) in self.stages.iter().enumerate() {
            if stage > 0 {
                [x] = e.apply(MaxPool::HALVE, &[&x])?;
            }
            for convolution in convolutions {
                [x] = e.apply(RELU, &[&convolution.forward(e, &x)?.x])?;
            }
            all.push(x.clone());
        }
        Ok(all)
    }

    /// The distance (n) of pictures from others whose [`Lpips::features`] are given.
    ///
    /// # Errors
    /// The operations'.
    pub fn distance<E: Exec>(&self, e: &E, pictures: &E::Value, others: &[E::Value]) -> Result<E::Value> {
        let features = self.features(e, pictures)?;
        let mut sum: Option<E::Value> = None;
        for ((a, b), head) in features.iter().zip(others).zip(&self.heads) {
            let channels = e.desc(a).shape[3];
            let head = e.reshape(&e.param(head)?, &[channels])?;
            let [distance] = e.apply(PerceptualDistance, &[a, b, &head])?;
            sum = Some(match sum {
                Some(sum) => {
                    let [more] = e.apply(Add, &[&sum, &distance])?;
                    more
                }
                None => distance,
            });
        }
        sum.ok_or_else(|| crate::Error::internal("no stage"))
    }
}
