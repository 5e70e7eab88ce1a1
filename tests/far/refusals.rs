use crate::models::{AR, config, device, open, some_codes, source, tensors};
use fqgan::Status;
use fqgan::backend::cpu::Isa;
use fqgan::far::{Generator, Options, Sampling};
use fqgan::tensor::Tensor;
use fqgan::weights::Source;
use std::ops::ControlFlow;

#[track_caller]
fn refused<T>(result: fqgan::Result<T>, status: Status, says: &str) {
    let error = result.err().expect("it was accepted");
    assert!(error.status() == status && error.message().contains(says), "{:?}: {error}", error.status());
}

const INVALID: Status = Status::InvalidArgument;

#[test]
fn classes_and_codes_out_of_range() {
    let generator = open(2);
    let codes = some_codes(generator.config(), 2);
    let generate = |classes: &[u32]| generator.generate(classes, &Sampling::default());
    refused(generate(&[0, 5]), INVALID, "class 5 of image 1: the generator has classes 0 to 4");
    refused(generate(&[u32::MAX]), INVALID, "class 4294967295 of image 0");
    let logits = |classes: &[u32], codes: &[u32]| {
        generator.logits_into(classes, codes, &mut vec![0.0; classes.len() * 24 * 40])
    };
    assert!(logits(&[5, 5], &codes).is_ok(), "the null class");
    refused(logits(&[0, 6], &codes), INVALID, "class 6 of image 1: the generator has classes 0 to 5");
    let mut wrong = codes.clone();
    wrong[24 + 12 + 3] = 40;
    let says = "code 40 of image 1, sub-codebook 1, position 3 is not below 40";
    refused(logits(&[0, 1], &wrong), INVALID, says);
    refused(generator.surprise_into(&[0, 1], &wrong, &mut [0.0; 48]), INVALID, says);
    refused(generator.start(&[0, 1], &Sampling { given: 4, ..Sampling::default() }, &wrong), INVALID, says);
    assert!(generator.start(&[0, 1], &Sampling { given: 3, ..Sampling::default() }, &wrong).is_ok());
    refused(logits(&[0, 1], &codes[1..]), INVALID, "47 codes, expected [2, 2, 3, 4]");
}

#[test]
fn lengths() {
    let generator = open(2);
    let codes = some_codes(generator.config(), 1);
    let go_on = &mut |_, _| ControlFlow::Continue(());
    let mut short = vec![0; 23];
    let into = generator.generate_into(&[0], &Sampling::default(), &mut short, go_on);
    refused(into, INVALID, "codes holds 23 elements, too few for [1, 2, 3, 4]");
    let logits = generator.logits_into(&[0], &codes, &mut vec![0.0; 24 * 40 - 1]);
    refused(logits, INVALID, "logits holds 959 elements, expected 960");
    refused(generator.surprise_into(&[0], &codes, &mut [0.0; 23]), INVALID, "nats holds 23 elements");
    let given = Sampling { given: 1, ..Sampling::default() };
    refused(generator.start(&[0, 1], &given, &codes), INVALID, "24 codes, expected [2, 2, 3, 4]");
}

#[test]
fn numbers() {
    let generator = open(2);
    let with = |sampling| generator.generate(&[0], &sampling);
    let plain = Sampling::default();
    refused(with(Sampling { temperature: 0.0, ..plain }), INVALID, "temperature is 0");
    refused(with(Sampling { temperature: f32::NAN, ..plain }), INVALID, "temperature is NaN");
    refused(with(Sampling { guidance: f32::INFINITY, ..plain }), INVALID, "guidance is inf");
    refused(with(Sampling { top_p: 1.01, ..plain }), INVALID, "top-p is 1.01");
    refused(with(Sampling { steps: 13, ..plain }), INVALID, "13 steps: the grid has 12 positions");
    let given = generator.start(&[0], &Sampling { given: 13, ..plain }, &[0; 24]);
    refused(given, INVALID, "13 given positions: the grid has 12 positions");
}

/// A weight that is no number, wherever it stands, is an error and not a picture.
#[test]
fn weights_that_are_no_numbers() {
    let config = config(2, AR);
    for name in
        ["layers.1.feed_forward.w2.weight", "output_2.weight", "norm.weight", "layers.0.attention.wo.weight"]
    {
        for bad in [f32::NAN, f32::INFINITY, 3e38] {
            let mut tensors = tensors(&config);
            let (_, tensor) = tensors.iter_mut().find(|(n, _)| n == name).unwrap();
            let mut values = tensor.data::<f32>().unwrap().to_vec();
            values.iter_mut().for_each(|v| *v = bad);
            *tensor = Tensor::from_slice(*tensor.shape(), &values).unwrap();
            let source = Source::from_tensors(tensors, config.metadata());
            let generator = Generator::open(&device(Isa::best(), 2), &source, &Options::default()).unwrap();
            let says = "are not all finite: the weights are damaged";
            refused(generator.generate(&[0, 1], &Sampling::default()), Status::Format, says);
            let mut generation = generator.start(&[0], &Sampling::default(), &[]).unwrap();
            refused(generation.next().unwrap(), Status::Format, "position 0, sub-code");
            assert!(generation.next().is_none() && generation.codes().unwrap().iter().all(|&c| c == 0));
        }
    }
}

#[test]
fn files() {
    let config = config(2, AR);
    let open = |source: &Source| Generator::open(&device(Isa::best(), 1), source, &Options::default());
    assert!(open(&source(&config)).is_ok());
    for (name, _) in tensors(&config) {
        let rest = tensors(&config).into_iter().filter(|(n, _)| *n != name);
        let error = open(&Source::from_tensors(rest, config.metadata())).err();
        // Without its first block a head is another head.
        assert!(error.is_some_and(|e| e.status() == Status::Format), "{name} was not missed");
    }
}
