use crate::error::Result;
use crate::exec::Exec;
use crate::nn::Conv2d;
use crate::ops::activation::LeakyRelu;
use crate::ops::concat::Concat;
use crate::ops::max_pool::MaxPool;
use crate::ops::mean_pool::MeanPool;
use crate::ops::resize_bilinear::ResizeBilinear;
use crate::ops::window::Window;
#[cfg(feature = "eval")]
use crate::teachers::preprocess::Colours;

const RELU: LeakyRelu = LeakyRelu { slope: 0.0 };

/// What becomes of values.
pub enum Step {
    Resize(ResizeBilinear),
    /// What a graph does with colours.
    #[cfg(feature = "eval")]
    Colours(Box<Colours>),
    Conv(Box<Conv2d>),
    Relu,
    Largest(Window),
    Mean(Window),
    Concat,
}

/// Steps in an order in which each finds what it needs. Values are numbered: 0 is the pictures, i + 1 what step i made.
#[derive(Default)]
pub struct Network {
    steps: Vec<(Step, Vec<usize>)>,
    /// The value whose pixel is the feature, (n, 1, 1, c).
    pub features: usize,
    /// The value that is looked at for its places.
    pub spatial: usize,
}

impl Network {
    /// The number of the pictures.
    pub const PICTURES: usize = 0;

    /// Adds a step and gives the number of what it makes.
    pub fn add(&mut self, step: Step, inputs: &[usize]) -> usize {
        self.steps.push((step, inputs.to_vec()));
        self.steps.len()
    }

    /// Features and the spatial value of pictures. A value's memory is free again after its last use.
    pub fn run<E: Exec>(&self, e: &E, pictures: &E::Value) -> Result<[E::Value; 2]> {
        let wanted = [self.features, self.spatial];
        let mut last = vec![0; self.steps.len() + 1];
        for (number, (_, inputs)) in self.steps.iter().enumerate() {
            inputs.iter().for_each(|&value| last[value] = number);
        }
        wanted.iter().for_each(|&value| last[value] = self.steps.len());
        let mut values: Vec<Option<E::Value>> = vec![Some(pictures.clone())];
        let lost = || crate::Error::internal("a value that is not there");
        for (number, (step, inputs)) in self.steps.iter().enumerate() {
            let all: Option<Vec<&E::Value>> = inputs.iter().map(|&value| values[value].as_ref()).collect();
            let all = all.ok_or_else(lost)?;
            let x = *all.first().ok_or_else(lost)?;
            let [made] = match step {
                Step::Resize(op) => e.apply(*op, &[x])?,
                #[cfg(feature = "eval")]
                Step::Colours(colours) => [colours.forward(e, x)?],
                Step::Conv(conv) => [conv.forward(e, x)?.x],
                Step::Relu => e.apply(RELU, &[x])?,
                Step::Largest(window) => e.apply(MaxPool(*window), &[x])?,
                Step::Mean(window) => e.apply(MeanPool(*window), &[x])?,
                Step::Concat => e.apply(Concat, &all)?,
            };
            values.push(Some(made));
            for value in inputs.iter().filter(|&&value| last[value] == number) {
                values[*value] = None;
            }
        }
        let take = |value: usize| values[value].clone().ok_or_else(lost);
        Ok([take(wanted[0])?, take(wanted[1])?])
    }
}
