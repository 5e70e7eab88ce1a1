use super::Group;
use crate::error::{Error, Result};
use crate::exec::{Backward, Cost, Cx, Eager, Gradients, Op};
use crate::tensor::{DType, Desc, Tensor};

/// The rows of all processes, in the order of ranks: for a term of the loss that is no mean over the batch.
///
/// Input: x (n, ...) f32, n the same for all. Output: (n * ranks, ...). Gradients are averaged over the processes, each of
/// which has the gradient of the whole term: so a process's rows get theirs times the processes.
#[derive(Clone)]
pub struct GatherRows(pub Group);

impl Op for GatherRows {
    const NAME: &'static str = "gather_rows";

    fn outputs(&self, all: &[Desc]) -> Result<[Desc; 1]> {
        match all {
            [x] if x.dtype == DType::F32 && !x.shape.is_empty() => {
                let mut shape = x.shape.to_vec();
                shape[0] *= self.0.size();
                let shape = crate::tensor::Shape::try_from_slice(&shape);
                Ok([Desc::plain(shape.ok_or_else(|| Error::internal("too many axes"))?, DType::F32)])
            }
            _ => Err(Error::invalid("expected rows of f32")),
        }
    }

    fn cost(&self, all: &[Desc]) -> Cost {
        let bytes = all.first().and_then(Desc::bytes).unwrap_or(0);
        Cost { flops: 0.0, bytes: (bytes * (1 + self.0.size())) as f64 }
    }

    fn forward(&self, cx: Cx<'_>, all: &[&Tensor], outputs: &mut [Tensor; 1]) -> Result<()> {
        let mine = cx.download(all[0])?;
        let found = self.0.gather(mine.data::<f32>()?.iter().flat_map(|x| x.to_le_bytes()).collect())?;
        outputs[0] = cx.written::<f32>(outputs[0].desc().shape, |to| {
            if found.len() != size_of_val(to) {
                return Err(Error::internal("ranks gave rows of different counts"));
            }
            for (to, bytes) in to.iter_mut().zip(found.chunks_exact(size_of::<f32>())) {
                *to = f32::from_le_bytes(bytes.try_into().unwrap_or_default());
            }
            Ok(())
        })?;
        Ok(())
    }

    fn backward(&self, e: &Eager<'_>, pass: &Backward<'_, 1>) -> Result<Gradients> {
        let grad = pass.grads[0].as_ref().ok_or_else(|| Error::internal("no gradient"))?;
        let grad = e.cx().download(grad)?;
        let (desc, times) = (pass.inputs[0].desc(), self.0.size() as f32);
        let count = desc.shape.count();
        let from = &grad.data::<f32>()?[self.0.rank() * count..][..count];
        let mut found = Gradients::default();
        found[0] = Some(e.cx().written::<f32>(desc.shape, |to| {
            to.iter_mut().zip(from).for_each(|(to, from)| *to = from * times);
            Ok(())
        })?);
        Ok(found)
    }
}
