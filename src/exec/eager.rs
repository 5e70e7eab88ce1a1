use super::{Cx, Exec, MAX_INPUTS, Op, Param, Prepare, profile};
use crate::backend::{Between, Device, Workspace};
use crate::error::{Context, Error, Result};
use crate::tensor::{DType, Desc, Shape, Tensor};
use std::time::Instant;

/// Runs an operation and forgets it: inference. A dropped value's memory is reused at once.
#[derive(Clone, Copy)]
pub struct Eager<'a> {
    device: &'a Device,
    workspace: &'a Workspace,
}

impl<'a> Eager<'a> {
    /// Runs on `device` with the memory of `workspace`.
    pub fn new(device: &'a Device, workspace: &'a Workspace) -> Eager<'a> {
        Eager { device, workspace }
    }

    /// Where it runs and with what memory.
    pub fn cx(&self) -> Cx<'a> {
        Cx { device: self.device, workspace: self.workspace }
    }

    /// Runs an operation.
    ///
    /// # Errors
    /// The operation's, with its name before the message.
    pub fn run<O: Op<N>, const N: usize>(&self, op: &O, inputs: &[&Tensor]) -> Result<[Tensor; N]> {
        let run = || {
            let mut descs = [Desc::plain([], DType::F32); MAX_INPUTS];
            let descs = descs
                .get_mut(..inputs.len())
                .ok_or_else(|| Error::internal(format!("{} inputs, at most {MAX_INPUTS}", inputs.len())))?;
            for (desc, input) in descs.iter_mut().zip(inputs) {
                *desc = *input.desc();
            }
            let wanted = op.outputs(descs)?;
            let flops = op.cost(descs).flops;
            self.workspace.count(flops);
            let mut outputs = [const { None }; N];
            for (slot, desc) in outputs.iter_mut().zip(wanted) {
                *slot = Some(self.workspace.tensor(desc)?);
            }
            // Every slot was filled above.
            let mut outputs = outputs.map(|slot| slot.unwrap_or_else(|| unreachable!()));
            let began = profile::is_on().then(Instant::now);
            op.forward(self.cx(), inputs, &mut outputs)?;
            if let Some(began) = began {
                profile::note(O::NAME, began.elapsed(), flops);
            }
            Ok(outputs)
        };
        run().context(|| O::NAME)
    }
}

impl Exec for Eager<'_> {
    type Value = Tensor;
    const REMEMBERS: bool = false;

    fn desc(&self, value: &Tensor) -> Desc {
        *value.desc()
    }

    fn keeps_narrow(&self, between: Between, operands: DType) -> bool {
        self.device.keeps_narrow(between, operands, Self::REMEMBERS)
    }

    fn apply<O: Op<N> + 'static, const N: usize>(&self, op: O, inputs: &[&Tensor]) -> Result<[Tensor; N]> {
        self.run(&op, inputs)
    }

    fn param(&self, param: &Param) -> Result<Tensor> {
        param.plain(self.cx())
    }

    fn prepared<P: Prepare>(&self, param: &Param, prepare: &P) -> Result<Tensor> {
        param.prepared(self.cx(), prepare)
    }

    fn detach(&self, value: &Tensor) -> Tensor {
        value.clone()
    }

    fn reshape(&self, value: &Tensor, shape: &[usize]) -> Result<Tensor> {
        let shape = Shape::try_from_slice(shape).ok_or_else(|| Error::internal("too many axes"))?;
        value.reshape(shape)
    }
}
