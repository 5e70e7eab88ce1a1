use super::Group;
use crate::error::{Error, Result};
use crate::exec::{Backward, Cost, Cx, Eager, Gradients, Op};
use crate::nn::Statistics;
use crate::ops::group_norm::Coefficients;
use crate::tensor::{Desc, Tensor};

/// The statistics of the batches of all processes together, each of one size; of one process its own.
#[derive(Clone)]
pub struct OfAll(pub Group);

impl Statistics for OfAll {
    type Op = SharedCoefficients;

    fn of(&self, own: Coefficients) -> SharedCoefficients {
        SharedCoefficients { group: self.0.clone(), own }
    }

    fn batches(&self) -> usize {
        self.0.size()
    }
}

/// [`Coefficients`] of what all processes have.
///
/// Inputs and output: as those of `own`, x of one size for all, an image and a group a channel; weight and bias are the
/// same for all. A gradient is of the sum of the processes' losses, and weight's and bias's are each process's equal
/// share of that: summed over the processes, as all gradients are, they are whole.
#[derive(Clone)]
pub struct SharedCoefficients {
    group: Group,
    own: Coefficients,
}

impl SharedCoefficients {
    /// The coefficients for weight 1 and bias 0 of all positions, and the sum of `more` over the processes. All take
    /// part.
    fn unit(&self, e: &Eager<'_>, all: &[&Tensor], more: &[f32]) -> Result<(Vec<f32>, Vec<f32>)> {
        let own = self.own.unit(e, all)?.on_host()?;
        let own = own.data::<f32>()?;
        let eps = f64::from(self.own.eps);
        let (inverses, shifts) = own.split_at(own.len() / 2);
        // The mean, then the variance.
        let means = inverses.iter().zip(shifts).map(|(&r, &shift)| -f64::from(shift) / f64::from(r));
        let variances = inverses.iter().map(|&r| 1.0 / (f64::from(r) * f64::from(r)) - eps);
        let mine: Vec<f64> = means.chain(variances).chain(more.iter().map(|&x| f64::from(x))).collect();
        let found = self.group.gather_numbers(&mine)?;
        let mean_of =
            |of: &dyn Fn(&[f64]) -> f64| found.iter().map(|each| of(each)).sum::<f64>() / found.len() as f64;
        let channels = inverses.len();
        let mut unit = vec![0.0; 2 * channels];
        for channel in 0..channels {
            let mean = mean_of(&|each| each[channel]);
            let variance = mean_of(&|each| {
                let apart = each[channel] - mean;
                each[channels + channel] + apart * apart
            });
            let inverse = 1.0 / (variance + eps).sqrt();
            unit[channel] = inverse as f32;
            unit[channels + channel] = (-mean * inverse) as f32;
        }
        let sum = |at: usize| found.iter().map(|each| each[2 * channels + at]).sum::<f64>() as f32;
        Ok((unit, (0..more.len()).map(sum).collect()))
    }
}

impl Op for SharedCoefficients {
    const NAME: &'static str = "shared_batch_norm";

    fn outputs(&self, all: &[Desc]) -> Result<[Desc; 1]> {
        let found = Op::outputs(&self.own, all)?;
        match all[0].shape[..] {
            [1, _, _, channels] if channels == self.own.groups && all.len() == 3 => Ok(found),
            _ => Err(Error::internal("expected one image, and a group a channel")),
        }
    }

    fn cost(&self, all: &[Desc]) -> Cost {
        self.own.cost(all)
    }

    fn forward(&self, cx: Cx<'_>, all: &[&Tensor], outputs: &mut [Tensor; 1]) -> Result<()> {
        if self.group.size() == 1 {
            return self.own.forward(cx, all, outputs);
        }
        let (mut unit, _) = self.unit(&Eager::new(cx.device, cx.workspace), all, &[])?;
        let (weight, bias) = (all[1].on_host()?, all[2].on_host()?);
        let (inverses, shifts) = unit.split_at_mut(self.own.groups);
        for ((weight, bias), (scale, shift)) in
            weight.data::<f32>()?.iter().zip(bias.data::<f32>()?).zip(inverses.iter_mut().zip(shifts))
        {
            (*scale, *shift) = (*scale * weight, bias + *shift * weight);
        }
        outputs[0] = written(cx, &outputs[0], &unit)?;
        Ok(())
    }

    fn backward(&self, e: &Eager<'_>, pass: &Backward<'_, 1>) -> Result<Gradients> {
        if self.group.size() == 1 {
            return self.own.backward(e, pass);
        }
        let grad = pass.grads[0].as_ref().ok_or_else(|| Error::internal("no gradient"))?;
        let (unit, sums) = self.unit(e, pass.inputs, grad.on_host()?.data::<f32>()?)?;
        let (unit, sums) = (written(e.cx(), grad, &unit)?, written(e.cx(), grad, &sums)?);
        let x = pass.inputs[0].shape();
        let mut found = self.own.rule(e, pass, &unit, &sums, x[1] * x[2] * self.group.size())?;
        for gradient in found[1..].iter_mut().flatten() {
            let share = 1.0 / self.group.size() as f32;
            let part: Vec<f32> = gradient.on_host()?.data::<f32>()?.iter().map(|x| x * share).collect();
            *gradient = written(e.cx(), gradient, &part)?;
        }
        Ok(found)
    }
}

/// A tensor like another, of these numbers.
fn written(cx: Cx<'_>, like: &Tensor, numbers: &[f32]) -> Result<Tensor> {
    cx.written::<f32>(*like.shape(), |to| {
        to.copy_from_slice(numbers);
        Ok(())
    })
}
