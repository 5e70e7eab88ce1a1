//! The generator's steps.

use fqgan::backend::Device;
use fqgan::backend::cpu::{Cpu, Isa, Pool};
use fqgan::far::{Config, Generator, Options, Sampling, config};
use fqgan::tensor::Tensor;
use fqgan::train::Report;
use fqgan::train::far::{FarRecipe, FarTrainer};
use fqgan::train::{init, optim::Tensors};
use fqgan::weights::Source;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

const RECIPE: &str = r#"
kind = "far"

[model]
codebooks = 2
codebook_size = 16
classes = 3
grid = [4, 3]
layers = 3
dim = 32
heads = 2
head_layers = 2
"#;

fn parse(text: &str, overrides: &[&str]) -> fqgan::Result<FarRecipe> {
    FarRecipe::parse(text, &overrides.iter().map(|s| s.to_string()).collect::<Vec<_>>())
}

fn recipe(overrides: &[&str]) -> FarRecipe {
    parse(RECIPE, overrides).unwrap()
}

fn device(threads: usize) -> Device {
    Device::Cpu(Arc::new(Cpu { pool: Pool::new(threads).unwrap(), isa: Isa::best() }))
}

fn trainer(recipe: &FarRecipe, threads: usize) -> FarTrainer {
    let weights = init::far(&recipe.model.config().unwrap(), 1).unwrap();
    FarTrainer::new(recipe, &device(threads), &weights).unwrap()
}

/// Classes, and codes (n, positions, k) that follow from the class and the codes before.
fn batch(recipe: &FarRecipe, n: usize) -> (Vec<u32>, Vec<u32>) {
    let config = recipe.model.config().unwrap();
    let classes: Vec<u32> = (0..n).map(|i| (i % config.classes) as u32).collect();
    let code = |at: usize| {
        let (image, position, i) =
            (at / config.codebooks / config.positions(), at / config.codebooks, at % config.codebooks);
        ((classes[image] as usize * 5 + position % config.positions() * 3 + i * 7) % config.codebook_size)
            as u32
    };
    let codes = (0..n * config.positions() * config.codebooks).map(code).collect();
    (classes, codes)
}

fn bits(all: &Tensors) -> BTreeMap<String, Vec<u32>> {
    let each = |t: &Tensor| t.data::<f32>().unwrap().iter().map(|x| x.to_bits()).collect();
    all.iter().map(|(name, t)| (name.clone(), each(t))).collect()
}

const QUIET: [&str; 4] =
    ["dropout.tokens=0.0", "dropout.residual=0.0", "dropout.feed_forward=0.0", "dropout.classes=0.0"];

#[test]
fn the_loss_falls_with_every_head_and_what_was_learnt_is_generated() {
    for head in ["ar", "linear", "mlp"] {
        let head = format!("model.head={head}");
        let recipe = recipe(&[&QUIET[..], &["optimizer.rate=5e-3", &head]].concat());
        let mut trainer = trainer(&recipe, 2);
        let (classes, codes) = batch(&recipe, 3);
        let mut step = || trainer.step(&classes, &codes).unwrap().get("total").unwrap();
        let first = step();
        // Heads of zeros know nothing.
        assert!((first - 16f64.ln()).abs() < 1e-6, "{first}");
        let last = (0..80).map(|_| step()).last().unwrap();
        assert!(last < 0.1, "{head}: {last}");
        let held = trainer.surprise(&classes, &codes).unwrap();
        assert!(held.iter().all(|&nats| nats < 0.1), "{held:?}");

        let source = Source::from_tensors(trainer.weights().clone(), trainer.config().metadata());
        let generator = Generator::open(&device(2), &source, &Options::default()).unwrap();
        let made = generator
            .generate(&classes, &Sampling { top_k: 1, guidance: 1.0, ..Sampling::default() })
            .unwrap();
        let (k, positions) = (2, 12);
        for (at, code) in made.data().iter().enumerate() {
            let (image, i, position) = (at / positions / k, at / positions % k, at % positions);
            assert_eq!(
                *code,
                codes[(image * positions + position) * k + i],
                "{head}: {image} {i} {position}"
            );
        }
    }
}

#[test]
fn the_same_bits_on_any_number_of_threads() {
    for noise in [
        &["optimizer.average=0.9"][..],
        &["dropout.depth=0.5", "dropout.residual=0.0", "dropout.feed_forward=0.0"],
    ] {
        let recipe = recipe(noise);
        let (classes, codes) = batch(&recipe, 5);
        let run = |threads: usize, seed: u64| {
            let mut recipe = recipe.clone();
            recipe.run.seed = seed;
            let mut trainer = trainer(&recipe, threads);
            let reports: Vec<Report> = (0..3).map(|_| trainer.step(&classes, &codes).unwrap()).collect();
            (bits(&trainer.state.weights), bits(trainer.weights()), reports)
        };
        let one = run(1, 7);
        assert!(one == run(2, 7) && one == run(3, 7));
        assert!(one.0 != run(2, 8).0);
    }
}

/// What is dropped is another thing in every step, at the rate that was asked for, and nothing when none was.
#[test]
fn what_is_dropped() {
    let none = recipe(&QUIET);
    let (classes, codes) = batch(&none, 4);
    let gradients = |overrides: &[&str], step: u64| {
        let recipe = recipe(&[&QUIET[..], overrides].concat());
        let mut trainer = trainer(&recipe, 2);
        // Heads of zeros would make all gradients but theirs zero.
        for (name, weight) in &mut trainer.state.weights {
            if name.starts_with("output_") {
                let values: Vec<f32> = (0..weight.shape().count()).map(|i| (i % 7) as f32 * 0.02).collect();
                *weight = Tensor::from_slice(*weight.shape(), &values).unwrap();
            }
        }
        bits(&trainer.gradients(&classes, &codes, &recipe.noise(step, 0)).unwrap().1)
    };
    let plain = gradients(&[], 0);
    assert!(plain == gradients(&[], 1));
    for rate in ["tokens", "residual", "feed_forward", "depth"] {
        let rate = format!("dropout.{rate}=0.5");
        assert!(gradients(&[&rate], 0) != plain, "{rate}");
        assert!(gradients(&[&rate], 0) == gradients(&[&rate], 0), "{rate}");
        assert!(gradients(&[&rate], 0) != gradients(&[&rate], 1), "{rate}");
    }
    // Without its class every picture is of the null class, whose row alone is trained.
    let recipe = recipe(&[&QUIET[..3], &["dropout.classes=0.999"]].concat());
    let mut trainer = trainer(&recipe, 2);
    for _ in 0..2 {
        trainer.step(&classes, &codes).unwrap();
    }
    let [first, _] = trainer.state.optimizer.moments();
    let moved = first["cls_embedding.embedding_table.weight"].data::<f32>().unwrap();
    let moved: Vec<bool> = moved.chunks(32).map(|row| row.iter().any(|&x| x != 0.0)).collect();
    assert_eq!(moved, [false, false, false, true]);
}

/// Blocks that run a second time give the same gradients, bit for bit, with what was dropped dropped again.
#[test]
fn checkpoints_change_nothing_but_the_memory() {
    let run = |overrides: &[&str]| {
        let recipe = recipe(&[&["model.layers=8"][..], overrides].concat());
        let trainer = trainer(&recipe, 2);
        let (classes, codes) = batch(&recipe, 32);
        let (report, gradients) = trainer.gradients(&classes, &codes, &recipe.noise(2, 0)).unwrap();
        (report, bits(&gradients), trainer.workspace_bytes())
    };
    let (plain, again) = (run(&[]), run(&["checkpoint_blocks=true"]));
    assert_eq!(plain.0, again.0);
    assert!(plain.1 == again.1);
    assert!(2 * again.2 < plain.2, "{} {}", plain.2, again.2);
}

/// Parts of a batch one after the other are the batch, and what is dropped of it stays the same.
#[test]
fn parts_add_up_to_the_batch() {
    let step = |overrides: &[&str]| {
        let recipe = recipe(&[&["run.batch=4"][..], overrides].concat());
        let (classes, codes) = batch(&recipe, 4);
        let mut trainer = trainer(&recipe, 2);
        trainer.step(&classes, &codes).unwrap();
        let report = trainer.step(&classes, &codes).unwrap();
        (report, bits(&trainer.state.weights))
    };
    for noise in [&QUIET[..], &[], &["dropout.depth=0.5", "dropout.residual=0.0", "dropout.feed_forward=0.0"]]
    {
        let step = |parts: &str| step(&[noise, &[parts]].concat()).0;
        let (whole, parts) = (step("run.accumulate=1"), step("run.accumulate=2"));
        for scalar in &whole.scalars {
            let other = parts.get(&scalar.name).unwrap();
            assert!((scalar.value / other - 1.0).abs() < 1e-3, "{}: {} {other}", scalar.name, scalar.value);
        }
        assert!((parts.flops / whole.flops - 1.0).abs() < 0.05, "{} {}", parts.flops, whole.flops);
    }
    assert!(step(&["run.accumulate=2"]) == step(&["run.accumulate=2"]));
    let recipe = recipe(&["run.batch=4", "run.accumulate=2"]);
    let (classes, codes) = batch(&recipe, 3);
    let error = trainer(&recipe, 1).step(&classes, &codes).unwrap_err();
    assert!(error.message().contains("a batch of 3 pictures in 2 parts"), "{error}");
}

#[test]
fn only_matrices_decay() {
    let recipe = recipe(&[&QUIET[..], &["optimizer.decay=0.5", "optimizer.rate=0.1"]].concat());
    let mut trainer = trainer(&recipe, 2);
    let before = trainer.state.weights.clone();
    let (classes, codes) = batch(&recipe, 2);
    // Under heads of zeros no other weight has a gradient in the first step.
    trainer.step(&classes, &codes).unwrap();
    for (name, factor) in [("layers.0.attention.wo.weight", 0.95f32), ("layers.0.ffn_norm.weight", 1.0)] {
        let all = before[name]
            .data::<f32>()
            .unwrap()
            .iter()
            .zip(trainer.state.weights[name].data::<f32>().unwrap());
        all.for_each(|(old, new)| assert_eq!(*new, old * factor, "{name}"));
    }
}

#[test]
fn a_broken_step_is_named_and_moves_nothing() {
    let recipe = recipe(&[]);
    let mut trainer = trainer(&recipe, 2);
    let (classes, codes) = batch(&recipe, 2);
    trainer.step(&classes, &codes).unwrap();
    let mut norm = vec![1.0; 32];
    norm[3] = f32::NAN;
    trainer.state.weights.insert("norm.weight".into(), Tensor::from_slice([32], &norm).unwrap());
    let before = bits(&trainer.state.weights);
    let report = trainer.step(&classes, &codes).unwrap();
    assert_eq!(report.broken(), Some("cross_entropy_1"));
    assert!(bits(&trainer.state.weights) == before);
}

#[test]
fn what_does_not_fit_is_refused() {
    let recipe = recipe(&[]);
    let mut trainer = trainer(&recipe, 2);
    let (classes, codes) = batch(&recipe, 2);
    let mut says = |classes: &[u32], codes: &[u32]| match trainer.step(classes, codes) {
        Ok(_) => String::new(),
        Err(error) => error.message().to_string(),
    };
    assert!(says(&[0, 3], &codes).contains("class 3: the network has classes 0 to 2"));
    assert!(says(&classes, &codes[1..]).contains("47 codes of 2 pictures, expected 12 x 2 of each"));
    assert!(says(&[], &[]).contains("at least one picture"));
    let mut high = codes.clone();
    high[3] = 16;
    assert!(says(&classes, &high).contains("16"), "{}", says(&classes, &high));
    high[3] = 0;
    high[47] = 16; // Only a target.
    assert!(says(&classes, &high).contains("target 16"));
    let other = init::far(&Config { layers: 2, ..recipe.model.config().unwrap() }, 1).unwrap();
    let error = FarTrainer::new(&recipe, &device(2), &other).err().unwrap();
    assert!(error.message().contains("not the recipe's network"), "{error}");
}

#[test]
fn shipped_recipes_are_the_published_models() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("recipes");
    let read = |name: &str| {
        let text = std::fs::read_to_string(folder.join(format!("{name}.toml"))).unwrap();
        parse(&text, &[]).unwrap()
    };
    for (name, size) in [("far-b", "b"), ("far-l", "l"), ("table4-ar", "b")] {
        let recipe = read(name);
        assert_eq!(recipe.model.config().unwrap(), Config::published(size, 2).unwrap(), "{name}");
        assert_eq!(parse(&recipe.print().unwrap(), &[]).unwrap(), recipe);
        assert_eq!((recipe.optimizer.decay, recipe.optimizer.rate), (0.05, 2e-4));
    }
    let b = Config::published("b", 2).unwrap();
    for (name, head) in
        [("table4-linear", config::Head::Linear), ("table4-mlp", config::Head::Mlp { hidden: 1024 })]
    {
        assert_eq!(read(name).model.config().unwrap(), Config { head, ..b.clone() }, "{name}");
    }
    assert_eq!(read("far-b"), FarRecipe::default());
}

#[test]
fn what_cannot_be_meant_is_refused() {
    for (overrides, says) in [
        (&["model.width=3"][..], "unknown field `width`"),
        (&["dropout.tokens=1.0"], "dropout.tokens is 1, expected 0 to below 1"),
        (&["dropout.depth=0.1"], "residual and feed_forward are 0 then"),
        (&["run.batch=2", "run.accumulate=3"], "expected a divisor of run.batch, 2"),
        (&["model.layers=0"], "model.layers is 0, expected 1 to"),
        (&["model.dim=36"], "model.dim 36 is no multiple of 4 x 2 heads"),
        (&["model.codebooks=32"], "at most 31"),
        (&["model.head=deep"], "unknown variant `deep`"),
        (&["kind=tokenizer"], "unknown variant `tokenizer`"),
        (&["model.branches=[]"], "unknown field `branches`"),
    ] {
        let error = parse(RECIPE, overrides).unwrap_err();
        assert!(error.message().contains(says), "{:?} lacks {says:?}", error.message());
    }
}

#[test]
fn fresh_weights_have_the_distributions_of_the_paper() {
    let recipe = recipe(&["model.head=mlp", "model.dim=64"]);
    let source = init::far(&recipe.model.config().unwrap(), 3).unwrap();
    let of = |name: &str| source.tensor(name).unwrap().data::<f32>().unwrap().to_vec();
    for name in ["layers.2.feed_forward.w2.weight", "output_1.0.weight", "aggregation_layer.weight"] {
        let all = of(name);
        let deviation = (all.iter().map(|x| x * x).sum::<f32>() / all.len() as f32).sqrt();
        assert!((deviation / 0.02 - 1.0).abs() < 0.05, "{name}: {deviation}");
    }
    assert!(of("output_2.2.weight").iter().chain(&of("aggregation_layer.bias")).all(|&x| x == 0.0));
    assert!(of("norm.weight").iter().all(|&x| x == 1.0));
}
