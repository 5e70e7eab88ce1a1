use crate::{close, cpu, cuda, small};
use fqgan::backend::Device;
use fqgan::tensor::Tensor;
use fqgan::train::{Report, Teachers, TokenizerNetwork, Trainer, init};
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
