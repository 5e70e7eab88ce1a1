use crate::backend::Between;
use crate::error::{Context, Error, Result};
use crate::exec::{Cx, Exec, Param, Prepare};
use crate::nn::{Params, Precision};
use crate::ops::dropout::Dropout;
use crate::ops::gate::Gate;
use crate::ops::linear::{Linear, Pack, SwiGlu};
use crate::tensor::{Allocate, Bytes, DType, Desc, HeapAllocator, Storage, Tensor};
use crate::weights::{cast, quantize, scale_name};
use std::sync::Arc;

/// A weight matrix (n, k) in the type that it is multiplied in, read where it lies.
pub struct Matrix {
    weight: Param,
    /// Of the rows, if the weight is in bytes.
    scale: Option<Param>,
    /// What training multiplies.
    pack: Pack,
    /// Whether the output is bf16 where the device keeps such values.
    narrow: bool,
}

/// A weight as it is.
pub struct AsIs;

impl Prepare for AsIs {
    fn prepare(&self, cx: Cx<'_>, weight: &Tensor) -> Result<Tensor> {
        cx.device.keep(weight)
    }
}

/// The type that a precision rounds a weight of type `from` to, if it does.
pub fn rounded_type(from: DType, precision: Precision) -> Option<DType> {
    let to = match precision {
        Precision::F32 => return None,
        Precision::Bf16 => DType::BF16,
        Precision::Int8 => DType::I8,
    };
    (from.size() > to.size() || from == DType::F16 && to == DType::BF16).then_some(to)
}

/// Rounds matrices as a precision asks for, and lets the pages of the file's map go that held them; gives the bytes
/// of memory that it took. What it makes lies in one piece in the order given, which is that of the computation: a
/// step reads it as one long run, and large pages have no gaps.
///
/// # Errors
/// `OutOfMemory`, also past `limit` bytes; `Format` where an element to be rounded to bytes is not finite.
pub fn round(matrices: &mut [&mut Matrix], precision: Precision, limit: Option<usize>) -> Result<usize> {
    let mut end = 0usize;
    let mut place = |bytes: usize| -> Result<usize> {
        let start = end;
        end = bytes.checked_next_multiple_of(64).and_then(|b| end.checked_add(b)).ok_or_else(too_many)?;
        Ok(start)
    };
    let mut weights = Vec::new();
    for (at, matrix) in matrices.iter().enumerate() {
        let desc = matrix.weight.file().desc();
        if let Some(to) = rounded_type(desc.dtype, precision) {
            let desc = Desc::plain(desc.shape, to);
            weights.push((at, desc, place(desc.bytes().ok_or_else(too_many)?)?));
        }
    }
    let mut scales = Vec::new();
    for (at, desc, _) in weights.iter().filter(|(_, desc, _)| desc.dtype == DType::I8) {
        let desc = Desc::plain([desc.shape[0]], DType::F32);
        scales.push((*at, desc, place(desc.bytes().ok_or_else(too_many)?)?));
    }
    if let Some(limit) = limit.filter(|&limit| limit < end) {
        return Err(Error::out_of_memory(format!(
            "the rounded weights have {end} bytes, the memory limit is {limit}"
        )));
    }
    if end == 0 {
        return Ok(0);
    }
    let mut memory = HeapAllocator.allocate(end)?;
    let bytes = memory.unique_mut()?;
    let mut scale_at = scales.iter();
    for (at, desc, start) in &weights {
        let weight = &matrices[*at].weight;
        let mut put = |start: usize, made: &Tensor| -> Result<()> {
            let made = made.storage().as_bytes()?;
            bytes[start..start + made.len()].copy_from_slice(made);
            Ok(())
        };
        if let (DType::I8, Some((_, _, of_scales))) = (desc.dtype, scale_at.next()) {
            let (made, scale) =
                quantize(weight.file()).map_err(|e| Error::format(e.message()).context(weight.name()))?;
            put(*start, &made)?;
            put(*of_scales, &scale)?;
        } else {
            put(*start, &cast(weight.file(), desc.dtype).context(|| weight.name())?)?;
        }
        weight.file().storage().release();
    }
    let memory: Arc<dyn Bytes> = Arc::new(memory);
    let part = |desc: &Desc, start: usize| {
        let len = desc.bytes().ok_or_else(too_many)?;
        Tensor::new(*desc, Storage::borrowed(Arc::clone(&memory), start, len)?)
    };
    for (at, desc, start) in &weights {
        let made = part(desc, *start)?;
        matrices[*at].weight = Param::new(matrices[*at].weight.name(), made);
    }
    for (at, desc, start) in &scales {
        let made = part(desc, *start)?;
        matrices[*at].scale = Some(Param::new(scale_name(matrices[*at].weight.name()), made));
    }
    Ok(end)
}

fn too_many() -> Error {
    Error::out_of_memory("more weights than can be addressed")
}

impl Matrix {
    /// The weight of that name, as the file has it.
    ///
    /// # Errors
    /// Those of [`Params::matrix`].
    pub fn new(at: &Params<'_>, name: &str, extents: [usize; 2]) -> Result<Matrix> {
        let (weight, scale) = at.matrix(name, extents)?;
        Ok(Matrix { weight, scale, pack: Pack { operands: at.numerics.operands() }, narrow: false })
    }

    /// The same matrix, whose output another layer reads: where factors are bf16, and the device keeps such values, it
    /// is bf16 too.
    pub fn narrow(self) -> Matrix {
        Matrix { narrow: true, ..self }
    }

    fn narrows<E: Exec>(&self, e: &E) -> bool {
        self.narrow && e.keeps_narrow(Between::Products, self.pack.operands)
    }

    /// x (..., k) to (..., n).
    ///
    /// # Errors
    /// The operation's.
    pub fn forward<E: Exec>(&self, e: &E, x: &E::Value) -> Result<E::Value> {
        self.with(e, x, Linear::default(), &[])
    }

    /// The same, after `drop` if there is one, plus `skip` (..., n).
    ///
    /// # Errors
    /// The operations'.
    pub fn forward_add<E: Exec>(
        &self,
        e: &E,
        x: &E::Value,
        drop: Option<Dropout>,
        skip: &E::Value,
    ) -> Result<E::Value> {
        let Some(drop) = drop else {
            return self.with(e, x, Linear { residual: true, ..Linear::default() }, &[skip]);
        };
        let [y] = e.apply(Dropout { residual: true, ..drop }, &[&self.forward(e, x)?, skip])?;
        Ok(y)
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
        let op = Linear { panels: E::REMEMBERS.then_some(self.pack), narrow: self.narrows(e), ..op };
        let [y] = e.apply(op, &inputs[..count])?;
        Ok(y)
    }

    /// SiLU(gate x) * (up x).
    ///
    /// # Errors
    /// The operation's.
    pub fn swiglu<E: Exec>(e: &E, x: &E::Value, gate: &Matrix, up: &Matrix) -> Result<E::Value> {
        if E::REMEMBERS {
            let [y] = e.apply(Gate, &[&gate.forward(e, x)?, &up.forward(e, x)?])?;
            return Ok(y);
        }
        let op = SwiGlu { narrow: gate.narrows(e) };
        let ((gate, gate_scale), (up, up_scale)) = (gate.values(e)?, up.values(e)?);
        let [y] = match (&gate_scale, &up_scale) {
            (Some(a), Some(b)) => e.apply(op, &[x, &gate, &up, a, b])?,
            _ => e.apply(op, &[x, &gate, &up])?,
        };
        Ok(y)
    }

    fn values<E: Exec>(&self, e: &E) -> Result<(E::Value, Option<E::Value>)> {
        let scale = self.scale.as_ref().map(|s| e.param(s)).transpose()?;
        Ok((e.prepared(&self.weight, &AsIs)?, scale))
    }
}
