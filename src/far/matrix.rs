use crate::error::Result;
use crate::exec::{Cx, Exec, Param, Prepare};
use crate::nn::{Params, Precision};
use crate::ops::linear::{Linear, SwiGlu};
use crate::tensor::{DType, Tensor};
use crate::weights::cast;

/// A weight matrix (n, k) in the type that it is multiplied in, read where it lies.
pub struct Matrix {
    weight: Param,
    form: Form,
}

/// How a weight is kept: as the file has it, or rounded to bf16 at its first use.
#[derive(Clone, Copy)]
pub struct Form {
    half: bool,
}

impl Form {
    /// As the file has it.
    pub const AS_IS: Form = Form { half: false };
}

impl Prepare for Form {
    fn prepare(&self, _cx: Cx<'_>, weight: &Tensor) -> Result<Tensor> {
        if self.half && weight.dtype() == DType::F32 { cast(weight, DType::BF16) } else { Ok(weight.clone()) }
    }
}

impl Matrix {
    /// The weight of that name.
    ///
    /// # Errors
    /// Those of [`Params::get`].
    pub fn new(at: &Params<'_>, name: &str, extents: [usize; 2]) -> Result<Matrix> {
        let form = Form { half: at.numerics.precision == Precision::Bf16 };
        Ok(Matrix { weight: at.get(name, &extents)?, form })
    }

    /// x (..., k) to (..., n).
    ///
    /// # Errors
    /// The operation's.
    pub fn forward<E: Exec>(&self, e: &E, x: &E::Value) -> Result<E::Value> {
        self.with(e, x, Linear::default(), &[])
    }

    /// The same plus `skip` (..., n).
    ///
    /// # Errors
    /// The operation's.
    pub fn forward_add<E: Exec>(&self, e: &E, x: &E::Value, skip: &E::Value) -> Result<E::Value> {
        self.with(e, x, Linear { residual: true, ..Linear::default() }, &[skip])
    }

    /// Any use of the layer, with the inputs that follow the weight.
    ///
    /// # Errors
    /// The operation's.
    pub fn with<E: Exec>(&self, e: &E, x: &E::Value, op: Linear, rest: &[&E::Value]) -> Result<E::Value> {
        let weight = e.prepared(&self.weight, &self.form)?;
        let mut inputs = [x; 4];
        inputs[1] = &weight;
        inputs[2..2 + rest.len()].copy_from_slice(rest);
        let [y] = e.apply(op, &inputs[..2 + rest.len()])?;
        Ok(y)
    }

    /// SiLU(gate x) * (up x).
    ///
    /// # Errors
    /// The operation's.
    pub fn swiglu<E: Exec>(e: &E, x: &E::Value, gate: &Matrix, up: &Matrix) -> Result<E::Value> {
        let (gate, up) = (e.prepared(&gate.weight, &gate.form)?, e.prepared(&up.weight, &up.form)?);
        let [y] = e.apply(SwiGlu, &[x, &gate, &up])?;
        Ok(y)
    }
}
