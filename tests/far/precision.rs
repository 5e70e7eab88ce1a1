use crate::models::{AR, config, device, open_with, some_codes, source, tensors};
use fqgan::Status;
use fqgan::backend::cpu::Isa;
use fqgan::far::{Generator, Options};
use fqgan::nn::Precision;
use fqgan::tensor::DType;
use fqgan::weights::{Source, cast};

fn logits(generator: &Generator) -> Vec<f32> {
    let codes = some_codes(generator.config(), 1);
    let mut logits = vec![0.0; 2 * 12 * 40];
    generator.logits_into(&[1], &codes, &mut logits).unwrap();
    logits
}

#[test]
fn bf16_is_that_of_a_file_of_bf16() {
    let options = Options { precision: Precision::Bf16, ..Options::default() };
    let rounded = logits(&open_with(2, 2, &options));
    // The matrices alone: tables, norms and biases stay as the file has them.
    let matrix = |name: &str| {
        name.contains("attention.w")
            || name.contains("feed_forward")
            || name.contains("output")
            || name == "aggregation_layer.weight"
    };
    let file = tensors(&config(2, AR)).into_iter().map(|(name, t)| {
        let t = if matrix(&name) { cast(&t, DType::BF16).unwrap() } else { t };
        (name, t)
    });
    let file = Source::from_tensors(file, config(2, AR).metadata());
    let of_file = Generator::open(&device(Isa::best(), 2), &file, &options).unwrap();
    assert!(rounded == logits(&of_file), "rounding at open is not rounding in the file");

    let exact = logits(&open_with(2, 2, &Options::default()));
    let square = |x: f64| x * x;
    let error: f64 = rounded.iter().zip(&exact).map(|(a, b)| square(f64::from(a - b))).sum();
    let relative = (error / exact.iter().map(|x| square(f64::from(*x))).sum::<f64>()).sqrt();
    assert!(relative > 1e-4 && relative < 2e-2, "{relative:.2e}");
}

#[test]
fn int8_is_refused() {
    let options = Options { precision: Precision::Int8, ..Options::default() };
    let error = Generator::open(&device(Isa::best(), 1), &source(&config(2, AR)), &options).err().unwrap();
    assert_eq!(error.status(), Status::Unsupported);
    assert!(error.message().contains("expected f32 or bf16"), "{error}");
}
