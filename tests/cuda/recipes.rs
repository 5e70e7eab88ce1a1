//! Every recipe that is shipped, walked on the device with both types of factors: a step forward, backward and of the
//! optimiser, and what is done with the result. Networks are cut down in width, never in kind: heads, branches, levels,
//! terms and the optimiser's settings are the recipe's own. What a device lacks is an error, so nothing may be lacking.

use crate::{common, cpu, cuda, relative, small};
use fqgan::backend::Device;
use fqgan::far::{Generator, Options, Sampling};
use fqgan::nn::Precision;
use fqgan::teachers::{ClipShape, Lpips, Teacher};
use fqgan::tensor::{Shape, Tensor};
use fqgan::train::far::{FarRecipe, FarTrainer};
use fqgan::train::teacher::{TeacherRecipe, TeacherTrainer};
use fqgan::train::{Recipe, Report, Teachers, TokenizerNetwork, Trainer, init};
use fqgan::weights::{Source, formula};
use std::collections::{BTreeMap, BTreeSet};

/// Names and texts of the recipes of a kind, and how many are shipped.
fn recipes(kind: Option<&str>) -> Vec<(String, String)> {
    let folder = common::root().join("recipes");
    let mut all = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|e| e != "toml") {
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap();
        let of = text.parse::<toml::Table>().unwrap().get("kind").map(|k| k.as_str().unwrap().to_string());
        if of.as_deref() == kind {
            all.push((path.file_stem().unwrap().to_string_lossy().into_owned(), text));
        }
    }
    all.sort();
    assert!(!all.is_empty());
    all
}

fn owned(keys: &[&str]) -> Vec<String> {
    keys.iter().map(|key| key.to_string()).collect()
}

/// The device's numbers are those of the processor.
#[track_caller]
fn same(name: &str, got: &Report, want: &Report, bound: f64) {
    assert_eq!(got.broken(), None, "{name}");
    for scalar in &want.scalars {
        let value = got.get(&scalar.name).unwrap_or_else(|| panic!("{name}: no {}", scalar.name));
        let room = bound * scalar.value.abs().max(1e-3);
        assert!(
            (value - scalar.value).abs() <= room,
            "{name}, {}: {value}, expected {}",
            scalar.name,
            scalar.value
        );
    }
}

/// A teacher of the kind that goes by this name, a block deep.
fn tower(name: &str) -> Source {
    let entries: Vec<formula::Entry> = match name {
        "dinov2_s" => {
            // Two patches by two of 112 pixels, with positions for three by three, which are resized.
            let cut = |extent: &usize| match *extent {
                384 => 64,
                1536 => 128,
                1370 => 10,
                14 => 112,
                other => other,
            };
            let all = common::Manifest::read(name).entries;
            let first = all
                .iter()
                .filter(|e| !e.name.starts_with("encoder.") || e.name.starts_with("encoder.layer.0."));
            let shape =
                |e: &formula::Entry| Shape::try_from_slice(&e.shape.iter().map(cut).collect::<Vec<_>>());
            first.map(|e| formula::Entry { shape: shape(e).unwrap(), ..e.clone() }).collect()
        }
        _ => {
            let shape = ClipShape { side: 32, patch: 16, width: 64, hidden: 128, layers: 1 };
            let entry = |(name, shape): (&str, &[usize])| {
                formula::Entry::by_rule(name, Shape::try_from_slice(shape).unwrap())
            };
            shape.manifest().iter().map(entry).collect()
        }
    };
    formula::source(&entries, 5).unwrap()
}

/// A recipe cut down, with LPIPS where it is looked at.
fn tokenizer(text: &str, precision: &str, perceptual: bool) -> Recipe {
    let whole = Recipe::parse(text, &[]).unwrap();
    let levels = vec!["1"; whole.model.ch_mult.len()].join(", ");
    let levels = format!("model.ch_mult=[{levels}]");
    let precision = format!("precision={precision}");
    let mut keys = vec![
        "model.codebook_size=64",
        "model.ch=32",
        &levels,
        "model.num_res_blocks=1",
        "model.z_channels=32",
        "model.image_size=32",
        "model.adapter_layers=1",
        "model.adapter_hidden=64",
        "adversarial.start=0",
        "adversarial.width=16",
        &precision,
    ];
    if !perceptual {
        keys.push("loss.perceptual_weight=0.0");
    }
    Recipe::parse(text, &owned(&keys)).unwrap()
}

fn tokenizer_step(device: &Device, recipe: &Recipe) -> Report {
    let towers: BTreeMap<String, Teacher> = recipe
        .loss
        .semantic
        .iter()
        .map(|term| (term.teacher.clone(), Teacher::open(&tower(&term.teacher)).unwrap()))
        .collect();
    let widths = towers.iter().map(|(name, tower)| (name.clone(), tower.width())).collect();
    let lpips = (recipe.loss.perceptual_weight != 0.0).then(|| {
        let manifest = common::Manifest::read("lpips_vgg16");
        let weights = formula::source(&manifest.entries, manifest.seed).unwrap();
        Lpips::open(&weights, &weights).unwrap()
    });
    let weights = init::tokenizer(recipe, &widths, 1).unwrap();
    let discriminator = recipe.adversarial.enabled.then(|| init::discriminator(recipe, 2).unwrap());
    let teachers = Teachers { lpips, towers };
    let network = TokenizerNetwork::open(recipe, &weights, discriminator.as_ref(), teachers).unwrap();
    let mut trainer = Trainer::new(recipe, device, network, &weights, discriminator.as_ref()).unwrap();
    trainer.step(&small::pictures(2)).unwrap()
}

/// What is left of recipes that differ in nothing but the length of the run is walked once.
#[test]
fn tokenizers() {
    let mut walked = BTreeSet::new();
    for (name, text) in recipes(None) {
        for precision in ["f32", "bf16"] {
            let mut recipe = tokenizer(&text, precision, false);
            recipe.run = Recipe::default().run;
            if !walked.insert(recipe.print().unwrap()) {
                continue;
            }
            let began = std::time::Instant::now();
            let got = tokenizer_step(&cuda(), &recipe);
            println!("{name} in {precision}: {:.1} s", began.elapsed().as_secs_f64());
            recipe.precision = Default::default();
            let mut want = tokenizer_step(&cpu(), &recipe);
            if precision == "bf16" {
                // Rounding chooses other codes here and there, and what is small follows them.
                want.scalars.retain(|scalar| scalar.name == "reconstruction");
            }
            same(&name, &got, &want, if precision == "f32" { 1e-3 } else { 0.2 });
        }
    }
    // At least one, two and three branches, and each of the terms, in two types.
    assert!(walked.len() >= 14, "{}", walked.len());
}

/// LPIPS, which is the same network in all recipes that have it, and the other discriminator.
#[test]
fn the_perceptual_distance_and_the_whole_picture_judge() {
    let (_, text) = recipes(None).into_iter().find(|(name, _)| name == "tokenizer-dual-f8").unwrap();
    let mut recipe = tokenizer(&text, "f32", true);
    assert!(recipe.loss.perceptual_weight > 0.0);
    recipe.adversarial.network = fqgan::train::recipe::Judge::StyleGan2;
    same("tokenizer-dual-f8", &tokenizer_step(&cuda(), &recipe), &tokenizer_step(&cpu(), &recipe), 1e-3);
}

fn classes_and_codes(recipe: &FarRecipe) -> (Vec<u32>, Vec<u32>) {
    let config = recipe.model.config().unwrap();
    let codes = 2 * config.positions() * config.codebooks;
    (vec![0, 2], (0..codes).map(|i| (i * 7 % config.codebook_size) as u32).collect())
}

#[test]
fn generators() {
    let mut walked = BTreeSet::new();
    for (name, text) in recipes(Some("far")) {
        let whole = FarRecipe::parse(&text, &[]).unwrap().model;
        // Heads as wide as they are.
        let dim = format!("model.dim={}", 2 * whole.dim / whole.heads);
        for precision in ["f32", "bf16"] {
            let keys = [
                "model.codebook_size=32",
                "model.classes=3",
                "model.grid=[3, 2]",
                "model.layers=2",
                "model.heads=2",
                &dim,
                &format!("model.head_layers={}", whole.head_layers.min(2)),
                &format!("precision={precision}"),
            ];
            let mut recipe = FarRecipe::parse(&text, &owned(&keys)).unwrap();
            recipe.run = FarRecipe::default().run;
            if !walked.insert(recipe.print().unwrap()) {
                continue;
            }
            let (classes, codes) = classes_and_codes(&recipe);
            let weights = init::far(&recipe.model.config().unwrap(), 1).unwrap();
            let began = std::time::Instant::now();
            let mut trainer = FarTrainer::new(&recipe, &cuda(), &weights).unwrap();
            let steps: Vec<Report> = (0..2).map(|_| trainer.step(&classes, &codes).unwrap()).collect();
            println!("{name} in {precision}: {:.1} s", began.elapsed().as_secs_f64());
            recipe.precision = Default::default();
            let mut other = FarTrainer::new(&recipe, &cpu(), &weights).unwrap();
            for got in &steps {
                let want = other.step(&classes, &codes).unwrap();
                same(&name, got, &want, if precision == "f32" { 1e-3 } else { 0.05 });
            }
            generate(trainer);
        }
    }
    // Three heads in two types.
    assert!(walked.len() >= 6, "{}", walked.len());
}

/// Pictures of what was trained, in each precision that generation has.
fn generate(trainer: FarTrainer) {
    let config = trainer.config().clone();
    let weights: Vec<(String, Tensor)> =
        trainer.weights().iter().map(|(name, t)| (name.clone(), t.on_host().unwrap())).collect();
    let classes = [0, 2];
    let mut all = Vec::new();
    for precision in [Precision::F32, Precision::Bf16, Precision::Int8] {
        let source = Source::from_tensors(weights.clone(), config.metadata());
        let options = Options { precision, ..Options::default() };
        let generator = Generator::open(&cuda(), &source, &options).unwrap();
        let made = generator.generate(&classes, &Sampling { seed: 3, ..Sampling::default() }).unwrap();
        assert_eq!(made.data().len(), 2 * config.positions() * config.codebooks);
        assert!(made.data().iter().all(|&code| (code as usize) < config.codebook_size));
        let mut nats = vec![0.0; made.data().len()];
        generator.surprise_into(&classes, made.data(), &mut nats).unwrap();
        all.push(nats);
    }
    assert!(relative(&all[1], &all[0]) < 1.0 && relative(&all[2], &all[0]) < 1.0);
}

#[test]
fn teachers() {
    for (name, text) in recipes(Some("teacher")) {
        let keys = ["model.image_size=32", "model.patch=16", "model.hidden=128", "model.layers=1"];
        let recipe = TeacherRecipe::parse(&text, &owned(&keys)).unwrap();
        let weights = init::teacher(&recipe.model.manifest().unwrap(), 1).unwrap();
        let step = |device: &Device| {
            let mut trainer = TeacherTrainer::new(&recipe, device, &weights).unwrap();
            (0..2).map(|_| trainer.step(&small::pictures(2), &[1, 4]).unwrap()).collect::<Vec<_>>()
        };
        for (got, want) in step(&cuda()).iter().zip(&step(&cpu())) {
            same(&name, got, want, 1e-3);
        }
    }
}
