use super::{Function, Score};
use crate::backend::cuda::{Arg, Cuda};
use crate::error::Result;
use crate::exec::Cx;
use crate::ops::launch::{map, sum, typed};
use crate::tensor::Tensor;

/// The function's number in `cuda/adversarial.cu`, and the sign.
fn score(op: Score) -> [Arg; 2] {
    let function = match op.function {
        Function::Linear => 0,
        Function::Hinge => 1,
        Function::Softplus => 2,
    };
    [function.into(), op.sign().into()]
}

pub(super) fn forward(op: Score, cx: Cx<'_>, cuda: &Cuda, logits: &Tensor, out: &mut Tensor) -> Result<()> {
    let factor = 1.0 / logits.shape().count() as f64;
    let kernel = typed(logits.dtype(), ["fqgan_adversarial_part_f32", "fqgan_adversarial_part_bf16"]);
    sum(cx, cuda, (kernel, &[logits], &score(op)), (factor, false), out)
}

pub(super) fn backward(op: Score, cuda: &Cuda, all: &[&Tensor], out: &mut Tensor) -> Result<()> {
    let count = out.shape().count();
    let [function, sign] = score(op);
    let args = [Arg::read(all[0])?, Arg::read(all[1])?, Arg::write(out)?, count.into(), function, sign];
    let kernel = typed(out.dtype(), ["fqgan_adversarial_backward_f32", "fqgan_adversarial_backward_bf16"]);
    cuda.launch(kernel, map(count), &args)
}
