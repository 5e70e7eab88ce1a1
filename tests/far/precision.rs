use crate::models::{AR, config, device, open_with, some_codes, source, tensors};
use fqgan::Status;
use fqgan::backend::cpu::Isa;
use fqgan::far::{Generator, Options};
use fqgan::nn::Precision;
use fqgan::tensor::{DType, Tensor};
use fqgan::weights::{Comparison, Map, Source, cast, convert_to_int8, quantize, scale_name};

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
    let error = relative(&rounded, &exact);
    assert!(error > 1e-4 && error < 2e-2, "{error:.2e}");
}

fn relative(got: &[f32], want: &[f32]) -> f64 {
    let square = |x: f64| x * x;
    let error: f64 = got.iter().zip(want).map(|(a, b)| square(f64::from(a - b))).sum();
    (error / want.iter().map(|x| square(f64::from(*x))).sum::<f64>()).sqrt()
}

#[test]
fn int8_is_that_of_a_file_of_int8() {
    let int8 = Options { precision: Precision::Int8, ..Options::default() };
    let rounded = logits(&open_with(2, 2, &int8));
    let config = config(2, AR);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("int8.safetensors");
    let manifest = config.manifest();
    let all = |_: &str| true;
    let matrix = |name: &str| manifest.is_matrix(name);
    convert_to_int8(&source(&config), &path, all, matrix, &config.metadata()).unwrap();
    let file = Source::open(&path, Map::On).unwrap();
    assert_eq!(file.tensor("output_1.weight").unwrap().dtype(), DType::I8);
    assert_eq!(file.tensor("output_1.weight.scale").unwrap().shape()[..], [40]);
    assert_eq!(file.tensor("norm.weight").unwrap().dtype(), DType::F32);
    assert!(manifest.compare(file.listing()) == Comparison::default());
    // With f32 asked for, the file's matrices stay what they are; the cache is exact then.
    for options in [int8, Options::default()] {
        let of_file = Generator::open(&device(Isa::best(), 2), &file, &options).unwrap();
        assert_eq!(of_file.config(), &config);
        if options.precision == Precision::Int8 {
            assert!(rounded == logits(&of_file), "rounding at open is not rounding in the file");
        } else {
            assert!(relative(&rounded, &logits(&of_file)) < 5e-3);
        }
    }
    let exact = logits(&open_with(2, 2, &Options::default()));
    let error = relative(&rounded, &exact);
    assert!(error > 1e-4 && error < 3e-2, "{error:.2e}");
}

#[test]
fn int8_files_that_are_not_whole() {
    let config = config(2, AR);
    let with = |change: &dyn Fn(&str, &mut Option<Tensor>)| {
        let mut all = Vec::new();
        for (name, tensor) in tensors(&config) {
            if !config.manifest().is_matrix(&name) {
                all.push((name, tensor));
                continue;
            }
            let (bytes, scale) = quantize(&tensor).unwrap();
            for (name, tensor) in [(scale_name(&name), scale), (name, bytes)] {
                let mut tensor = Some(tensor);
                change(&name, &mut tensor);
                all.extend(tensor.map(|t| (name, t)));
            }
        }
        let source = Source::from_tensors(all, config.metadata());
        Generator::open(&device(Isa::best(), 1), &source, &Options::default()).map(|_| ())
    };
    with(&|_, _| {}).unwrap();
    let refused = |says: &str, change: &dyn Fn(&mut Option<Tensor>)| {
        let name = "layers.1.attention.wo.weight.scale";
        let error = with(&|n, t| {
            if n == name {
                change(t)
            }
        })
        .unwrap_err();
        assert_eq!(error.status(), Status::Format);
        assert!(error.message().contains(says) && error.message().contains(name), "{error}");
    };
    refused("missing", &|t| *t = None);
    refused("is f32 [31]", &|t| *t = Some(Tensor::from_slice([31], &[0.0f32; 31]).unwrap()));
    refused("is i8 [32]", &|t| *t = Some(Tensor::from_slice([32], &[0i8; 32]).unwrap()));
}

#[test]
fn int8_of_what_is_no_number() {
    let config = config(2, AR);
    let mut tensors = tensors(&config);
    let (name, tensor) = tensors.iter_mut().find(|(n, _)| n == "ar_head.1.feed_forward.w2.weight").unwrap();
    let mut values = tensor.data::<f32>().unwrap().to_vec();
    values[7] = f32::INFINITY;
    *tensor = Tensor::from_slice(*tensor.shape(), &values).unwrap();
    let name = name.clone();
    let source = Source::from_tensors(tensors, config.metadata());
    let options = Options { precision: Precision::Int8, ..Options::default() };
    let error = Generator::open(&device(Isa::best(), 1), &source, &options).err().unwrap();
    assert_eq!(error.status(), Status::Format);
    assert!(error.message().contains(&name) && error.message().contains("finite"), "{error}");
}

#[test]
fn rounded_weights_count() {
    for precision in [Precision::Bf16, Precision::Int8] {
        let open = |limit| {
            let options = Options { precision, memory_limit: Some(limit) };
            Generator::open(&device(Isa::best(), 1), &source(&config(2, AR)), &options)
        };
        assert_eq!(open(10_000).err().unwrap().status(), Status::OutOfMemory);
        assert!(open(1_000_000).is_ok());
    }
}
