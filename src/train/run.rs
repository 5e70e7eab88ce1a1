//! A run: steps one after the other, and what they leave behind.

use super::checkpoint::Contents;
use super::collective::Group;
use super::folder::Folder;
use super::recipe::{Broken, Run};
use super::report::{Report, Scalar};
use crate::error::{Error, Result};
use crate::image::Picture;
use crate::weights::Source;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

/// What is trained.
pub trait Job {
    /// The processes that do it together: each does every step, and validates; the first of them writes and speaks.
    fn group(&self) -> Group {
        Group::default()
    }

    /// Steps that were begun.
    fn steps(&self) -> u64;

    /// The next step. Weights stay where they are when the report is broken.
    ///
    /// # Errors
    /// Those of the data and of the operations.
    fn step(&mut self) -> Result<Report>;

    /// All that it needs to go on, for the process that leads; all of the group take part.
    ///
    /// # Errors
    /// `OutOfMemory`; when a process is lost.
    fn contents(&self) -> Result<Contents>;

    /// Goes on from what a file has.
    ///
    /// # Errors
    /// `Format` when the file is of another job.
    fn restore(&mut self, source: &Source) -> Result<()>;

    /// Numbers of what was held out, the one by which runs are compared first, more being better; none without any.
    ///
    /// # Errors
    /// The operations'.
    fn validate(&mut self) -> Result<Vec<Scalar>>;

    /// Pictures to look at, by name.
    ///
    /// # Errors
    /// The operations'.
    fn pictures(&mut self) -> Result<Vec<(String, Picture)>>;

    /// Writes the weights that are of use without the run.
    ///
    /// # Errors
    /// `Io`.
    fn export(&self, path: &Path) -> Result<()>;
}

/// Who looks on.
pub trait Watch {
    /// The run begins, or goes on, after so many steps. What was told of later ones will be told again.
    ///
    /// # Errors
    /// Those of writing; they end the run.
    fn begins(&mut self, after: u64) -> Result<()>;

    /// A step was done.
    ///
    /// # Errors
    /// As [`Watch::begins`].
    fn step(&mut self, step: u64, report: &Report) -> Result<()>;

    /// The held-out pictures were looked at.
    ///
    /// # Errors
    /// As [`Watch::begins`].
    fn validated(&mut self, step: u64, scalars: &[Scalar]) -> Result<()>;

    /// Pictures were made.
    ///
    /// # Errors
    /// As [`Watch::begins`].
    fn pictures(&mut self, step: u64, pictures: &[(String, Picture)]) -> Result<()>;

    /// Something that a person should know.
    fn warn(&mut self, message: &str);
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// All steps are done.
    Done,
    /// It was asked to stop, and can go on.
    Stopped,
}

/// Broken steps one after the other after which a run that skips them ends all the same.
const PATIENCE: u64 = 100;

/// Under which checkpoints have their job's recipe.
const RECIPE: &str = "recipe";
/// Under which the best number of the held-out pictures stands in checkpoints.
const BEST: &str = "best";

/// Keys of a recipe that can be others when a run goes on: what it leaves behind, how long it is, how it saves
/// memory.
const MAY_CHANGE: [&str; 11] = [
    "checkpoint_blocks",
    "discriminator_optimizer.shard",
    "optimizer.shard",
    "run.broken",
    "run.floor",
    "run.keep",
    "run.pictures_every",
    "run.save_every",
    "run.steps",
    "run.validate",
    "run.validate_every",
];

/// The keys whose values differ between two recipes, `a.b` for what is in a table.
fn changed(new: Option<&String>, old: Option<&str>) -> Result<Vec<String>> {
    let mut all = [BTreeMap::new(), BTreeMap::new()];
    for (all, text) in all.iter_mut().zip([new.map(String::as_str), old]) {
        let table = text.unwrap_or_default().parse::<toml::Table>();
        let table = table.map_err(|e| Error::format(format!("the checkpoint's recipe: {e}")))?;
        flatten("", &table, all);
    }
    let [new, old] = &all;
    let keys: BTreeSet<&String> = new.keys().chain(old.keys()).collect();
    Ok(keys.into_iter().filter(|key| new.get(*key) != old.get(*key)).cloned().collect())
}

/// Puts the values of a table and of those in it under their whole keys.
fn flatten(prefix: &str, table: &toml::Table, all: &mut BTreeMap<String, toml::Value>) {
    for (key, value) in table {
        match value {
            toml::Value::Table(inner) => flatten(&format!("{prefix}{key}."), inner, all),
            value => drop(all.insert(format!("{prefix}{key}"), value.clone())),
        }
    }
}

/// Takes a job to the end of its run, or until `stop`: then it is saved where it is. With `resume` the newest checkpoint
/// of the folder is gone on from, if there is one.
///
/// # Errors
/// `InvalidArgument` when the folder has a run already and this is not to resume it, or its recipe has other values than
/// those that may change, which are named, or when a step was not finite and
/// the recipe does not want it skipped; those of the job, of writing and of the watch.
pub fn run(
    recipe: &Run,
    folder: &Folder,
    resume: bool,
    job: &mut dyn Job,
    watch: &mut dyn Watch,
    stop: &AtomicBool,
) -> Result<End> {
    let mut best = f64::NEG_INFINITY;
    let newest = folder.newest(|error| watch.warn(&format!("a checkpoint is passed over: {error}")))?;
    match newest {
        Some(_) if !resume => {
            let path = folder.path().display();
            return Err(Error::invalid(format!(
                "{path} has a run already: resume it, or choose another folder"
            )));
        }
        Some(source) => {
            let other = changed(job.contents()?.metadata.get(RECIPE), source.metadata(RECIPE))?;
            let (may, may_not): (Vec<_>, Vec<_>) =
                other.into_iter().partition(|key| MAY_CHANGE.contains(&&**key));
            if !may_not.is_empty() {
                return Err(Error::invalid(format!(
                    "{}: the recipe is not the run's: {} differ; resume by the run's own recipe, or begin another run \
                     with --finetune",
                    folder.path().display(),
                    may_not.join(", ")
                )));
            }
            job.restore(&source)?;
            if !may.is_empty() {
                watch.warn(&format!("the run goes on with another {}", may.join(", ")));
            }
            let stored = source.metadata(BEST).and_then(|text| text.parse().ok());
            best = stored.unwrap_or(best);
        }
        None => {}
    }
    let group = job.group();
    group.agree("step to go on from", job.steps() as u32)?;
    let leads = group.leads();
    if leads {
        watch.begins(job.steps())?;
    }
    let save = |job: &dyn Job, best: f64| -> Result<()> {
        let mut contents = job.contents()?;
        if best.is_finite() {
            contents.metadata.insert(BEST.into(), best.to_string());
        }
        group.alone(|| folder.save(job.steps(), &contents, recipe.keep)).map(drop)
    };
    let mut broken = 0;
    while job.steps() < recipe.steps {
        if group.any(stop.load(Ordering::Relaxed))? {
            save(job, best)?;
            return Ok(End::Stopped);
        }
        let report = job.step()?;
        let step = job.steps();
        match report.broken() {
            Some(name) => {
                broken += 1;
                let name = report.blame.as_deref().unwrap_or(name);
                let message = format!("step {step}: {name} is not finite");
                if recipe.broken == Broken::Stop || broken == PATIENCE {
                    return Err(Error::invalid(message));
                }
                if leads {
                    watch.warn(&format!("{message}: skipped"));
                }
            }
            None => broken = 0,
        }
        report.warnings.iter().for_each(|message| watch.warn(&format!("step {step}: {message}")));
        if leads {
            watch.step(step, &report)?;
        }
        let last = step == recipe.steps;
        if last || step.is_multiple_of(recipe.validate_every) {
            let scalars = job.validate()?;
            if leads {
                watch.validated(step, &scalars)?;
            }
            if let Some(first) = scalars.first().filter(|first| first.value > best) {
                best = first.value;
                group.alone(|| job.export(&folder.path().join("best.safetensors")))?;
            }
        }
        if last || step.is_multiple_of(recipe.pictures_every) {
            group.alone(|| watch.pictures(step, &job.pictures()?))?;
        }
        if last || step.is_multiple_of(recipe.save_every) {
            save(job, best)?;
        }
    }
    group.alone(|| job.export(&folder.path().join("last.safetensors")))?;
    Ok(End::Done)
}
