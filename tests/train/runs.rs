//! Runs that end, are cut, and go on.

use crate::small;
use fqgan::backend::Device;
use fqgan::backend::cpu::Cpu;
use fqgan::image::Picture;
use fqgan::tokenizer::{Options, Tokenizer};
use fqgan::train::data::Pictures;
use fqgan::train::run::{End, Job, Watch, run};
use fqgan::train::{Folder, Recipe, Report, Scalar, TokenizerJob};
use fqgan::weights::{Map, Source};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

const RUN: [&str; 9] = [
    "run.steps=5",
    "run.batch=2",
    "run.save_every=2",
    "run.keep=2",
    "run.validate_every=2",
    "run.pictures_every=4",
    "run.warmup=2",
    "run.schedule=cosine",
    "optimizer.average=0.9",
];

/// A few pictures of two classes.
fn pictures(folder: &Path) -> Arc<Pictures> {
    let all = small::pictures(7);
    for (number, values) in all.data::<f32>().unwrap().chunks_exact(32 * 32 * 3).enumerate() {
        let class = folder.join(["a", "b"][number % 2]);
        std::fs::create_dir_all(&class).unwrap();
        let mut picture = Picture::new(32, 32).unwrap();
        picture.view_mut().write_from(values).unwrap();
        picture.save_png(class.join(format!("{number}.png"))).unwrap();
    }
    Arc::new(Pictures::open(folder).unwrap())
}

fn recipe(more: &[&str]) -> Recipe {
    small::recipe(&[&RUN[..], more].concat())
}

fn job(recipe: &Recipe, pictures: &Arc<Pictures>) -> TokenizerJob {
    let device = Device::Cpu(Arc::new(Cpu::new(2).unwrap()));
    let held_out = TokenizerJob::held_out(recipe, pictures, |e| panic!("{e}")).unwrap();
    TokenizerJob::new(recipe, &device, small::trainer(recipe, 2), pictures.clone(), 1, held_out)
}

/// Writes down what it is told, and asks to stop after a step.
#[derive(Default)]
struct Told {
    began: Vec<u64>,
    steps: Vec<u64>,
    validated: Vec<(u64, Vec<Scalar>)>,
    pictures: Vec<u64>,
    warnings: Vec<String>,
    stop_after: Option<u64>,
    stop: Arc<AtomicBool>,
}

impl Watch for Told {
    fn begins(&mut self, after: u64) -> fqgan::Result<()> {
        self.began.push(after);
        Ok(())
    }
    fn step(&mut self, step: u64, _: &Report) -> fqgan::Result<()> {
        self.steps.push(step);
        if self.stop_after == Some(step) {
            self.stop.store(true, Ordering::Relaxed);
        }
        Ok(())
    }
    fn validated(&mut self, step: u64, scalars: &[Scalar]) -> fqgan::Result<()> {
        self.validated.push((step, scalars.to_vec()));
        Ok(())
    }
    fn pictures(&mut self, step: u64, pictures: &[(String, Picture)]) -> fqgan::Result<()> {
        // None without held-out ones.
        self.pictures.extend(pictures.iter().map(|_| step));
        Ok(())
    }
    fn warn(&mut self, message: &str) {
        self.warnings.push(message.into());
    }
}

/// Every bit of what a job would save, names first.
fn everything(job: &dyn Job) -> Vec<(String, Vec<u8>)> {
    let contents = job.contents().unwrap();
    let bytes =
        |t: &fqgan::tensor::Tensor| t.storage().as_bytes().unwrap()[..t.desc().bytes().unwrap()].to_vec();
    let mut all: Vec<_> = contents.tensors.iter().map(|(name, t)| (name.clone(), bytes(t))).collect();
    all.extend(contents.metadata.into_iter().map(|(name, text)| (name, text.into_bytes())));
    all.sort();
    all
}

#[test]
fn a_run_leaves_what_its_recipe_says() {
    let at = tempfile::tempdir().unwrap();
    let pictures = pictures(&at.path().join("pictures"));
    let recipe = recipe(&[]);
    let mut job = job(&recipe, &pictures);
    let folder = Folder::open(at.path().join("out")).unwrap();
    let mut told = Told::default();
    let stop = told.stop.clone();
    let end = run(&recipe.run, &folder, false, &mut job, &mut told, &stop).unwrap();
    assert_eq!(end, End::Done);
    assert_eq!(told.steps, [1, 2, 3, 4, 5]);
    assert_eq!(told.pictures, [4, 5]);
    assert_eq!(told.began, [0]);
    assert_eq!(folder.list().unwrap().iter().map(|(step, _)| *step).collect::<Vec<_>>(), [4, 5]);
    assert_eq!(told.validated.iter().map(|(step, _)| *step).collect::<Vec<_>>(), [2, 4, 5]);
    let names: Vec<&str> = told.validated[0].1.iter().map(|s| s.name.as_str()).collect();
    assert_eq!(names, ["held_out_psnr", "held_out_usage_vis", "held_out_usage_sem"]);

    // What is left is the average, and gives the number that was told.
    let path = folder.path().join("last.safetensors");
    let source = Source::open(&path, Map::On).unwrap();
    let stored = source.tensor("decoder.conv_out.weight").unwrap();
    let average = &job.trainer().state.average["decoder.conv_out.weight"];
    assert_eq!(stored.data::<f32>().unwrap(), average.data::<f32>().unwrap());
    let device = Device::Cpu(Arc::new(Cpu::new(1).unwrap()));
    let tokenizer = Tokenizer::open(&device, &source, &Options::default()).unwrap();
    assert_eq!(*tokenizer.config(), recipe.model.config().unwrap());
    assert!(folder.path().join("best.safetensors").exists());

    // A longer run is told of; another network or another optimiser would not be this run.
    assert!(told.warnings.is_empty());
    let other = self::recipe(&["optimizer.rate=0.5", "optimizer.clip=2.0", "run.keep=9"]);
    let mut another = self::job(&other, &pictures);
    let error = run(&other.run, &folder, true, &mut another, &mut told, &stop).unwrap_err();
    assert!(error.message().contains("not the run's: optimizer.clip, optimizer.rate differ"), "{error}");
    let longer = self::recipe(&["run.steps=6"]);
    let mut again = self::job(&longer, &pictures);
    run(&longer.run, &folder, true, &mut again, &mut told, &stop).unwrap();
    assert!(told.began == [0, 5] && told.warnings.len() == 1, "{:?}", told.warnings);
    assert_eq!(told.warnings[0], "the run goes on with another run.steps");

    // The same folder again is not begun anew by accident.
    let error = run(&recipe.run, &folder, false, &mut job, &mut told, &stop).unwrap_err();
    assert!(error.message().contains("has a run already"), "{error}");
}

/// Stopped after every step, or killed after it so that the last checkpoint is all there is: every bit is the same.
#[test]
fn a_resumed_run_is_the_uncut_one() {
    let at = tempfile::tempdir().unwrap();
    let pictures = pictures(&at.path().join("pictures"));
    let recipe = recipe(&["adversarial.start=1"]);
    let go = |name: &str, cut: Option<u64>, resume: bool| {
        let folder = Folder::open(at.path().join(name)).unwrap();
        let mut job = job(&recipe, &pictures);
        let mut told = Told { stop_after: cut, ..Told::default() };
        let stop = told.stop.clone();
        let end = run(&recipe.run, &folder, resume, &mut job, &mut told, &stop).unwrap();
        assert_eq!(end == End::Stopped, cut.is_some());
        (everything(&job), std::fs::read(folder.path().join("last.safetensors")).ok(), told.validated)
    };
    let whole = go("whole", None, false);
    for cut in 1..5 {
        let name = format!("cut-{cut}");
        let first = go(&name, Some(cut), false);
        let second = go(&name, None, true);
        assert!(second.0 == whole.0 && second.1 == whole.1, "cut after step {cut}");
        let told = [first.2, second.2].concat();
        assert_eq!(told, whole.2);
    }
}

#[test]
fn a_broken_step_stops_the_run_or_is_skipped() {
    let at = tempfile::tempdir().unwrap();
    let pictures = pictures(&at.path().join("pictures"));
    for (broken, ends) in [("stop", false), ("skip", true)] {
        // The discriminator's word is infinite once it counts.
        let recipe =
            recipe(&[&format!("run.broken={broken}"), "adversarial.weight=1e300", "adversarial.start=3"]);
        let mut job = job(&recipe, &pictures);
        let folder = Folder::open(at.path().join(broken)).unwrap();
        let mut told = Told::default();
        let stop = told.stop.clone();
        let end = run(&recipe.run, &folder, false, &mut job, &mut told, &stop);
        assert_eq!(job.steps(), if ends { 5 } else { 4 });
        assert_eq!(job.trainer().state.optimizer.steps(), 3);
        let message = match end {
            Ok(end) => {
                assert!(ends && end == End::Done && told.warnings.len() == 2);
                told.warnings[0].clone()
            }
            Err(error) => {
                assert!(!ends && folder.list().unwrap().len() == 1);
                error.message().to_string()
            }
        };
        assert!(message.starts_with("step 4: ") && message.contains("is not finite"), "{message}");
    }
}

#[test]
fn what_is_no_checkpoint_of_the_run_is_refused() {
    let at = tempfile::tempdir().unwrap();
    let pictures = pictures(&at.path().join("pictures"));
    let folder = Folder::open(at.path().join("out")).unwrap();
    let first = recipe(&["run.steps=1"]);
    let stop = AtomicBool::new(false);
    run(&first.run, &folder, false, &mut job(&first, &pictures), &mut Told::default(), &stop).unwrap();
    for (other, says) in [
        (&["model.codebook_size=32"][..], "the recipe is not the run's: model.codebook_size differ"),
        (&["model.branches=[\"\"]"], "the recipe is not the run's: model.branches differ"),
    ] {
        let other = recipe(other);
        let result = run(&other.run, &folder, true, &mut job(&other, &pictures), &mut Told::default(), &stop);
        let error = result.unwrap_err();
        assert!(error.message().contains(says), "{error}");
    }
    // A file that was damaged is passed over while there is an older one.
    std::fs::write(at.path().join("out/checkpoints/step-00000009.safetensors"), "half").unwrap();
    let mut passed_over = Vec::new();
    assert!(folder.newest(|e| passed_over.push(e.to_string())).unwrap().is_some());
    assert!(passed_over.len() == 1 && passed_over[0].contains("step-00000009"), "{passed_over:?}");
    std::fs::remove_file(at.path().join("out/checkpoints/step-00000001.safetensors")).unwrap();
    assert!(folder.newest(|_| {}).is_err());
    // What a kill left half written goes.
    let part = at.path().join("out/checkpoints/.step-00000002.safetensors.7-0.part");
    std::fs::write(&part, "half").unwrap();
    Folder::open(at.path().join("out")).unwrap();
    assert!(!part.exists());
}

#[test]
fn rates_follow_their_schedule() {
    let run = recipe(&["run.steps=12", "run.floor=0.1"]).run;
    let rates: Vec<f64> = (0..13).map(|step| run.rate(step)).collect();
    assert_eq!(rates[..3], [0.5, 1.0, 1.0]);
    assert!((rates[7] - 0.55).abs() < 1e-12 && (rates[12] - 0.1).abs() < 1e-12);
    assert!(rates[2..].windows(2).all(|pair| pair[1] < pair[0]));
    let constant = Recipe::default().run;
    assert!([0, 1, 1_000_000].iter().all(|&step| constant.rate(step) == 1.0));
}

/// A picture that cannot be read is named once, and the run goes on.
#[test]
fn unreadable_pictures_are_named() {
    let at = tempfile::tempdir().unwrap();
    let folder = at.path().join("pictures");
    pictures(&folder);
    std::fs::write(folder.join("a/broken.png"), "no picture").unwrap();
    let all = Arc::new(Pictures::open(&folder).unwrap());
    let recipe = recipe(&["run.steps=9"]);
    let device = Device::Cpu(Arc::new(Cpu::new(2).unwrap()));
    let trainer = small::trainer(&recipe, 2);
    let mut job = TokenizerJob::new(&recipe, &device, trainer, all, 1, Vec::new());
    let mut told = Told::default();
    let stop = told.stop.clone();
    let out = Folder::open(at.path().join("out")).unwrap();
    assert_eq!(run(&recipe.run, &out, false, &mut job, &mut told, &stop).unwrap(), End::Done);
    assert!(
        told.warnings.len() == 1 && told.warnings[0].contains("left out: a/broken.png"),
        "{:?}",
        told.warnings
    );
}
