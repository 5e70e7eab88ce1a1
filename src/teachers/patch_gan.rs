use super::discriminator::Normed;
use crate::error::Result;
use crate::exec::{Eager, Exec};
use crate::nn::{BatchNorm, Conv2d, Numerics, Params, Statistics};
use crate::ops::activation::LeakyRelu;
use crate::tensor::Tensor;
use crate::weights::Source;
use crate::weights::infer::extents;
use std::collections::BTreeMap;

/// A name that its files have.
pub(super) const FIRST: &str = "main.0.weight";

const LEAKY: LeakyRelu = LeakyRelu { slope: 0.2 };

/// PatchGAN (Isola et al., 2017): says of each patch of a picture how true it looks.
pub struct PatchGan {
    first: Conv2d,
    middle: Vec<(Conv2d, BatchNorm)>,
    last: Conv2d,
}

impl PatchGan {
    /// The network in a file: `main.0` to `main.11`, with 64 channels after the first convolution or as many as
    /// there are.
    ///
    /// # Errors
    /// `Format` when a weight is missing or has a wrong shape.
    pub fn open(source: &Source) -> Result<PatchGan> {
        let [width, ..] = extents::<4>(source.listing(), FIRST)?;
        let at = Params::new(source, Numerics::default()).scope("main");
        let mut from = width;
        let mut middle = Vec::new();
        for (number, times, stride) in [(2, 2, 2), (5, 4, 2), (8, 8, 1)] {
            let to = width * times;
            let convolution = Conv2d::square(&at.scope(number), [from, to], [4, stride, 1], false)?;
            middle.push((convolution, BatchNorm::new(&at.scope(number + 1), to)?));
            from = to;
        }
        Ok(PatchGan {
            first: Conv2d::square(&at.scope(0), [3, width], [4, 2, 1], true)?,
            middle,
            last: Conv2d::square(&at.scope(11), [from, 1], [4, 1, 1], true)?,
        })
    }

    /// Whether a name is a weight's: no kept statistic's.
    pub(super) fn owns(&self, name: &str) -> bool {
        name.starts_with("main.")
            && !name.ends_with("num_batches_tracked")
            && !self.statistics().any(|kept| kept == name)
    }

    /// The names of its kept statistics, which no gradient flows to.
    pub fn statistics(&self) -> impl Iterator<Item = &str> {
        self.middle.iter().flat_map(|(_, norm)| norm.statistics()).map(|param| param.name())
    }

    /// Logits (n, h, w, 1) of pictures by the kept statistics: high where they look true.
    ///
    /// # Errors
    /// The operations'.
    pub fn forward<E: Exec>(&self, e: &E, pictures: &E::Value) -> Result<E::Value> {
        self.run(e, pictures, |norm, x| norm.of_kept(e, x))
    }

    /// Logits of pictures by the batch's statistics, and what [`PatchGan::keep`] wants to know of it.
    ///
    /// # Errors
    /// The operations'.
    pub fn train<E: Exec>(
        &self,
        e: &E,
        pictures: &E::Value,
        statistics: &impl Statistics,
    ) -> Result<(E::Value, Normed<E::Value>)> {
        let mut normed = Vec::new();
        let logits = self.run(e, pictures, |norm, x| {
            normed.push(x.clone());
            norm.of_batch(e, x, statistics)
        })?;
        Ok((logits, normed))
    }

    fn run<E: Exec>(
        &self,
        e: &E,
        pictures: &E::Value,
        mut normalise: impl FnMut(&BatchNorm, &E::Value) -> Result<E::Value>,
    ) -> Result<E::Value> {
        let [mut x] = e.apply(LEAKY, &[&self.first.forward(e, pictures)?.x])?;
        for (convolution, norm) in &self.middle {
            let y = normalise(norm, &convolution.forward(e, &x)?.x)?;
            [x] = e.apply(LEAKY, &[&y])?;
        }
        Ok(self.last.forward(e, &x)?.x)
    }

    /// Moves the kept statistics, by name, towards those of a batch.
    ///
    /// # Errors
    /// The operations'.
    pub fn keep(
        &self,
        e: &Eager<'_>,
        normed: &Normed<Tensor>,
        kept: &mut BTreeMap<String, Tensor>,
        statistics: &impl Statistics,
    ) -> Result<()> {
        for ((_, norm), x) in self.middle.iter().zip(normed) {
            let [mean, variance] = norm.statistics();
            let old = |param: &crate::exec::Param| match kept.get(param.name()) {
                Some(tensor) => Ok(tensor.clone()),
                None => param.plain(e.cx()),
            };
            let (old_mean, old_variance) = (old(mean)?, old(variance)?);
            let [new_mean, new_variance] = norm.keep(e, x, [&old_mean, &old_variance], statistics)?;
            kept.insert(mean.name().to_string(), new_mean);
            kept.insert(variance.name().to_string(), new_variance);
        }
        Ok(())
    }
}
