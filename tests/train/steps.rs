use crate::small::{pictures, recipe, trainer};
use fqgan::backend::Device;
use fqgan::backend::cpu::Cpu;
use fqgan::tensor::Tensor;
use fqgan::train::{Recipe, Teachers, TokenizerNetwork, Trainer, Usage, init};
use std::collections::BTreeMap;
use std::sync::Arc;

fn floats(tensor: &Tensor) -> Vec<f32> {
    tensor.data::<f32>().unwrap().to_vec()
}

fn bits(trainer: &Trainer) -> BTreeMap<String, Vec<u32>> {
    let state = &trainer.state;
    let all = state.weights.iter().chain(&state.discriminator).chain(&state.statistics);
    all.map(|(name, t)| (name.clone(), floats(t).iter().map(|x| x.to_bits()).collect())).collect()
}

#[test]
fn the_loss_falls() {
    // The second is a plain VQGAN.
    for overrides in [
        &["optimizer.rate=2e-3"][..],
        &["optimizer.rate=2e-3", "model.branches=[\"\"]", "loss.reconstruction=l1"],
    ] {
        let mut trainer = trainer(&recipe(overrides), 2);
        let pictures = pictures(4);
        let reports: Vec<_> = (0..40).map(|_| trainer.step(&pictures).unwrap()).collect();
        let last = |name: &str| reports.last().unwrap().get(name).unwrap();
        let first = reports[0].get("reconstruction").unwrap();
        // Mean squares fall faster than mean magnitudes.
        let share = if overrides.len() == 1 { 0.75 } else { 0.9 };
        assert!(last("reconstruction") < share * first, "{first} {}", last("reconstruction"));
        assert_eq!(reports[0].get("disentangle").is_some(), overrides.len() == 1);
    }
}

/// Against a tokenizer that stays as it is.
#[test]
fn the_discriminator_learns() {
    let mut trainer = trainer(&recipe(&["optimizer.rate=0.0", "discriminator_optimizer.rate=1e-3"]), 2);
    let mut loss = || trainer.step(&pictures(4)).unwrap().get("discriminator").unwrap();
    let first = loss();
    let last = (0..20).map(|_| loss()).last().unwrap();
    assert!(last < 0.5 * first, "{first} {last}");
}

#[test]
fn the_same_bits_on_any_number_of_threads() {
    let recipe = recipe(&["optimizer.average=0.9", "adversarial.adaptive=true"]);
    let run = |threads: usize| {
        let mut trainer = trainer(&recipe, threads);
        for _ in 0..3 {
            trainer.step(&pictures(3)).unwrap();
        }
        (bits(&trainer), floats(&trainer.state.average["decoder.conv_out.weight"]))
    };
    let one = run(1);
    assert!(one == run(2) && one == run(3));
    assert_ne!(
        one.1,
        one.0["decoder.conv_out.weight"].iter().map(|&b| f32::from_bits(b)).collect::<Vec<_>>()
    );
}

/// Before its start the game counts for nothing on either side, but the discriminator's steps and statistics go on.
#[test]
fn the_game_begins_when_it_should() {
    let mut early = trainer(&recipe(&["adversarial.start=2"]), 2);
    let mut never = trainer(&recipe(&["adversarial.weight=0.0"]), 2);
    let begin = bits(&early);
    for step in 0..3 {
        let (a, b) = (early.step(&pictures(2)).unwrap(), never.step(&pictures(2)).unwrap());
        assert_eq!(a.get("discriminator") == Some(0.0), step < 2, "step {step}");
        assert_eq!(a.get("grad_norm") == b.get("grad_norm"), step < 2, "step {step}");
        if step == 1 {
            assert_eq!(bits(&early), bits(&never));
            let (now, name) = (bits(&early), "main.3.running_mean");
            assert!(now[name].iter().any(|&b| b != 0));
            assert_eq!(now["main.2.weight"], begin["main.2.weight"]);
        }
    }
    assert_ne!(bits(&early)["main.2.weight"], begin["main.2.weight"]);
}

/// Each of the two lengths that the adaptive weight compares, from a run in which nothing else counts.
#[test]
fn the_adaptive_weight_is_the_ratio_of_two_gradients() {
    let nothing = [
        "loss.vq_weight=0.0",
        "loss.commit_beta=0.0",
        "loss.entropy_ratio=0.0",
        "loss.disentangle_ratio=0.0",
    ];
    let length = |more: &[&str], weight: f64| {
        let mut trainer = trainer(&recipe(&[&nothing[..], more].concat()), 2);
        let (report, _) = trainer.gradients(&pictures(2), Some(weight)).unwrap();
        report.gradients["decoder.conv_out.weight"]
    };
    let (wanted, game) = (length(&[], 0.0), length(&["loss.reconstruction_weight=0.0"], 1.0));
    let mut adaptive = trainer(&recipe(&["adversarial.adaptive=true"]), 2);
    let (report, _) = adaptive.gradients(&pictures(2), Some(0.5)).unwrap();
    let got = report.get("adaptive_weight").unwrap();
    let expected = wanted / (game + 1e-4);
    assert!((got / expected - 1.0).abs() < 1e-5, "{got} {expected}");
    let total: f64 = report.get("reconstruction").unwrap()
        + report.get("adversarial").unwrap() * 0.5 * got
        + ["vq", "commit", "entropy"]
            .iter()
            .flat_map(|t| ["vis", "sem"].map(|b| report.get(&format!("{t}_{b}")).unwrap()))
            .sum::<f64>()
        + report.get("disentangle").unwrap();
    assert!((report.get("total").unwrap() / total - 1.0).abs() < 1e-9);
}

#[test]
fn a_broken_step_is_named_and_moves_nothing() {
    let recipe = recipe(&[]);
    let mut trainer = trainer(&recipe, 2);
    trainer.step(&pictures(2)).unwrap();
    let name = "decoder.conv_out.bias";
    trainer.state.weights.insert(name.into(), Tensor::from_slice([3], &[0.0, f32::NAN, 0.0]).unwrap());
    let before = bits(&trainer);
    let report = trainer.step(&pictures(2)).unwrap();
    assert_eq!(report.broken(), Some("reconstruction"));
    let weights_of = |all: BTreeMap<String, Vec<u32>>| -> BTreeMap<_, _> {
        all.into_iter().filter(|(name, _)| !name.contains("running")).collect()
    };
    assert_eq!(weights_of(bits(&trainer)), weights_of(before));
    // What the codebook cannot place is an error that says where.
    let mut values = floats(&pictures(2));
    values[7] = f32::NAN;
    let error = trainer.step(&Tensor::from_slice([2, 32, 32, 3], &values).unwrap()).unwrap_err();
    assert!(error.message().contains("latents holds NaN"), "{error}");
}

#[test]
fn what_does_not_fit_is_refused() {
    let small = recipe(&[]);
    let weights = init::tokenizer(&small, &BTreeMap::new(), 1).unwrap();
    let open = |overrides: &[&str]| {
        let opened = TokenizerNetwork::open(&recipe(overrides), &weights, None, Teachers::default());
        opened.err().map(|e| e.message().to_string()).unwrap_or_default()
    };
    assert!(open(&["model.codebook_size=65"]).contains("not the recipe's network"));
    assert!(open(&["loss.perceptual_weight=1.0"]).contains("no weights of LPIPS"));
    assert_eq!(open(&[]), "");
}

/// Blocks that run a second time give the same gradients, bit for bit, from less memory.
#[test]
fn checkpoints_change_nothing_but_the_memory() {
    let run = |overrides: &[&str]| {
        let mut trainer = trainer(&recipe(overrides), 2);
        let (report, gradients) = trainer.gradients(&pictures(4), Some(0.5)).unwrap();
        let bits = |t: &Tensor| floats(t).iter().map(|x| x.to_bits()).collect::<Vec<_>>();
        let bits: BTreeMap<String, Vec<u32>> =
            gradients.generator.iter().map(|(name, t)| (name.clone(), bits(t))).collect();
        drop(gradients);
        (report, bits, trainer.workspace_bytes())
    };
    let (plain, again) = (run(&[]), run(&["checkpoint_blocks=true"]));
    assert_eq!(plain.0, again.0);
    assert!(plain.1 == again.1);
    assert!(10 * again.2 < 9 * plain.2, "{} {}", plain.2, again.2);
}

/// Two parts of a batch one after the other are the batch, where no term looks at all of it at once.
#[test]
fn parts_add_up_to_the_batch() {
    let step = |parts: &str| {
        let recipe = crate::small::recipe(&[
            "run.batch=4",
            &format!("run.accumulate={parts}"),
            "loss.entropy_ratio=0.0",
            "adversarial.enabled=false",
        ]);
        let mut trainer = crate::small::trainer(&recipe, 2);
        let report = trainer.step(&pictures(4)).unwrap();
        (report, trainer)
    };
    let ((whole, one), (parts, two)) = (step("1"), step("2"));
    for scalar in &whole.scalars {
        let other = parts.get(&scalar.name).unwrap();
        let room = 1e-4 * scalar.value.abs() + 1e-7;
        assert!((scalar.value - other).abs() <= room, "{}: {} {other}", scalar.name, scalar.value);
    }
    for (name, norm) in &whole.gradients {
        let room = 1e-3 * norm + 1e-5 * whole.get("grad_norm").unwrap();
        assert!((norm - parts.gradients[name]).abs() <= room, "{name}");
    }
    assert!(whole.flops > 1e8 && (parts.flops / whole.flops - 1.0).abs() < 0.01);
    let [a, b] = [&one, &two].map(|t| t.state.weights["decoder.conv_in.weight"].data::<f32>().unwrap());
    let moved = trainer(&recipe(&["adversarial.enabled=false"]), 2);
    let before = moved.state.weights["decoder.conv_in.weight"].data::<f32>().unwrap();
    let mean =
        |x: &[f32], y: &[f32]| x.iter().zip(y).map(|(x, y)| (x - y).abs()).sum::<f32>() / x.len() as f32;
    assert!(mean(a, b) < 0.02 * mean(a, before), "{} {}", mean(a, b), mean(a, before));
    let error = Recipe::parse("", &["run.accumulate=3".into()]).unwrap_err();
    assert!(error.message().contains("expected a divisor of run.batch, 256"), "{error}");
}

/// Factors of bf16, where the processor has them: the loss falls all the same, with the same bits on any number of threads.
#[test]
fn rounded_factors() {
    let recipe = crate::small::recipe(&["precision=bf16", "optimizer.rate=2e-3"]);
    let run = |threads: usize| {
        let mut trainer = trainer(&recipe, threads);
        let losses: Vec<f64> =
            (0..40).map(|_| trainer.step(&pictures(4)).unwrap().get("reconstruction").unwrap()).collect();
        (losses, bits(&trainer))
    };
    let one = run(1);
    assert!(one.0[39] < 0.75 * one.0[0], "{:?}", one.0);
    assert!(one == run(3));
}

#[test]
fn frozen_weights_stay() {
    let recipe = crate::small::recipe(&["freeze=[\"encoder\", \"quant\"]", "adversarial.enabled=false"]);
    let mut trainer = crate::small::trainer(&recipe, 2);
    let before = trainer.state.weights.clone();
    let report = trainer.step(&pictures(2)).unwrap();
    let whole = crate::small::recipe(&["adversarial.enabled=false"]);
    let fresh = crate::small::trainer(&whole, 2).step(&pictures(2));
    assert_eq!(report.get("reconstruction"), fresh.unwrap().get("reconstruction"));
    for (name, tensor) in &trainer.state.weights {
        let same = tensor.data::<f32>().unwrap() == before[name].data::<f32>().unwrap();
        let still = name.starts_with("encoder") || name.starts_with("quant");
        assert_eq!(same, still, "{name}");
        assert_eq!(report.gradients.contains_key(name), !still, "{name}");
    }
    let wrong = crate::small::recipe(&["freeze=[\"encodr\"]", "adversarial.enabled=false"]);
    let weights = init::tokenizer(&wrong, &BTreeMap::new(), 1).unwrap();
    let network = TokenizerNetwork::open(&wrong, &weights, None, Teachers::default()).unwrap();
    let device = Device::Cpu(Arc::new(Cpu::new(1).unwrap()));
    let error = Trainer::new(&wrong, &device, network, &weights, None).err().unwrap();
    assert!(error.message().contains("no weight's name begins with \"encodr\""), "{error}");
}

#[test]
fn usage_is_of_the_last_codes() {
    let mut usage = Usage::new(8);
    usage.add(&[1, 1, 5]).unwrap();
    assert!(usage.share() == 0.25 && !usage.is_full());
    usage.add(&vec![3; 65_534]).unwrap();
    // One of the two ones is gone.
    assert!(usage.is_full() && usage.share() == 0.375);
    usage.add(&[3, 3]).unwrap();
    assert_eq!(usage.share(), 0.125);
    assert_eq!(usage.codes().unwrap().data::<u32>().unwrap().len(), 65_536);
    let error = usage.add(&[8]).unwrap_err();
    assert!(error.message().contains("code 8 of a sub-codebook of 8"), "{error}");
}

/// A sub-codebook whose codes go out of use is warned of once.
#[test]
fn falling_usage_is_warned_of() {
    let recipe = crate::small::recipe(&["adversarial.enabled=false"]);
    let mut trainer = crate::small::trainer(&recipe, 2);
    let all: Vec<u32> = (0..65_536).map(|i| i % 64).collect();
    trainer.state.usage[0].add(&all).unwrap();
    assert!(trainer.step(&pictures(1)).unwrap().warnings.is_empty());
    trainer.state.usage[0].add(&vec![7; 65_536]).unwrap();
    let warnings = trainer.step(&pictures(1)).unwrap().warnings;
    assert!(warnings.len() == 1 && warnings[0].contains("sub-codebook \"vis\""), "{warnings:?}");
    assert!(trainer.step(&pictures(1)).unwrap().warnings.is_empty());
}
