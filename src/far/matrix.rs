use crate::error::{Context, Error, Result};
use crate::exec::{Cx, Exec, Param, Prepare};
use crate::nn::{Params, Precision};
use crate::ops::linear::{Linear, SwiGlu};
use crate::tensor::{DType, Tensor};
use crate::weights::{cast, quantize};

/// A weight matrix (n, k) in the type that it is multiplied in, read where it lies.
pub struct Matrix {
    weight: Param,
    /// Of the rows, if the weight is in bytes.
    scale: Option<Param>,
    made: usize,
}

/// A weight as it is.
pub struct AsIs;

impl Prepare for AsIs {
    fn prepare(&self, _cx: Cx<'_>, weight: &Tensor) -> Result<Tensor> {
        Ok(weight.clone())
    }
}

impl Matrix {
    /// The weight of that name: as the file has it, or rounded as the precision asks for; then the pages of the
    /// file's map that held it are let go.
    ///
    /// # Errors
    /// Those of [`Params::matrix`]; `Format` where an element to be rounded to bytes is not finite; `OutOfMemory`.
    pub fn new(at: &Params<'_>, name: &str, extents: [usize; 2]) -> Result<Matrix> {
        let (weight, scale) = at.matrix(name, extents)?;
        let file = weight.file();
        let wider = |than: DType| file.dtype() != DType::I8 && file.dtype().size() > than.size();
        let (made, scales) = match at.numerics.precision {
            Precision::Bf16 if wider(DType::BF16) || file.dtype() == DType::F16 => {
                (cast(file, DType::BF16).context(|| weight.name())?, None)
            }
            Precision::Int8 if wider(DType::I8) => {
                let (bytes, scales) =
                    quantize(file).map_err(|e| Error::format(e.message()).context(weight.name()))?;
                (bytes, Some(scales))
            }
            _ => return Ok(Matrix { weight, scale, made: 0 }),
        };
        file.storage().release();
        let bytes = made.storage().len() + scales.as_ref().map_or(0, |s| s.storage().len());
        let scale = scales.map(|s| Param::new(weight.name(), s));
        Ok(Matrix { weight: Param::new(weight.name(), made), scale, made: bytes })
    }

    /// Bytes of memory that rounding took.
    pub fn made_bytes(&self) -> usize {
        self.made
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
        let (weight, scale) = self.values(e)?;
        let mut inputs = [x; 5];
        let mut count = 1;
        for input in [Some(&weight), scale.as_ref()].into_iter().flatten().chain(rest.iter().copied()) {
            inputs[count] = input;
            count += 1;
        }
        let [y] = e.apply(op, &inputs[..count])?;
        Ok(y)
    }

    /// SiLU(gate x) * (up x).
    ///
    /// # Errors
    /// The operation's.
    pub fn swiglu<E: Exec>(e: &E, x: &E::Value, gate: &Matrix, up: &Matrix) -> Result<E::Value> {
        let ((gate, gate_scale), (up, up_scale)) = (gate.values(e)?, up.values(e)?);
        let [y] = match (&gate_scale, &up_scale) {
            (Some(a), Some(b)) => e.apply(SwiGlu, &[x, &gate, &up, a, b])?,
            _ => e.apply(SwiGlu, &[x, &gate, &up])?,
        };
        Ok(y)
    }

    fn values<E: Exec>(&self, e: &E) -> Result<(E::Value, Option<E::Value>)> {
        let scale = self.scale.as_ref().map(|s| e.param(s)).transpose()?;
        Ok((e.prepared(&self.weight, &AsIs)?, scale))
    }
}
