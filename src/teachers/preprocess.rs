use crate::error::Result;
use crate::exec::{Exec, Param};
use crate::ops::group_norm::Apply;
use crate::ops::resize_nearest::ResizeNearest;
use crate::tensor::Tensor;

/// Colours as a network was trained on them: x * scale + shift, a channel each.
pub struct Colours(Param);

impl Colours {
    /// From pixels in \[-1, 1\] to (value in \[0, 1\] - mean) / std.
    pub(super) fn standard(mean: [f64; 3], std: [f64; 3]) -> Result<Colours> {
        Colours::affine([0, 1, 2].map(|c| 0.5 / std[c]), [0, 1, 2].map(|c| (0.5 - mean[c]) / std[c]))
    }

    /// From pixels in \[-1, 1\] to (value - shift) / scale.
    pub(super) fn shifted(shift: [f64; 3], scale: [f64; 3]) -> Result<Colours> {
        Colours::affine([0, 1, 2].map(|c| 1.0 / scale[c]), [0, 1, 2].map(|c| -shift[c] / scale[c]))
    }

    pub(super) fn affine(scale: [f64; 3], shift: [f64; 3]) -> Result<Colours> {
        let values: Vec<f32> = scale.iter().chain(&shift).map(|&v| v as f32).collect();
        Ok(Colours(Param::new("colours", Tensor::from_slice([1, 2, 3], &values)?)))
    }

    /// Pictures (n, H, W, 3) with other colours.
    pub(super) fn forward<E: Exec>(&self, e: &E, pictures: &E::Value) -> Result<E::Value> {
        let shape = e.desc(pictures).shape;
        let tall = e.reshape(pictures, &[1, shape[0] * shape[1], shape[2], shape[3]])?;
        let [out] = e.apply(Apply { silu: false }, &[&tall, &e.param(&self.0)?])?;
        e.reshape(&out, &shape)
    }
}

/// Pictures of another size, no pixel interpolated.
pub(super) fn resize<E: Exec>(e: &E, pictures: &E::Value, side: usize) -> Result<E::Value> {
    let shape = e.desc(pictures).shape;
    if (shape[1], shape[2]) == (side, side) {
        return Ok(pictures.clone());
    }
    let [out] = e.apply(ResizeNearest { to: [side; 2] }, &[pictures])?;
    Ok(out)
}
