use super::{Params, present};
use crate::backend::Between;
use crate::error::Result;
use crate::exec::{Exec, Param};
use crate::ops::linear::{self, Activation};

/// A linear layer, or a 1x1 convolution over channels-last activations, which is the same.
pub struct Linear {
    weight: Param,
    bias: Option<Param>,
    activation: Activation,
    /// How the weight is packed; `None` to multiply it where it lies.
    pack: Option<linear::Pack>,
    /// Where what reads the output rounds it anyway, so that it may be bf16: which layers it is between.
    narrow: Option<Between>,
    from: usize,
    to: usize,
}

impl Linear {
    /// `weight` (to, from) and `bias` (to).
    ///
    /// # Errors
    /// Those of [`Params::get`].
    pub fn new(at: &Params<'_>, from: usize, to: usize) -> Result<Linear> {
        Linear::named(at, "weight", "bias", from, to)
    }

    /// The same under other names.
    ///
    /// # Errors
    /// Those of [`Params::get`].
    pub fn named(at: &Params<'_>, weight: &str, bias: &str, from: usize, to: usize) -> Result<Linear> {
        Ok(Linear::of(at, at.get(weight, &[to, from])?, Some(at.get(bias, &[to])?), from, to))
    }

    /// A 1x1 convolution: `weight` (to, from, 1, 1) and `bias` (to).
    ///
    /// # Errors
    /// Those of [`Params::get`].
    pub fn conv1x1(at: &Params<'_>, from: usize, to: usize) -> Result<Linear> {
        Ok(Linear::of(at, at.get("weight", &[to, from, 1, 1])?, Some(at.get("bias", &[to])?), from, to))
    }

    /// `weight` (to, from) alone.
    ///
    /// # Errors
    /// Those of [`Params::get`].
    pub fn without_bias(at: &Params<'_>, from: usize, to: usize) -> Result<Linear> {
        Ok(Linear::of(at, at.get("weight", &[to, from])?, None, from, to))
    }

    fn of(at: &Params<'_>, weight: Param, bias: Option<Param>, from: usize, to: usize) -> Linear {
        let numerics = &at.numerics;
        let pack = (!numerics.compact).then_some(linear::Pack { operands: numerics.operands() });
        Linear { weight, bias, activation: Activation::None, pack, narrow: None, from, to }
    }

    /// The same layer with an activation after it.
    pub fn with(self, activation: Activation) -> Linear {
        Linear { activation, ..self }
    }

    /// The same layer, whose output is a factor of what reads it, a layer of that kind: where factors are bf16, and the
    /// device keeps such values, it is bf16 too.
    pub fn narrow(self, between: Between) -> Linear {
        Linear { narrow: Some(between), ..self }
    }

    /// x (..., from) to (..., to).
    ///
    /// # Errors
    /// The operation's.
    pub fn forward<E: Exec>(&self, e: &E, x: &E::Value) -> Result<E::Value> {
        self.run(e, x, None)
    }

    /// The same plus `skip` (..., to).
    ///
    /// # Errors
    /// The operation's.
    pub fn forward_add<E: Exec>(&self, e: &E, x: &E::Value, skip: &E::Value) -> Result<E::Value> {
        self.run(e, x, Some(skip))
    }

    fn run<E: Exec>(&self, e: &E, x: &E::Value, skip: Option<&E::Value>) -> Result<E::Value> {
        let mut weight = match &self.pack {
            Some(pack) => e.prepared(&self.weight, pack)?,
            None => e.param(&self.weight)?,
        };
        // The filters of a 1x1 convolution, not packed.
        if e.desc(&weight).shape[..] != [self.to, self.from] {
            weight = e.reshape(&weight, &[self.to, self.from])?;
        }
        let bias = self.bias.as_ref().map(|b| e.param(b)).transpose()?;
        let op = linear::Linear {
            bias: bias.is_some(),
            activation: self.activation,
            residual: skip.is_some(),
            panels: self.pack.filter(|_| E::REMEMBERS),
            narrow: self
                .narrow
                .zip(self.pack)
                .is_some_and(|(between, pack)| e.keeps_narrow(between, pack.operands)),
        };
        let (count, inputs) = present(x, [Some(&weight), bias.as_ref(), skip]);
        let [y] = e.apply(op, &inputs[..count])?;
        Ok(y)
    }
}
