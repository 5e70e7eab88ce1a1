use super::{Activation, Params, present};
use crate::error::Result;
use crate::exec::{Exec, Param};
use crate::ops::{group_norm, layer_norm};

/// GroupNorm over channels-last activations.
pub struct GroupNorm {
    weight: Param,
    bias: Param,
    op: group_norm::Coefficients,
}

impl GroupNorm {
    /// `weight` and `bias` of `channels` elements.
    ///
    /// # Errors
    /// Those of [`Params::get`].
    pub fn new(at: &Params<'_>, channels: usize, groups: usize, eps: f32) -> Result<GroupNorm> {
        let (weight, bias) = (at.get("weight", &[channels])?, at.get("bias", &[channels])?);
        Ok(GroupNorm { weight, bias, op: group_norm::Coefficients { groups, eps } })
    }

    /// The scale and shift that it amounts to for `x` (n, h, w, c): (n, 2, c). See [`group_norm::Coefficients`].
    ///
    /// # Errors
    /// The operation's.
    pub fn coefficients<E: Exec>(&self, e: &E, x: &Activation<E::Value>) -> Result<E::Value> {
        let (weight, bias) = (e.param(&self.weight)?, e.param(&self.bias)?);
        let (count, inputs) = present(&x.x, [Some(&weight), Some(&bias), x.sums.as_ref()]);
        let [y] = e.apply(self.op, &inputs[..count])?;
        Ok(y)
    }

    /// The normalised activation.
    ///
    /// # Errors
    /// The operation's.
    pub fn forward<E: Exec>(&self, e: &E, x: &Activation<E::Value>) -> Result<E::Value> {
        let coefficients = self.coefficients(e, x)?;
        let [y] = e.apply(group_norm::Apply { silu: false }, &[&x.x, &coefficients])?;
        Ok(y)
    }
}

/// LayerNorm over the last axis.
pub struct LayerNorm {
    weight: Param,
    bias: Param,
    op: layer_norm::LayerNorm,
}

impl LayerNorm {
    /// `weight` and `bias` of `width` elements.
    ///
    /// # Errors
    /// Those of [`Params::get`].
    pub fn new(at: &Params<'_>, width: usize, eps: f32) -> Result<LayerNorm> {
        let (weight, bias) = (at.get("weight", &[width])?, at.get("bias", &[width])?);
        Ok(LayerNorm { weight, bias, op: layer_norm::LayerNorm { eps } })
    }

    /// The normalised value.
    ///
    /// # Errors
    /// The operation's.
    pub fn forward<E: Exec>(&self, e: &E, x: &E::Value) -> Result<E::Value> {
        let (weight, bias) = (e.param(&self.weight)?, e.param(&self.bias)?);
        let [y] = e.apply(self.op, &[x, &weight, &bias])?;
        Ok(y)
    }
}
