//! The training of a small teacher.

use crate::small;
use fqgan::backend::Device;
use fqgan::backend::cpu::{Cpu, Isa, Pool};
use fqgan::exec::Eager;
use fqgan::image::Picture;
use fqgan::teachers::Teacher;
use fqgan::tensor::Tensor;
use fqgan::train::data::Pictures;
use fqgan::train::init;
use fqgan::train::run::Job;
use fqgan::train::teacher::{TeacherJob, TeacherRecipe, TeacherTrainer};
use fqgan::weights::{Map, Source};
use std::path::Path;
use std::sync::Arc;

const RECIPE: &str = r#"
kind = "teacher"

[run]
steps = 40
batch = 4

[data]
flip = false

[model]
image_size = 32
patch = 8
width = 64
hidden = 64
layers = 2
classes = 2

[optimizer]
rate = 3e-3
"#;

fn recipe(overrides: &[&str]) -> fqgan::Result<TeacherRecipe> {
    TeacherRecipe::parse(RECIPE, &overrides.iter().map(|s| s.to_string()).collect::<Vec<_>>())
}

fn device(threads: usize) -> Device {
    Device::Cpu(Arc::new(Cpu { pool: Pool::new(threads).unwrap(), isa: Isa::best() }))
}

fn trainer(recipe: &TeacherRecipe, threads: usize) -> TeacherTrainer {
    let weights = init::teacher(&recipe.model.manifest().unwrap(), 1).unwrap();
    TeacherTrainer::new(recipe, &device(threads), &weights).unwrap()
}

#[test]
fn categories_are_learnt_with_the_same_bits_on_any_number_of_threads() {
    let recipe = recipe(&[]).unwrap();
    let pictures = small::pictures(4);
    let labels = [0, 1, 1, 0];
    let learn = |threads: usize| {
        let mut trainer = trainer(&recipe, threads);
        let losses: Vec<f64> = (0..30)
            .map(|_| trainer.step(&pictures, &labels).unwrap().get("cross_entropy").unwrap())
            .collect();
        (losses, trainer.predict(&pictures).unwrap().data::<f32>().unwrap().to_vec())
    };
    let (losses, logits) = learn(1);
    assert!((losses[0] - 2f64.ln()).abs() < 0.1 && losses[29] < 0.1, "{losses:?}");
    let told: Vec<bool> = logits.chunks(2).map(|row| row[1] > row[0]).collect();
    assert_eq!(told, [false, true, true, false]);
    assert!(learn(3) == (losses, logits));

    let mut trainer = trainer(&recipe, 1);
    let says = |result: fqgan::Result<_>| result.unwrap_err().to_string();
    assert!(says(trainer.step(&pictures, &[0, 1, 2, 0])).contains("category 2: the network has 0 to 1"));
    assert!(says(trainer.step(&pictures, &[0, 1])).contains("2 categories of 4 pictures"));
}

fn pictures(folder: &Path, classes: [&str; 2]) -> Pictures {
    let all = small::pictures(6);
    for (number, values) in all.data::<f32>().unwrap().chunks_exact(32 * 32 * 3).enumerate() {
        let class = folder.join(classes[number % 2]);
        std::fs::create_dir_all(&class).unwrap();
        let mut picture = Picture::new(32, 32).unwrap();
        picture.view_mut().write_from(values).unwrap();
        picture.save_png(class.join(format!("{number}.png"))).unwrap();
    }
    Pictures::open(folder).unwrap()
}

/// What a run leaves opens as CLIP does, and has the features that were trained.
#[test]
fn what_is_left_is_a_tower() {
    let at = tempfile::tempdir().unwrap();
    let recipe = recipe(&[]).unwrap();
    let all = Arc::new(pictures(&at.path().join("pictures"), ["a", "b"]));
    let told = |e: &fqgan::Error| panic!("{e}");
    let mut job = TeacherJob::new(&recipe, trainer(&recipe, 2), all.clone(), 1, Some(&*all), told).unwrap();
    (0..30).for_each(|_| assert!(job.step().unwrap().broken().is_none()));
    let scalars = job.validate().unwrap();
    assert!(scalars[0].name == "held_out_accuracy" && scalars[0].value > 0.8, "{scalars:?}");
    let path = at.path().join("teacher.safetensors");
    job.export(&path).unwrap();

    let source = Source::open(&path, Map::On).unwrap();
    let Teacher::Clip(tower) = Teacher::open(&source).unwrap() else { panic!("no CLIP") };
    assert_eq!(tower.width(), 64);
    let device = device(1);
    let workspace = device.workspace(None);
    let input = small::pictures(2);
    let features = tower.class_features(&Eager::new(&device, &workspace), &input).unwrap();
    // The classifier of the file on the features of the tower is what the trainer predicts.
    let [weight, bias] = ["classifier.weight", "classifier.bias"].map(|name| source.tensor(name).unwrap());
    let predicted = job.trainer().predict(&input).unwrap();
    let dot = |row: &[f32], feature: &[f32]| row.iter().zip(feature).map(|(a, b)| a * b).sum::<f32>();
    for (feature, logits) in
        features.data::<f32>().unwrap().chunks(64).zip(predicted.data::<f32>().unwrap().chunks(2))
    {
        for (class, logit) in logits.iter().enumerate() {
            let row = &weight.data::<f32>().unwrap()[class * 64..][..64];
            let wanted = dot(row, feature) + bias.data::<f32>().unwrap()[class];
            assert!((wanted - logit).abs() < 1e-4, "{wanted} {logit}");
        }
    }

    // A checkpoint brings all of it back.
    let contents = job.contents().unwrap();
    let saved = Source::from_tensors(contents.tensors, contents.metadata);
    let mut again = TeacherJob::new(&recipe, trainer(&recipe, 1), all, 1, None, told).unwrap();
    again.restore(&saved).unwrap();
    assert_eq!(again.steps(), 30);
    let values = |t: &Tensor| t.data::<f32>().unwrap().to_vec();
    let [next, other] = [job.step().unwrap(), again.step().unwrap()];
    assert_eq!(next, other);
    assert_eq!(
        values(&job.trainer().predict(&input).unwrap()),
        values(&again.trainer().predict(&input).unwrap())
    );
}

#[test]
fn what_does_not_fit_is_refused() {
    let at = tempfile::tempdir().unwrap();
    let all = Arc::new(pictures(&at.path().join("pictures"), ["a", "b"]));
    let others = pictures(&at.path().join("others"), ["a", "c"]);
    let make = |overrides: &[&str], held_out: Option<&Pictures>| -> fqgan::Result<TeacherJob> {
        let recipe = recipe(overrides)?;
        TeacherJob::new(&recipe, trainer(&recipe, 1), all.clone(), 1, held_out, |e| panic!("{e}"))
    };
    for (overrides, held_out, says) in [
        (&["model.classes=3"][..], None, "of 2 categories, the recipe has model.classes = 3"),
        (&[], Some(&others), "other categories: [\"a\", \"c\"], expected [\"a\", \"b\"]"),
        (&["model.patch=5"], None, "model.image_size is 32, expected a multiple of model.patch, 5"),
        (&["model.width=96"], None, "expected a multiple of 64"),
        (&["model.layers=0"], None, "model.layers is 0"),
        (&["data.side=64"], None, "data.side is 64, expected model.image_size, 32"),
        (&["run.accumulate=2"], None, "goes through whole"),
        (&["kind=far"], None, "unknown variant `far`"),
    ] {
        let error = make(overrides, held_out).err().expect(says);
        assert!(error.to_string().contains(says), "{error}");
    }
}
