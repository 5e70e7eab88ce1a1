//! How a model runs. A model is written once over [`Exec`]; the executor decides whether an operation is
//! just run ([`Eager`]) or also remembered, for gradients ([`Tape`]).

mod applied;
mod eager;
mod param;
mod part;
mod profile;
mod tape;
mod variant;

pub use eager::Eager;
pub use param::{Param, Prepare};
pub use profile::{Spent, profile};
pub use tape::{Sum, Tape, Var};
pub use variant::forced_variant;

use crate::backend::cpu::Cpu;
use crate::backend::{Between, Device, Workspace};
use crate::error::{Error, Result};
use crate::tensor::{DType, Desc, Element, Shape, Tensor};
use std::cell::RefCell;

/// What an operation needs to run: where, and with what memory.
#[derive(Clone, Copy)]
pub struct Cx<'a> {
    /// The device of all its tensors.
    pub device: &'a Device,
    /// Memory for outputs and scratch of this call.
    pub workspace: &'a Workspace,
}

impl Cx<'_> {
    /// The same elements in the device's memory: what the processor has written, for operations to read.
    ///
    /// # Errors
    /// `OutOfMemory`, `Device`.
    pub fn upload(&self, tensor: &Tensor) -> Result<Tensor> {
        self.device.upload(tensor, self.workspace)
    }

    /// A tensor that the processor writes: `fill` is given its elements, which are unspecified.
    ///
    /// # Errors
    /// `OutOfMemory`, `Device`; those of `fill`.
    pub fn written<T: Element>(
        &self,
        shape: impl Into<Shape>,
        fill: impl FnOnce(&mut [T]) -> Result<()>,
    ) -> Result<Tensor> {
        let mut tensor = self.workspace.host_tensor(Desc::plain(shape, T::DTYPE))?;
        fill(tensor.data_mut()?)?;
        self.upload(&tensor)
    }

    /// Writes a tensor anew, in the memory that it has: `fill` is given its elements, which are unspecified.
    ///
    /// # Errors
    /// `OutOfMemory`, `Device`; `Internal` when the tensor is shared.
    pub fn rewrite<T: Element>(&self, tensor: &mut Tensor, fill: impl FnOnce(&mut [T])) -> Result<()> {
        match self.device {
            Device::Cpu(_) => fill(tensor.data_mut()?),
            #[cfg(feature = "cuda")]
            Device::Cuda(cuda) => {
                let mut from = self.workspace.host_tensor(*tensor.desc())?;
                fill(from.data_mut()?);
                cuda.overwrite(tensor, &from)?;
            }
        }
        Ok(())
    }

    /// The same elements where the processor can read them. Waits for what is under way on the device.
    ///
    /// # Errors
    /// `OutOfMemory`, `Device`.
    pub fn download(&self, tensor: &Tensor) -> Result<Tensor> {
        self.device.download(tensor, self.workspace)
    }

    /// The processor, for what only it does.
    ///
    /// # Errors
    /// `Unsupported` on another device.
    pub(crate) fn cpu(&self, what: &str) -> Result<&Cpu> {
        let _ = what;
        match self.device {
            Device::Cpu(cpu) => Ok(cpu),
            #[cfg(feature = "cuda")]
            Device::Cuda(_) => Err(Error::unsupported(format!("{what} on {}", self.device.name()))),
        }
    }

    /// The error of an operation that this device has not for this type.
    pub fn unsupported(&self, op: &str, desc: &Desc) -> Error {
        Error::unsupported(format!("{op} on {} has no kernel for {desc}", self.device.name()))
    }
}

/// Arithmetic and traffic of one run of an operation, for benches and estimates.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Cost {
    /// Additions and multiplications of the direct definition.
    pub flops: f64,
    /// Bytes that must at least be read and written.
    pub bytes: f64,
}

/// An operation with `N` outputs. One value of the type is one configured use of it (stride, epsilon, ...).
pub trait Op<const N: usize = 1> {
    /// Its folder's name.
    const NAME: &'static str;

    /// Descriptions of the outputs.
    ///
    /// # Errors
    /// `InvalidArgument` when the inputs do not fit together, `Unsupported` for a type it does not take.
    fn outputs(&self, inputs: &[Desc]) -> Result<[Desc; N]>;

    /// Arithmetic and traffic for these inputs (which `outputs` accepts).
    fn cost(&self, inputs: &[Desc]) -> Cost;

    /// Computes the outputs, which have the descriptions of `outputs` and unspecified elements.
    ///
    /// # Errors
    /// `OutOfMemory` for scratch, `Unsupported` when the device has no kernel.
    fn forward(&self, cx: Cx<'_>, inputs: &[&Tensor], outputs: &mut [Tensor; N]) -> Result<()>;

    /// The rule: gradients of the inputs from those of the outputs, built of plain operations.
    ///
    /// # Errors
    /// `Unsupported` for an operation that has none; those of the operations it is built of.
    fn backward(&self, e: &Eager<'_>, pass: &Backward<'_, N>) -> Result<Gradients> {
        let _ = (e, pass);
        Err(Error::unsupported(format!("{} has no gradient", Self::NAME)))
    }
}

/// What a rule is given.
pub struct Backward<'a, const N: usize> {
    /// The operation's inputs, as [`Op::forward`] had them.
    pub inputs: &'a [&'a Tensor],
    /// Gradients of the outputs; `None` where nothing depends on one. At least one is there.
    pub grads: &'a [Option<Tensor>; N],
    /// For each input, whether its gradient is of use.
    pub wanted: &'a [bool],
    /// What other uses of the inputs gave.
    pub sums: &'a Sums,
}

impl<const N: usize> Backward<'_, N> {
    /// The sum of the gradients that other uses of an input gave so far: a rule that takes it returns it with its own
    /// added, which saves an addition's reading and writing. What no rule takes is added afterwards.
    pub fn take_sum(&self, input: usize) -> Option<Tensor> {
        self.sums.0.borrow_mut().get_mut(input).and_then(Option::take)
    }
}

/// Gradients of an operation's inputs from their other uses, in order.
pub struct Sums(RefCell<Gradients>);

impl Sums {
    fn of(each: impl Iterator<Item = Option<Tensor>>) -> Sums {
        let mut sums = Gradients::default();
        sums.iter_mut().zip(each).for_each(|(slot, sum)| *slot = sum);
        Sums(RefCell::new(sums))
    }

    /// Those that no rule took.
    fn left(self) -> Gradients {
        self.0.into_inner()
    }
}

/// Gradients of the inputs, in order. `None` where none is wanted or none flows.
pub type Gradients = [Option<Tensor>; MAX_INPUTS];

/// The most inputs an operation may have: an index and 31 tables.
pub const MAX_INPUTS: usize = 32;

/// Runs operations.
pub trait Exec {
    /// A tensor as this executor sees it.
    type Value: Clone;

    /// Whether operations are remembered for their rules, of weights that change from step to step. A fused operation
    /// whose rule would compute its inner values again is better run in its parts then.
    const REMEMBERS: bool;

    /// Shape, type and layout of a value.
    fn desc(&self, value: &Self::Value) -> Desc;

    /// Whether values between layers whose factors are of type `operands` are to be bf16: where the device has operations
    /// on such values, and a tape was told that there are rules for them.
    fn keeps_narrow(&self, between: Between, operands: DType) -> bool;

    /// Runs an operation.
    ///
    /// # Errors
    /// The operation's, with its name before the message.
    fn apply<O: Op<N> + 'static, const N: usize>(
        &self,
        op: O,
        inputs: &[&Self::Value],
    ) -> Result<[Self::Value; N]>;

    /// A weight as the file has it.
    ///
    /// # Errors
    /// `OutOfMemory`.
    fn param(&self, param: &Param) -> Result<Self::Value>;

    /// A weight in the form that an operation reads fastest, made at the first use.
    ///
    /// # Errors
    /// Those of `prepare`.
    fn prepared<P: Prepare>(&self, param: &Param, prepare: &P) -> Result<Self::Value>;

    /// Runs a part of a model. A tape that is told to keeps what goes in and what comes out, and runs the part again
    /// when gradients are wanted (Chen et al., 2016): its inner values need no memory until then.
    ///
    /// # Errors
    /// Those of the part.
    fn part<F, const N: usize, const M: usize>(
        &self,
        inputs: [&Self::Value; N],
        part: F,
    ) -> Result<[Self::Value; M]>
    where
        F: Fn(&Self, [&Self::Value; N]) -> Result<[Self::Value; M]> + 'static,
    {
        part(self, inputs)
    }

    /// The same value, but no gradient flows back through it.
    fn detach(&self, value: &Self::Value) -> Self::Value;

    /// The same elements under another shape.
    ///
    /// # Errors
    /// `InvalidArgument` when the counts differ.
    fn reshape(&self, value: &Self::Value, shape: &[usize]) -> Result<Self::Value>;
}
