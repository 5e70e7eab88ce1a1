//! Draws a code of each image from its logits: guidance, temperature, top-k, top-p, and the inverse of the
//! cumulative distribution at a uniform number that depends on the image's place alone.
//!
//! 1. guidance s > 1: logits = null + s * (conditional - null) (Ho and Salimans, 2022); else the conditional
//!    ones, and there are no null rows.
//! 2. divided by the temperature.
//! 3. top-k: those below the k-th largest go; all that equal it stay.
//! 4. top-p: of what is left, by falling probability (the lower code first where equal), a code stays if those
//!    before it sum to p or less.
//! 5. The code is the first, by number, at which the cumulative sum of what is left passes u times the whole, u
//!    being the first uniform of [`Stream::of_code`](crate::rng::Stream::of_code). Sums are in f64.

mod cpu;
#[cfg(feature = "cuda")]
mod cuda;
mod picks;

pub use picks::Picks;

use super::check::{dims, expect_type, inputs};
use crate::backend::Device;
use crate::error::{Error, Result};
use crate::exec::{Cost, Cx, Op};
use crate::tensor::{DType, Desc, Tensor};

/// How to draw, and for which place.
///
/// Input: logits (rows, N) f32, or on a GPU bf16: one row an image, or with guidance the conditional rows of all images,
/// then their null rows. Output: (images) u32. A logit that is not finite is a `Format` error.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sample {
    /// Scale of classifier-free guidance; up to 1 there is none.
    pub guidance: f32,
    /// Divides the logits; above 0.
    pub temperature: f32,
    /// How many of the largest to draw from; 0: all.
    pub top_k: usize,
    /// Probability to draw from, 0 to 1; from 1 on, all.
    pub top_p: f32,
    /// Key of the random numbers.
    pub seed: u64,
    /// Number of the first row's image.
    pub image: u32,
    /// Position in the grid, row-major.
    pub position: u32,
    /// Which sub-code, from 0.
    pub sub_code: u32,
}

impl Sample {
    /// Whether null rows follow the conditional ones.
    pub fn guided(&self) -> bool {
        self.guidance > 1.0
    }

    /// The error of logits that are not finite, `image` rows after the first.
    fn not_finite(&self, image: usize) -> Error {
        Error::format(format!(
            "the logits of image {}, position {}, sub-code {} are not all finite: the weights are damaged, or \
             too large for their type",
            self.image as usize + image,
            self.position,
            self.sub_code
        ))
    }

    /// That the numbers are ones that can be drawn with.
    ///
    /// # Errors
    /// `InvalidArgument`.
    pub fn check(&self) -> Result<()> {
        let wrong = |what: &str, value: f32, expected: &str| {
            Err(Error::invalid(format!("{what} is {value}, expected {expected}")))
        };
        if !self.guidance.is_finite() || self.guidance < 0.0 {
            return wrong("guidance", self.guidance, "a finite number from 0 on");
        }
        if !self.temperature.is_finite() || self.temperature <= 0.0 {
            return wrong("temperature", self.temperature, "a finite number above 0 (greedy is top-k of 1)");
        }
        if !(self.top_p > 0.0 && self.top_p <= 1.0) {
            return wrong("top-p", self.top_p, "a number above 0, up to 1");
        }
        Ok(())
    }
}

impl Op for Sample {
    const NAME: &'static str = "sample";

    fn outputs(&self, all: &[Desc]) -> Result<[Desc; 1]> {
        let [logits] = inputs::<1>(all)?;
        let [rows, n] = dims("logits", &logits)?;
        expect_type("logits", &logits, &[DType::F32, DType::BF16])?;
        self.check()?;
        if n == 0 || u32::try_from(n).is_err() {
            return Err(Error::invalid(format!("logits are {logits}: nothing to draw from")));
        }
        if self.guided() && rows % 2 != 0 {
            return Err(Error::invalid(format!(
                "logits are {logits}: guidance takes as many null rows as others"
            )));
        }
        Ok([Desc::plain([if self.guided() { rows / 2 } else { rows }], DType::U32)])
    }

    fn cost(&self, all: &[Desc]) -> Cost {
        let count = all[0].shape.count() as f64;
        Cost { flops: 20.0 * count, bytes: 4.0 * count }
    }

    fn forward(&self, cx: Cx<'_>, all: &[&Tensor], outputs: &mut [Tensor; 1]) -> Result<()> {
        match cx.device {
            #[cfg(feature = "cuda")]
            Device::Cuda(cuda) => cuda::sample(self, cx, cuda, all[0], &mut outputs[0]),
            Device::Cpu(_) if all[0].dtype() != DType::F32 => Err(cx.unsupported(Self::NAME, all[0].desc())),
            Device::Cpu(cpu) => cpu::sample(self, cx, cpu, all[0], &mut outputs[0]),
        }
    }
}

/// Draws a sub-code of every image at the place where its [`Picks`] are, as [`Sample`] does, and keeps it there. After the
/// last sub-code of a position comes the next position. A GPU waits for nothing: that logits were not finite is then an
/// error of [`Picks::read`].
///
/// Input: logits (rows, N) as [`Sample`]'s. Output: the code for each row, (rows, 1, 1) u32.
#[derive(Clone, Copy)]
pub struct Draw<'a> {
    /// How; its position is 0.
    pub sample: Sample,
    /// Where.
    pub picks: &'a Picks,
}

impl Op for Draw<'_> {
    const NAME: &'static str = "sample";

    fn outputs(&self, all: &[Desc]) -> Result<[Desc; 1]> {
        let [images] = self.sample.outputs(all)?;
        let (rows, images) = (all[0].shape[0], images.shape[0]);
        let (last, kept) = (*self.picks.last().shape(), *self.picks.all.borrow().shape());
        if (rows, images) != (last[0], kept[1]) {
            return Err(Error::invalid(format!(
                "logits are {}: {images} images in {rows} rows, expected {} in {}",
                all[0], kept[1], last[0]
            )));
        }
        if self.sample.sub_code as usize >= last[2] || self.sample.position != 0 {
            return Err(Error::invalid(format!(
                "sub-code {} of {} and position {}, expected one of those and 0",
                self.sample.sub_code, last[2], self.sample.position
            )));
        }
        Ok([Desc::plain([rows, 1, 1], DType::U32)])
    }

    fn cost(&self, all: &[Desc]) -> Cost {
        self.sample.cost(all)
    }

    fn forward(&self, cx: Cx<'_>, all: &[&Tensor], outputs: &mut [Tensor; 1]) -> Result<()> {
        match cx.device {
            #[cfg(feature = "cuda")]
            Device::Cuda(cuda) => cuda::draw_next(self, cx, cuda, all[0], &mut outputs[0]),
            Device::Cpu(_) if all[0].dtype() != DType::F32 => Err(cx.unsupported(Self::NAME, all[0].desc())),
            Device::Cpu(cpu) => cpu::draw_next(self, cx, cpu, all[0], &mut outputs[0]),
        }
    }
}
