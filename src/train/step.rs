//! One step of the tokenizer's training: loss, gradients, optimiser, and the discriminator's turn.

use super::collective::{Group, Reduction};
use super::network::{Pass, TokenizerNetwork};
use super::optim::{self, Norms, Optimizer, Tensors};
use super::recipe::Recipe;
use super::report::Report;
use super::usage::Usage;
use super::{add, loss, scalar, value};
use crate::backend::{Device, Workspace};
use crate::error::{Error, Result};
use crate::exec::{Eager, Tape, Var};
use crate::ops::optimizer::Length;
use crate::tensor::Tensor;
use crate::weights::Source;

/// All that a run changes.
pub struct State {
    /// Steps that were begun, those that moved nothing included.
    pub steps: u64,
    /// What each sub-codebook gave out last.
    pub usage: Vec<Usage>,
    /// The tokenizer's weights and those of its prediction heads.
    pub weights: Tensors,
    /// Their moments.
    pub optimizer: Optimizer,
    /// Their average, where the recipe wants one.
    pub average: Tensors,
    /// The discriminator's weights.
    pub discriminator: Tensors,
    /// Their moments.
    pub discriminator_optimizer: Optimizer,
    /// The statistics that the discriminator keeps.
    pub statistics: Tensors,
}

/// The two gradients of a step, each to be multiplied with `scale`.
pub struct Gradients {
    /// 1 over the parts that they are the sums of.
    pub scale: f64,
    /// Of the tokenizer's weights.
    pub generator: Tensors,
    /// Of the discriminator's.
    pub discriminator: Tensors,
}

/// A tokenizer in training.
pub struct Trainer {
    recipe: Recipe,
    device: Device,
    workspace: Workspace,
    network: TokenizerNetwork,
    /// The largest share of each sub-codebook that was in use since the last warning.
    most_used: Vec<f64>,
    /// What the steps change.
    pub state: State,
}

/// The weight whose gradients the adaptive weight compares.
const LAST: &str = "decoder.conv_out.weight";

impl Trainer {
    /// A run that begins with these weights.
    ///
    /// # Errors
    /// Those of reading; `OutOfMemory`.
    pub fn new(
        recipe: &Recipe,
        device: &Device,
        network: TokenizerNetwork,
        weights: &Source,
        discriminator: Option<&Source>,
    ) -> Result<Trainer> {
        let read = |name: &str| Ok((name.to_string(), weights.tensor(name)?.to_f32()?));
        let config = network.config();
        let mut state = State {
            steps: 0,
            usage: vec![Usage::new(config.codebook_size); config.branches.len()],
            weights: network.trained(weights).map(read).collect::<Result<_>>()?,
            optimizer: Optimizer::new(&recipe.optimizer),
            average: Tensors::new(),
            discriminator: match discriminator {
                Some(source) => network.discriminator_weights(source)?,
                None => Tensors::new(),
            },
            discriminator_optimizer: Optimizer::new(&recipe.discriminator_optimizer),
            statistics: Tensors::new(),
        };
        for begin in &recipe.freeze {
            if !state.weights.keys().any(|name| name.starts_with(begin)) {
                return Err(Error::invalid(format!(
                    "recipe: freeze: no weight's name begins with {begin:?}"
                )));
            }
        }
        state.keep(device)?;
        let workspace = device.workspace(None).tight();
        let (recipe, device, most_used) = (recipe.clone(), device.clone(), vec![0.0; state.usage.len()]);
        Ok(Trainer { recipe, device, workspace, network, most_used, state })
    }

    /// Goes on from where a checkpoint was written.
    ///
    /// # Errors
    /// As [`State::restore`].
    pub fn restore(&mut self, source: &Source) -> Result<()> {
        self.state.restore(source)?;
        self.state.keep(&self.device)
    }

    /// The same run, whose batches are shared among processes.
    pub fn with_group(mut self, group: &Group) -> Trainer {
        self.network.group = group.clone();
        self.state.optimizer.share(group);
        self.state.discriminator_optimizer.share(group);
        self
    }

    /// The processes that share the batches.
    pub fn group(&self) -> &Group {
        &self.network.group
    }

    /// The network that is trained.
    pub fn network(&self) -> &TokenizerNetwork {
        &self.network
    }

    /// Bytes of memory beside what the steps change: activations, gradients.
    pub fn workspace_bytes(&self) -> usize {
        self.workspace.bytes()
    }

    /// One step on pictures (n, H, W, 3) in \[-1, 1\]. Weights stay where they are when a loss or a gradient is not
    /// finite: see [`Report::broken`]. The report has the learning rate, `rate`, and `usage_vis`, ... too.
    ///
    /// # Errors
    /// The operations'; `OutOfMemory`.
    pub fn step(&mut self, pictures: &Tensor) -> Result<Report> {
        let game = &self.recipe.adversarial;
        let weight = match self.state.steps < game.start {
            true if game.wait => None,
            true => Some(0.0),
            false => Some(game.weight),
        };
        self.workspace.take_flops();
        let parts = parts(pictures, self.recipe.run.accumulate)?;
        let group = self.group().clone();
        let mut reduction = (group.size() > 1).then(|| Reduction::new(&group));
        let sent = if parts.len() == 1 { reduction.as_mut() } else { None };
        let (mut report, mut gradients) = self.pass(&parts[0], weight, sent)?;
        for part in &parts[1..] {
            let (more, others) = self.gradients(part, weight)?;
            report.add(&more);
            let e = Eager::new(&self.device, &self.workspace);
            optim::sum(&e, &mut gradients.generator, others.generator)?;
            optim::sum(&e, &mut gradients.discriminator, others.discriminator)?;
        }
        if let Some(reduction) = reduction {
            let state = &self.state;
            let names: Vec<&String> = state.weights.keys().chain(state.discriminator.keys()).collect();
            let e = Eager::new(&self.device, &self.workspace);
            let networks = &mut [&mut gradients.generator, &mut gradients.discriminator];
            reduction.sum_step(&mut report, networks, &names, &e)?;
        }
        let shares = parts.len() * group.size();
        if shares > 1 {
            self.mean(shares, &mut report, &mut gradients)?;
        }
        if report.broken().is_none() {
            self.apply(gradients, &report)?;
        }
        report.push("rate", self.recipe.optimizer.rate * self.recipe.run.rate(self.state.steps));
        self.look_at_usage(&mut report);
        self.state.steps += 1;
        report.flops = self.workspace.take_flops();
        Ok(report)
    }

    /// The work of a step of the run's later part, when all terms count; its gradients move the weights.
    ///
    /// # Errors
    /// As [`Trainer::step`].
    pub fn try_step(&mut self, pictures: &Tensor) -> Result<()> {
        let (report, gradients) = self.gradients(pictures, Some(self.recipe.adversarial.weight))?;
        self.apply(gradients, &report)
    }

    /// Reports how much of each sub-codebook is in use, and warns where that fell by a quarter.
    fn look_at_usage(&mut self, report: &mut Report) {
        let branches = self.network.config().branches.iter().zip(&self.state.usage);
        for ((branch, usage), most) in branches.zip(&mut self.most_used) {
            let share = usage.share();
            report.push(format!("usage{}", branch.suffix()), share);
            if usage.is_full() && share < 0.75 * *most {
                report.warnings.push(format!(
                    "of the codes of sub-codebook {:?} {:.0} % are in use, before {:.0} %",
                    branch.name,
                    100.0 * share,
                    100.0 * *most
                ));
                *most = share;
            }
            *most = most.max(share);
        }
    }

    /// Makes sums over parts means.
    fn mean(&self, parts: usize, report: &mut Report, gradients: &mut Gradients) -> Result<()> {
        let e = Eager::new(&self.device, &self.workspace);
        gradients.scale = 1.0 / parts as f64;
        report.divide(parts as f64);
        let norms = Norms::of_mean(&e, &gradients.generator, parts)?;
        report.set("grad_norm", norms.total);
        report.gradients = norms.each;
        if !gradients.discriminator.is_empty() {
            let norms = Norms::of_mean(&e, &gradients.discriminator, parts)?;
            report.set("discriminator_grad_norm", norms.total);
            report.discriminator_gradients = norms.each;
        }
        Ok(())
    }

    /// The losses and their gradients, weights as they are; `adversarial` is the weight of the game for both sides, and
    /// without one there is no game.
    ///
    /// # Errors
    /// As [`Trainer::step`].
    pub fn gradients(&mut self, pictures: &Tensor, adversarial: Option<f64>) -> Result<(Report, Gradients)> {
        self.pass(pictures, adversarial, None)
    }

    /// The same; the tokenizer's gradients go to the other processes as they are made, if they are to.
    fn pass(
        &mut self,
        pictures: &Tensor,
        adversarial: Option<f64>,
        reduction: Option<&mut Reduction<'_>>,
    ) -> Result<(Report, Gradients)> {
        let mut report = Report::default();
        let pictures = &self.device.upload(pictures, &self.workspace)?;
        let (generator, reconstruction, normed, codes) =
            self.generator(pictures, adversarial, &mut report, reduction)?;
        for (usage, codes) in self.state.usage.iter_mut().zip(codes) {
            usage.add(&self.network.group.gather_codes(codes.on_host()?.data()?)?)?;
        }
        let discriminator = match adversarial.filter(|_| self.network.discriminator.is_some()) {
            Some(weight) => {
                self.keep(&normed)?;
                self.discriminator(pictures, &reconstruction, weight, &mut report)?
            }
            None => Tensors::new(),
        };
        Ok((report, Gradients { scale: 1.0, generator, discriminator }))
    }

    /// Moves the weights.
    ///
    /// # Errors
    /// As [`Trainer::step`].
    pub fn apply(&mut self, gradients: Gradients, report: &Report) -> Result<()> {
        let e = Eager::new(&self.device, &self.workspace);
        let state = &mut self.state;
        let norms = |each: &std::collections::BTreeMap<String, f64>, total: &str| Norms {
            total: report.get(total).unwrap_or(0.0),
            each: each.clone(),
        };
        let scales = [self.recipe.run.rate(state.steps), gradients.scale];
        let of_generator = norms(&report.gradients, "grad_norm");
        state.optimizer.step(&e, &mut state.weights, gradients.generator, &of_generator, scales)?;
        if let Some(decay) = self.recipe.optimizer.average {
            optim::average(&e, decay, &mut state.average, &state.weights)?;
        }
        if !gradients.discriminator.is_empty() {
            let norms = norms(&report.discriminator_gradients, "discriminator_grad_norm");
            let optimizer = &mut state.discriminator_optimizer;
            optimizer.step(&e, &mut state.discriminator, gradients.discriminator, &norms, scales)?;
        }
        Ok(())
    }

    /// The tokenizer's gradients, its pictures, what the discriminator's norms saw of them, and the codes.
    fn generator(
        &self,
        pictures: &Tensor,
        adversarial: Option<f64>,
        report: &mut Report,
        reduction: Option<&mut Reduction<'_>>,
    ) -> Result<(Tensors, Tensor, Vec<Tensor>, Vec<Tensor>)> {
        // What nobody moves is no part of what is recorded.
        let still = |name: &String| self.recipe.freeze.iter().any(|begin| name.starts_with(begin));
        let (mut others, moved): (Tensors, Tensors) =
            self.state.weights.clone().into_iter().partition(|(name, _)| still(name));
        others.extend(self.state.discriminator.clone());
        self.workspace.rest();
        let tape = Tape::new(Eager::new(&self.device, &self.workspace), &moved, add)
            .with_others(&others)
            .with_narrow_values()
            .with_checkpoints(self.recipe.checkpoint_blocks);
        let Pass { mut terms, reconstruction, normed, codes } =
            self.network.record(&tape, pictures, adversarial)?;
        if self.recipe.adversarial.adaptive
            && terms.iter().any(|t| t.name == "adversarial" && t.weight != 0.0)
        {
            let scale = adaptive(&tape, &terms)?;
            report.push("adaptive_weight", scale);
            terms.iter_mut().filter(|t| t.name == "adversarial").for_each(|t| t.weight *= scale);
        }
        let gradients = loss::gradients(tape, &terms, report, reduction)?;
        Ok((gradients, reconstruction.tensor().clone(), normed, codes))
    }

    /// The discriminator's gradients. It sees true pictures and the tokenizer's as batches of their own.
    fn discriminator(
        &mut self,
        real: &Tensor,
        fake: &Tensor,
        weight: f64,
        report: &mut Report,
    ) -> Result<Tensors> {
        let network =
            self.network.discriminator.as_ref().ok_or_else(|| Error::internal("no discriminator"))?;
        let statistics = self.network.statistics();
        let e = Eager::new(&self.device, &self.workspace);
        let tape = Tape::new(Eager::new(&self.device, &self.workspace), &self.state.discriminator, add);
        let (real, seen_real) = network.train(&tape, &tape.constant(real.clone()), &statistics)?;
        let (fake, seen_fake) = network.train(&tape, &tape.constant(fake.clone()), &statistics)?;
        let terms = loss::discriminator(&tape, self.recipe.adversarial.game, &real, &fake)?
            .map(|term| term.weighted(weight));
        report.push("discriminator", loss::total(&terms)?);
        let seen =
            [seen_real, seen_fake].map(|seen| seen.iter().map(|v| v.tensor().clone()).collect::<Vec<_>>());
        let seeds = [(&terms[0].value, terms[0].seed(&tape)?), (&terms[1].value, terms[1].seed(&tape)?)];
        let gradients = tape.into_gradients(&seeds)?;
        let norms = Norms::of(&e, &gradients)?;
        report.push("discriminator_grad_norm", norms.total);
        report.discriminator_gradients = norms.each;
        seen.iter().try_for_each(|seen| self.keep(seen))?;
        Ok(gradients)
    }

    /// Moves the discriminator's kept statistics.
    fn keep(&mut self, normed: &Vec<Tensor>) -> Result<()> {
        let e = Eager::new(&self.device, &self.workspace);
        match &self.network.discriminator {
            Some(network) => network.keep(&e, normed, &mut self.state.statistics, &self.network.statistics()),
            None => Ok(()),
        }
    }
}

/// The length of the last layer's gradient of reconstruction and perceptual together, over that of the adversarial
/// term (VQGAN; Esser et al., 2021).
fn adaptive(tape: &Tape<'_>, terms: &[loss::Term]) -> Result<f64> {
    let length = |names: &[&str]| -> Result<f64> {
        let chosen = terms.iter().filter(|t| names.contains(&t.name.as_str()));
        // The weight of the game is not part of what is compared.
        let seed = |t: &loss::Term| match t.name.as_str() {
            "adversarial" => scalar(tape.eager(), t.factor),
            _ => t.seed(tape),
        };
        let seeds: Vec<(&Var, Tensor)> = chosen.map(|t| Ok((&t.value, seed(t)?))).collect::<Result<_>>()?;
        match tape.gradient_of(&seeds, LAST)? {
            Some(gradient) => {
                let [length] = tape.eager().run(&Length, &[&gradient])?;
                value(&length)
            }
            None => Ok(0.0),
        }
    };
    let (wanted, game) = (length(&["reconstruction", "perceptual"])?, length(&["adversarial"])?);
    Ok((wanted / (game + 1e-4)).clamp(0.0, 1e4))
}

/// The pictures of a batch in so many parts.
fn parts(pictures: &Tensor, count: usize) -> Result<Vec<Tensor>> {
    let shape = pictures.shape();
    if count == 1 || !shape[0].is_multiple_of(count) {
        return Ok(vec![pictures.clone()]);
    }
    let part = [shape[0] / count, shape[1], shape[2], shape[3]];
    let values = pictures.data::<f32>()?;
    values.chunks_exact(values.len() / count).map(|values| Tensor::from_slice(part, values)).collect()
}
