use crate::{close, cpu, cuda, relative, small};
use fqgan::backend::Device;
use fqgan::far::Noise;
use fqgan::tensor::Tensor;
use fqgan::train::far::{FarRecipe, FarTrainer};
use fqgan::train::{Report, Teachers, TokenizerNetwork, Trainer, init};
use fqgan::weights::Source;
use std::collections::BTreeMap;

fn step(device: &Device) -> (Report, BTreeMap<String, Vec<f32>>) {
    let recipe = small::recipe(&[]);
    let weights = init::tokenizer(&recipe, &BTreeMap::new(), 1).unwrap();
    let discriminator = init::discriminator(&recipe, 2).unwrap();
    let network =
        TokenizerNetwork::open(&recipe, &weights, Some(&discriminator), Teachers::default()).unwrap();
    let mut trainer = Trainer::new(&recipe, device, network, &weights, Some(&discriminator)).unwrap();
    let pictures = small::pictures(2);
    let (report, gradients) = trainer.gradients(&pictures, Some(recipe.adversarial.weight)).unwrap();
    let host = |(name, tensor): (&String, &Tensor)| {
        (name.clone(), tensor.on_host().unwrap().data::<f32>().unwrap().to_vec())
    };
    let mut all: BTreeMap<String, Vec<f32>> =
        gradients.generator.iter().chain(&gradients.discriminator).map(host).collect();
    trainer.apply(gradients, &report).unwrap();
    let moved = trainer.state.weights.iter().map(host);
    all.extend(moved.map(|(name, weight)| (format!("after.{name}"), weight)));
    (report, all)
}

/// Every loss, every gradient and every weight after a step.
#[test]
fn a_step_of_a_tokenizer() {
    let ((want, wanted), (got, found)) = (step(&cpu()), step(&cuda()));
    for scalar in &want.scalars {
        let value = got.get(&scalar.name).unwrap_or_else(|| panic!("no {}", scalar.name));
        let error = (value - scalar.value).abs() / scalar.value.abs().max(1e-6);
        assert!(error <= 1e-4, "{}: {value}, expected {}", scalar.name, scalar.value);
    }
    assert_eq!(found.keys().collect::<Vec<_>>(), wanted.keys().collect::<Vec<_>>());
    // Of all together: a gradient that is nearly zero has no relative error.
    let whole = |all: &BTreeMap<String, Vec<f32>>, after: bool| -> Vec<f32> {
        all.iter()
            .filter(|(name, _)| name.starts_with("after.") == after)
            .flat_map(|(_, v)| v.clone())
            .collect()
    };
    close("gradients", &whole(&found, false), &whole(&wanted, false));
    close("weights after the step", &whole(&found, true), &whole(&wanted, true));
}

/// Gradients of a generator whose classifiers are not zero, with everything dropped that a step may drop.
fn of_a_generator(device: &Device, keys: &[&str]) -> (Report, Vec<f32>) {
    let text = "kind = 'far'\n[model]\ncodebooks = 2\ncodebook_size = 48\nclasses = 3\ngrid = [5, 4]\nlayers = 2\n\
                dim = 128\nheads = 2\nhead_layers = 1\n";
    let keys: Vec<String> = keys.iter().map(|key| key.to_string()).collect();
    let recipe = FarRecipe::parse(text, &keys).unwrap();
    let start = init::far(&recipe.model.config().unwrap(), 1).unwrap();
    let classifier = |name: &str| {
        let shape = *start.tensor(name).unwrap().shape();
        let values: Vec<f32> = (0..shape.count()).map(|i| ((i * 37 % 101) as f32 - 50.0) / 500.0).collect();
        Tensor::from_slice(shape, &values).unwrap()
    };
    let tensor = |name: &str| match name.starts_with("output_") {
        true => classifier(name),
        false => start.tensor(name).unwrap(),
    };
    let weights: Vec<(String, Tensor)> = start.names().map(|name| (name.to_owned(), tensor(name))).collect();
    let weights = Source::from_tensors(weights, recipe.model.config().unwrap().metadata());
    let trainer = FarTrainer::new(&recipe, device, &weights).unwrap();
    let codes: Vec<u32> = (0..2 * 20 * 2).map(|i| i * 29 % 48).collect();
    let noise = Noise { tokens: 0.1, residual: 0.1, feed_forward: 0.1, seed: 3, step: 5, ..Noise::default() };
    let (report, gradients) = trainer.gradients(&[0, 2], &codes, &noise).unwrap();
    assert_eq!(gradients.len(), weights.names().count());
    let of = |gradient: &Tensor| gradient.on_host().unwrap().data::<f32>().unwrap().to_vec();
    (report, gradients.values().flat_map(of).collect())
}

/// Values of bf16 between layers leave gradients of f32 that are f32's, but for what rounding costs; parts that are run
/// again give the same.
#[test]
fn a_generator_s_gradients_in_bf16() {
    let (want, wanted) = of_a_generator(&cpu(), &[]);
    let (got, found) = of_a_generator(&cuda(), &[]);
    close("gradients", &found, &wanted);
    assert!((got.scalars[0].value - want.scalars[0].value).abs() < 1e-4);
    let (got, found) = of_a_generator(&cuda(), &["precision=bf16"]);
    let error = relative(&found, &wanted);
    println!("gradients in bf16: {error:.1e}");
    assert!((1e-3..3e-2).contains(&error), "{error:.2e}");
    let (value, expected) = (got.scalars[0].value, want.scalars[0].value);
    assert!((value - expected).abs() < 5e-3 * expected, "{value}, expected {expected}");
    let (_, again) = of_a_generator(&cuda(), &["precision=bf16", "checkpoint_blocks=true"]);
    assert!(found == again);
}
