//! StyleGAN2's discriminator: against PyTorch's, and in a run.

use crate::small;
use fqgan::backend::Device;
use fqgan::backend::cpu::{Cpu, Isa, Pool};
use fqgan::exec::{Eager, Exec, Tape};
use fqgan::ops::mean_error::{MeanError, Power};
use fqgan::teachers::{Discriminator, StyleGan2};
use fqgan::tensor::{Shape, Tensor};
use fqgan::train::optim::Tensors;
use fqgan::train::recipe::Judge;
use fqgan::train::{Recipe, init};
use fqgan::weights::Source;
use std::collections::BTreeMap;
use std::sync::Arc;

/// What tests/train/style_gan2.py prints.
const LOGITS: [f64; 8] =
    [-6.55780446, -6.88584688, -6.80042449, -6.93136649, -6.39089307, -7.045813, -6.50182996, -6.58045706];
const GRADIENTS: [(&str, f64); 18] = [
    ("convs.0.0.weight", 94.9592721),
    ("convs.0.1.bias", 397.299646),
    ("convs.1.conv1.0.weight", 568.270671),
    ("convs.1.conv1.1.bias", 448.096349),
    ("convs.1.conv2.1.weight", 348.613964),
    ("convs.1.conv2.2.bias", 140.363278),
    ("convs.1.skip.1.weight", 140.042693),
    ("convs.2.conv1.0.weight", 249.691092),
    ("convs.2.conv1.1.bias", 82.469052),
    ("convs.2.conv2.1.weight", 365.462268),
    ("convs.2.conv2.2.bias", 67.6913397),
    ("convs.2.skip.1.weight", 213.860218),
    ("final_conv.0.weight", 535.456924),
    ("final_conv.1.bias", 123.989077),
    ("final_linear.0.weight", 375.248902),
    ("final_linear.0.bias", 78.8319061),
    ("final_linear.1.weight", 1012.08908),
    ("final_linear.1.bias", 107.388871),
];

/// The script's numbers.
fn values(seed: usize, shape: &[usize]) -> Tensor {
    let count: usize = shape.iter().product();
    let value = |i: usize| (((i + 1) * (i + 7919 + 2 * seed)) % 1009) as f64 / 252.25 - 2.0;
    let all: Vec<f32> = (0..count).map(|i| value(i) as f32).collect();
    Tensor::from_slice(Shape::try_from_slice(shape).unwrap(), &all).unwrap()
}

fn sum(e: &Eager<'_>, a: &Tensor, b: &Tensor) -> fqgan::Result<Tensor> {
    e.apply(fqgan::ops::add::Add, &[a, b]).map(|[y]| y)
}

#[test]
fn logits_and_gradients_are_those_of_pytorch() {
    let manifest = StyleGan2::manifest(16, 4).unwrap();
    let named =
        manifest.iter().enumerate().map(|(seed, (name, shape))| (name.to_string(), values(seed, shape)));
    let weights: Tensors = named.collect();
    let source = Source::from_tensors(weights.clone(), BTreeMap::new());
    let network = Discriminator::open(&source).unwrap();
    assert_eq!(Judge::of(&network), Judge::StyleGan2);
    assert!(weights.keys().all(|name| network.owns(name)) && !network.owns("convs.1.conv2.0.kernel"));
    for isa in Isa::available() {
        let device = Device::Cpu(Arc::new(Cpu { pool: Pool::new(2).unwrap(), isa }));
        let workspace = device.workspace(None);
        let tape = Tape::new(Eager::new(&device, &workspace), &weights, sum);
        let pictures = values(99, &[8, 16, 16, 3]);
        let logits = network.forward(&tape, &tape.constant(pictures)).unwrap();
        for (got, want) in logits.tensor().data::<f32>().unwrap().iter().zip(LOGITS) {
            assert!((f64::from(*got) - want).abs() < 2e-5 * want.abs() + 2e-5, "{got} {want}");
        }
        // Eight times the mean of the squares.
        let zero = tape.constant(Tensor::from_slice([8, 1, 1, 1], &[0.0f32; 8]).unwrap());
        let [mean] = tape.apply(MeanError(Power::Squared), &[&logits, &zero]).unwrap();
        let found = tape.into_gradients(&[(&mean, Tensor::from_slice([], &[8.0f32]).unwrap())]).unwrap();
        assert_eq!(found.len(), GRADIENTS.len());
        for (name, want) in GRADIENTS {
            let length =
                found[name].data::<f32>().unwrap().iter().map(|x| f64::from(*x).powi(2)).sum::<f64>();
            assert!((length.sqrt() / want - 1.0).abs() < 1e-4, "{name}: {} {want}", length.sqrt());
        }
    }
}

fn recipe(more: &[&str]) -> Recipe {
    small::recipe(&[&["adversarial.network=stylegan2", "adversarial.width=8"][..], more].concat())
}

/// With each game, against a tokenizer that stays as it is; the same bits on any number of threads.
#[test]
fn it_learns() {
    for game in ["hinge", "vanilla", "non-saturating"] {
        let game = format!("adversarial.game={game}");
        let recipe = recipe(&["optimizer.rate=0.0", "discriminator_optimizer.rate=2e-3", &game]);
        let learn = |threads: usize| {
            let mut trainer = small::trainer(&recipe, threads);
            let losses: Vec<f64> = (0..25)
                .map(|_| trainer.step(&small::pictures(4)).unwrap().get("discriminator").unwrap())
                .collect();
            assert!(trainer.state.statistics.is_empty());
            losses
        };
        let losses = learn(2);
        assert!(losses[24] < 0.5 * losses[0], "{game}: {losses:?}");
        assert!(losses == learn(1));
    }
}

/// The adaptive weight, and what a checkpoint brings back.
#[test]
fn it_goes_on_from_a_checkpoint() {
    let recipe = recipe(&["adversarial.adaptive=true"]);
    let mut one = small::trainer(&recipe, 2);
    one.step(&small::pictures(4)).unwrap();
    let contents = one.state.contents().unwrap();
    let mut two = small::trainer(&recipe, 2);
    two.state.restore(&Source::from_tensors(contents.tensors, contents.metadata)).unwrap();
    let reports = [&mut one, &mut two].map(|trainer| trainer.step(&small::pictures(4)).unwrap());
    assert_eq!(reports[0], reports[1]);
    assert!(reports[0].get("adaptive_weight").unwrap() > 0.0);
}

#[test]
fn what_does_not_fit_is_refused() {
    for (side, width) in [(24, 8), (4, 8), (32, 0)] {
        let error = StyleGan2::manifest(side, width).err().unwrap();
        assert!(error.message().contains("a power of two of at least 8"), "{error}");
    }
    let recipe = recipe(&[]);
    let weights = init::tokenizer(&recipe, &BTreeMap::new(), 1).unwrap();
    let patches = init::discriminator(&small::recipe(&[]), 1).unwrap();
    let teachers = fqgan::train::Teachers::default();
    let error =
        fqgan::train::TokenizerNetwork::open(&recipe, &weights, Some(&patches), teachers).err().unwrap();
    assert!(error.message().contains("the discriminator is a PatchGan"), "{error}");
    let error = Discriminator::open(&weights).err().unwrap();
    assert!(error.message().contains("no discriminator: expected main.0.weight (PatchGAN)"), "{error}");
}
