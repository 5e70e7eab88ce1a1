use super::applied::{Applied, Reshaped, Step};
use super::{Cx, Eager, Exec, Op, Param, Prepare, part};
use crate::backend::Between;
use crate::error::{Error, Result};
use crate::tensor::{DType, Desc, Tensor};
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

/// Runs an operation and remembers it: training.
///
/// Values of parameters come from the trainer, by name, so that a model built once sees each step's weights;
/// a parameter the trainer does not have is frozen and comes from the file.
pub struct Tape<'a> {
    eager: Eager<'a>,
    weights: &'a BTreeMap<String, Tensor>,
    /// Weights that another step trains: this step's values, and no gradient.
    others: Option<&'a BTreeMap<String, Tensor>>,
    add: Sum,
    /// Whether parts are run again rather than kept.
    checkpoints: bool,
    /// Whether values may be bf16.
    narrow: bool,
    /// Of a run that records nothing: the weights that it met.
    met: Option<RefCell<BTreeSet<String>>>,
    record: RefCell<Record<'a>>,
}

/// How two gradients of one value are added: an operation, which this floor does not know.
pub type Sum = fn(&Eager<'_>, &Tensor, &Tensor) -> Result<Tensor>;

#[derive(Default)]
pub(super) struct Record<'a> {
    steps: Vec<Box<dyn Step<'a> + 'a>>,
    /// Values that gradients may flow to so far.
    values: usize,
    leaves: BTreeMap<String, Var>,
}

/// A tensor and its place on the tape; one without a place is a constant.
#[derive(Clone)]
pub struct Var {
    pub(super) tensor: Tensor,
    pub(super) place: Option<usize>,
}

impl Var {
    /// The elements.
    pub fn tensor(&self) -> &Tensor {
        &self.tensor
    }
}

impl Record<'_> {
    /// Hands out the gradients of the leaves, last one first, that none of the steps left reads: `before` is the place
    /// from which on all are done with.
    fn finished(
        &self,
        waiting: &mut Vec<(usize, &String)>,
        before: usize,
        grads: &mut [Option<Tensor>],
        sink: &mut dyn FnMut(&str, Tensor) -> Result<()>,
    ) -> Result<()> {
        while let Some((place, name)) = waiting.pop_if(|(place, _)| *place >= before) {
            if let Some(grad) = grads[place].take() {
                sink(name, grad)?;
            }
        }
        Ok(())
    }

    fn of_leaves(&self, grads: &mut [Option<Tensor>]) -> BTreeMap<String, Tensor> {
        let of_leaf = |(name, var): (&String, &Var)| Some((name.clone(), grads[var.place?].take()?));
        self.leaves.iter().filter_map(of_leaf).collect()
    }
}

impl<'a> Tape<'a> {
    /// An empty tape over the trainer's `weights`.
    pub fn new(eager: Eager<'a>, weights: &'a BTreeMap<String, Tensor>, add: Sum) -> Tape<'a> {
        Tape {
            eager,
            weights,
            others: None,
            add,
            checkpoints: false,
            narrow: false,
            met: None,
            record: RefCell::default(),
        }
    }

    /// The same tape, on which parameters that are not among its weights have the values of `others` where they are
    /// there: those of a network that has its own steps.
    pub fn with_others(self, others: &'a BTreeMap<String, Tensor>) -> Tape<'a> {
        Tape { others: Some(others), ..self }
    }

    /// Runs without being recorded.
    pub fn eager(&self) -> &Eager<'a> {
        &self.eager
    }

    /// Where it runs and with what memory.
    pub fn cx(&self) -> Cx<'a> {
        self.eager.cx()
    }

    /// A value that no gradient flows to: data, or the same value cut off from what made it.
    pub fn constant(&self, tensor: Tensor) -> Var {
        Var { tensor, place: None }
    }

    /// A value whose gradient [`Tape::backward`] reports under `name`.
    pub fn leaf(&self, name: &str, tensor: Tensor) -> Var {
        let mut record = self.record.borrow_mut();
        if let Some(var) = record.leaves.get(name) {
            return var.clone();
        }
        let var = Var { tensor, place: Some(record.values) };
        record.values += 1;
        record.leaves.insert(name.to_string(), var.clone());
        var
    }

    /// Gradients of all leaves with respect to `value`, given the gradient of what is minimised with respect
    /// to it. Leaves that `value` does not depend on are absent. The tape may be walked again.
    ///
    /// # Errors
    /// Those of the operations' rules; `InvalidArgument` when the seed has not the value's shape.
    pub fn backward(&self, value: &Var, seed: Tensor) -> Result<BTreeMap<String, Tensor>> {
        let record = self.record.borrow();
        let mut grads = self.seeded(&record, &[(value, seed)])?;
        for step in record.steps.iter().rev() {
            step.backward(self, &mut grads)?;
        }
        Ok(record.of_leaves(&mut grads))
    }

    /// As [`Tape::backward`] for several values at once, the gradient of each given. Each operation is forgotten as
    /// soon as its rule has run, so that its memory serves the next.
    ///
    /// # Errors
    /// As [`Tape::backward`].
    pub fn into_gradients(self, values: &[(&Var, Tensor)]) -> Result<BTreeMap<String, Tensor>> {
        let grads = self.seeded(&self.record.borrow(), values)?;
        self.walk(grads)
    }

    /// As [`Tape::into_gradients`], but each gradient is given to `sink` as soon as no rule will add to it, those of the
    /// last weights first: what is done with it can begin while the walk goes on.
    ///
    /// # Errors
    /// As [`Tape::backward`]; those of `sink`.
    pub fn gradients_as_made(
        self,
        values: &[(&Var, Tensor)],
        sink: &mut dyn FnMut(&str, Tensor) -> Result<()>,
    ) -> Result<()> {
        let mut grads = self.seeded(&self.record.borrow(), values)?;
        let mut record = self.record.take();
        let mut steps = std::mem::take(&mut record.steps);
        let mut waiting: Vec<(usize, &String)> =
            record.leaves.iter().filter_map(|(name, var)| Some((var.place?, name))).collect();
        waiting.sort_unstable();
        while let Some(step) = steps.pop() {
            step.backward(&self, &mut grads)?;
            // What stands behind the first output of a step was not there when the step was recorded.
            let before = steps.last().map_or(0, |step| step.first());
            record.finished(&mut waiting, before, &mut grads, sink)?;
        }
        record.finished(&mut waiting, 0, &mut grads, sink)
    }

    /// The same for values that nobody holds any more, by their places.
    pub(super) fn into_gradients_at(
        self,
        seeds: impl Iterator<Item = (Option<usize>, Tensor)>,
    ) -> Result<BTreeMap<String, Tensor>> {
        let mut grads: Vec<Option<Tensor>> = vec![None; self.record.borrow().values];
        for (place, seed) in seeds {
            if let Some(place) = place {
                let desc = *seed.desc();
                self.accumulate(&mut grads[place], seed, &desc)?;
            }
        }
        self.walk(grads)
    }

    fn walk(self, mut grads: Vec<Option<Tensor>>) -> Result<BTreeMap<String, Tensor>> {
        let mut record = self.record.take();
        while let Some(step) = record.steps.pop() {
            step.backward(&self, &mut grads)?;
        }
        Ok(record.of_leaves(&mut grads))
    }

    /// The gradient of one leaf, as [`Tape::backward`] would give it among all. The walk ends where nothing before it
    /// can depend on the leaf: for the weights of the last layer that is soon.
    ///
    /// # Errors
    /// As [`Tape::backward`].
    pub fn gradient_of(&self, values: &[(&Var, Tensor)], leaf: &str) -> Result<Option<Tensor>> {
        let record = self.record.borrow();
        let mut grads = self.seeded(&record, values)?;
        let Some(place) = record.leaves.get(leaf).and_then(|var| var.place) else { return Ok(None) };
        for step in record.steps.iter().rev().take_while(|step| step.first() > place) {
            step.backward(self, &mut grads)?;
        }
        Ok(grads[place].take())
    }

    /// Slots for the gradients of all values, those of `values` filled.
    fn seeded(&self, record: &Record<'a>, values: &[(&Var, Tensor)]) -> Result<Vec<Option<Tensor>>> {
        let mut grads: Vec<Option<Tensor>> = vec![None; record.values];
        for (value, seed) in values {
            if seed.shape() != value.tensor.shape() {
                let (got, want) = (seed.shape(), value.tensor.shape());
                return Err(Error::invalid(format!("a gradient of shape {got} for a value of shape {want}")));
            }
            if let Some(place) = value.place {
                self.accumulate(&mut grads[place], seed.clone(), value.tensor.desc())?;
            }
        }
        Ok(grads)
    }

    /// The same tape, which keeps of the parts of a model only what goes in and comes out.
    pub fn with_checkpoints(self, checkpoints: bool) -> Tape<'a> {
        Tape { checkpoints, ..self }
    }

    /// The same tape, on which values between layers may be bf16, and their gradients with them, and are where factors are
    /// and the device gains by it: for networks all of whose operations have rules for them. Weights and their
    /// gradients are f32.
    pub fn with_narrow_values(self) -> Tape<'a> {
        Tape { narrow: true, ..self }
    }

    /// An empty tape over the same weights, on which parts are kept as they are.
    pub(super) fn fresh(&self) -> Tape<'a> {
        Tape { checkpoints: false, met: None, record: RefCell::default(), ..*self }
    }

    /// The names of the trained weights that something reads, and what it gives: nothing is recorded.
    pub(super) fn dry<T>(&self, run: impl FnOnce(&Tape<'a>) -> Result<T>) -> Result<(T, BTreeSet<String>)> {
        let tape = Tape { met: Some(RefCell::default()), ..self.fresh() };
        let out = run(&tape)?;
        Ok((out, tape.met.map(RefCell::into_inner).unwrap_or_default()))
    }

    /// Records a step of `tensors.len()` outputs, which `make` is told the place of.
    pub(super) fn push<const M: usize>(
        &self,
        tensors: [Tensor; M],
        make: impl FnOnce(usize) -> Box<dyn Step<'a> + 'a>,
    ) -> [Var; M] {
        let mut record = self.record.borrow_mut();
        let first = record.values;
        record.values += M;
        record.steps.push(make(first));
        let mut place = first;
        tensors.map(|tensor| {
            place += 1;
            Var { tensor, place: Some(place - 1) }
        })
    }

    /// A trained weight by its name.
    pub(super) fn trained(&self, name: &str) -> Option<Var> {
        self.weights.get(name).map(|tensor| self.leaf(name, tensor.clone()))
    }

    /// Adds to a gradient.
    pub(super) fn accumulate(&self, slot: &mut Option<Tensor>, grad: Tensor, desc: &Desc) -> Result<()> {
        if grad.shape() != &desc.shape {
            return Err(Error::internal(format!("a gradient of shape {} for {desc}", grad.shape())));
        }
        *slot = Some(match slot.take() {
            Some(sum) => (self.add)(&self.eager, &sum, &grad)?,
            None => grad,
        });
        Ok(())
    }

    /// What a parameter is on this tape.
    fn weight(&self, param: &Param) -> Result<Var> {
        if let Some(tensor) = self.weights.get(param.name()) {
            if let Some(met) = &self.met {
                met.borrow_mut().insert(param.name().to_string());
                return Ok(self.constant(tensor.clone()));
            }
            return Ok(self.leaf(param.name(), tensor.clone()));
        }
        match self.others.and_then(|others| others.get(param.name())) {
            Some(tensor) => Ok(self.constant(tensor.clone())),
            None => Ok(self.constant(param.plain(self.cx())?)),
        }
    }
}

impl<'a> Exec for Tape<'a> {
    type Value = Var;
    const REMEMBERS: bool = true;

    fn part<F, const N: usize, const M: usize>(&self, inputs: [&Var; N], part: F) -> Result<[Var; M]>
    where
        F: Fn(&Self, [&Var; N]) -> Result<[Var; M]> + 'static,
    {
        if !self.checkpoints { part(self, inputs) } else { part::run(self, inputs, part) }
    }

    fn desc(&self, value: &Var) -> Desc {
        *value.tensor.desc()
    }

    fn keeps_narrow(&self, between: Between, operands: DType) -> bool {
        self.narrow && self.cx().device.keeps_narrow(between, operands, Self::REMEMBERS)
    }

    fn apply<O: Op<N> + 'static, const N: usize>(&self, op: O, inputs: &[&Var]) -> Result<[Var; N]> {
        let mut tensors =
            [inputs.first().map_or_else(|| Err(Error::internal("no inputs")), |v| Ok(&v.tensor))?;
                super::MAX_INPUTS];
        let count = inputs.len().min(tensors.len());
        tensors.iter_mut().zip(inputs).for_each(|(slot, v)| *slot = &v.tensor);
        let outputs = self.eager.run(&op, &tensors[..count])?;
        if inputs.iter().all(|v| v.place.is_none()) {
            return Ok(outputs.map(|tensor| Var { tensor, place: None }));
        }
        let inputs = inputs.iter().map(|&v| v.clone()).collect();
        Ok(self.push(outputs, |first| Box::new(Applied::<O, N> { op, inputs, first })))
    }

    fn param(&self, param: &Param) -> Result<Var> {
        self.weight(param)
    }

    /// The plain weight: a trained one changes at every step, so the operation packs it itself, and the rules through
    /// a frozen one are written for it as it is.
    fn prepared<P: Prepare>(&self, param: &Param, _: &P) -> Result<Var> {
        self.weight(param)
    }

    fn detach(&self, value: &Var) -> Var {
        self.constant(value.tensor.clone())
    }

    fn reshape(&self, value: &Var, shape: &[usize]) -> Result<Var> {
        let tensor = self.eager.reshape(&value.tensor, shape)?;
        if value.place.is_none() {
            return Ok(Var { tensor, place: None });
        }
        let input = value.clone();
        let [var] = self.push([tensor], |place| Box::new(Reshaped { input, place }));
        Ok(var)
    }
}
