//! The kernels take a table, a line a tensor; a single tensor is a table of one.

use super::{Adam, Average, Moved};
use crate::backend::cuda::{Arg, Cuda, Launch};
use crate::error::{Error, Result};
use crate::exec::Cx;
use crate::ops::launch::{PART, THREADS, int};
use crate::tensor::{DType, Desc, Tensor};

/// `Line` of `cuda/optimizer.cu`, but for the number of its first block.
struct Line {
    from: [Arg; 4],
    to: [Arg; 3],
    count: usize,
    /// What weight decay leaves.
    keep: f32,
    /// The gradient's type.
    gradient: DType,
}

/// Words of 64 bits of a line.
const WORDS: usize = 11;

/// Lines in the device's memory, and a block for each part of them.
struct Table {
    lines: Tensor,
    blocks: usize,
}

impl Table {
    fn new(cx: Cx<'_>, lines: &[Line]) -> Result<Table> {
        let mut blocks = 0;
        let lines = cx.written::<i64>([lines.len(), WORDS], |words| {
            for (words, line) in words.chunks_exact_mut(WORDS).zip(lines) {
                let pointers = line.from.iter().chain(&line.to);
                let narrow = usize::from(line.gradient == DType::BF16);
                let numbers = [line.count.into(), blocks.into(), line.keep.into(), narrow.into()];
                for (word, arg) in words.iter_mut().zip(pointers.chain(&numbers)) {
                    *word = arg.bits().cast_signed();
                }
                blocks += line.count.div_ceil(PART);
            }
            Ok(())
        })?;
        Ok(Table { lines, blocks })
    }

    fn len(&self) -> usize {
        self.lines.shape()[0]
    }

    /// A block a part.
    fn launch(&self, cuda: &Cuda, kernel: &str, more: &[Arg]) -> Result<()> {
        let mut args = [Arg::NONE; 16];
        let all = [Arg::read(&self.lines)?, int(self.len())?];
        for (slot, arg) in args.iter_mut().zip(all.iter().chain(more)) {
            *slot = *arg;
        }
        cuda.launch(kernel, Launch::blocks(self.blocks, THREADS as u32), &args[..2 + more.len()])
    }
}

fn moves(op: &Adam, cx: Cx<'_>, cuda: &Cuda, lines: &[Line]) -> Result<()> {
    let f = op.factors();
    let factors = [f.rate, f.first, f.second, f.fresh, f.root, f.eps, f.scale].map(Arg::from);
    Table::new(cx, lines)?.launch(cuda, "fqgan_optimizer_adam_f32", &factors)
}

fn averages(op: &Average, cx: Cx<'_>, cuda: &Cuda, lines: &[Line]) -> Result<()> {
    Table::new(cx, lines)?.launch(cuda, "fqgan_optimizer_average_f32", &[(1.0 - op.decay).into()])
}

/// The lengths of tensors, one after the other in `out`.
fn measures(cx: Cx<'_>, cuda: &Cuda, all: &[&Tensor], out: &mut Tensor) -> Result<()> {
    let line = |x: &&Tensor| {
        let none = Arg::NONE;
        Ok(Line {
            from: [Arg::read(x)?, none, none, none],
            to: [none; 3],
            count: x.shape().count(),
            keep: 0.0,
            gradient: x.dtype(),
        })
    };
    let table = Table::new(cx, &all.iter().map(line).collect::<Result<Vec<_>>>()?)?;
    let mut part = cx.workspace.tensor(Desc::plain([table.blocks.max(1)], DType::F64))?;
    table.launch(cuda, "fqgan_optimizer_length_part_f32", &[Arg::write(&mut part)?])?;
    let args = [Arg::read(&table.lines)?, Arg::read(&part)?, Arg::write(out)?];
    cuda.launch("fqgan_optimizer_length_finish_f32", Launch::blocks(table.len(), THREADS as u32), &args)
}

pub(super) fn adam(op: &Adam, cx: Cx<'_>, cuda: &Cuda, all: &[&Tensor], out: &mut [Tensor; 3]) -> Result<()> {
    let [weight, gradient, m, v] = *all.first_chunk().ok_or_else(lost)?;
    let count = weight.shape().count();
    let from = [Arg::read(weight)?, Arg::read(gradient)?, Arg::read(m)?, Arg::read(v)?];
    let [weight, m, v] = out;
    let to = [Arg::write(weight)?, Arg::write(m)?, Arg::write(v)?];
    moves(op, cx, cuda, &[Line { from, to, count, keep: op.factors().keep, gradient: gradient.dtype() }])
}

pub(super) fn average(
    op: &Average,
    cx: Cx<'_>,
    cuda: &Cuda,
    all: &[&Tensor],
    out: &mut Tensor,
) -> Result<()> {
    let from = [Arg::read(all[0])?, Arg::read(all[1])?, Arg::NONE, Arg::NONE];
    let to = [Arg::write(out)?, Arg::NONE, Arg::NONE];
    averages(op, cx, cuda, &[Line { from, to, count: out.shape().count(), keep: 0.0, gradient: DType::F32 }])
}

pub(super) fn length(cx: Cx<'_>, cuda: &Cuda, x: &Tensor, out: &mut Tensor) -> Result<()> {
    measures(cx, cuda, &[x], out)
}

/// Where new elements of a tensor go: over the old ones, or, where somebody else reads those, to memory that takes their
/// place. `old` keeps what was replaced: what is dropped is handed out again, and the kernel has yet to read it.
fn place(cx: Cx<'_>, tensor: &mut Tensor, old: &mut Vec<Tensor>) -> Result<Arg> {
    if let Ok(here) = Arg::write(tensor) {
        return Ok(here);
    }
    let fresh = cx.workspace.tensor(*tensor.desc())?;
    old.push(std::mem::replace(tensor, fresh));
    Arg::write(tensor)
}

pub(super) fn step(op: &Adam, cx: Cx<'_>, cuda: &Cuda, all: &mut [Moved<'_>]) -> Result<()> {
    let mut old = Vec::new();
    let line = |one: &mut Moved<'_>| {
        let from =
            [Arg::read(one.weight)?, Arg::read(one.gradient)?, Arg::read(one.first)?, Arg::read(one.second)?];
        let (count, op) = (one.weight.shape().count(), Adam { decay: one.decay, ..*op });
        let to = [
            place(cx, one.weight, &mut old)?,
            place(cx, one.first, &mut old)?,
            place(cx, one.second, &mut old)?,
        ];
        Ok(Line { from, to, count, keep: op.factors().keep, gradient: one.gradient.dtype() })
    };
    let lines = all.iter_mut().map(line).collect::<Result<Vec<_>>>()?;
    moves(op, cx, cuda, &lines)
}

pub(super) fn move_averages(
    op: &Average,
    cx: Cx<'_>,
    cuda: &Cuda,
    all: &mut [(&mut Tensor, &Tensor)],
) -> Result<()> {
    let mut old = Vec::new();
    let line = |(average, weight): &mut (&mut Tensor, &Tensor)| {
        let from = [Arg::read(average)?, Arg::read(weight)?, Arg::NONE, Arg::NONE];
        let to = [place(cx, average, &mut old)?, Arg::NONE, Arg::NONE];
        Ok(Line { from, to, count: weight.shape().count(), keep: 0.0, gradient: DType::F32 })
    };
    let lines = all.iter_mut().map(line).collect::<Result<Vec<_>>>()?;
    averages(op, cx, cuda, &lines)
}

pub(super) fn lengths(cx: Cx<'_>, cuda: &Cuda, all: &[&Tensor]) -> Result<Vec<f64>> {
    let mut found = cx.workspace.tensor(Desc::plain([all.len()], DType::F32))?;
    measures(cx, cuda, all, &mut found)?;
    Ok(cx.download(&found)?.data::<f32>()?.iter().map(|&length| f64::from(length)).collect())
}

fn lost() -> Error {
    Error::internal("an input was lost")
}
