//! From any file to a safetensors file, in another type.

use fqgan::Status;
use fqgan::far;
use fqgan::tensor::{DType, Tensor};
use fqgan::weights::{Map, Metadata, Source, cast, convert};
use half::{bf16, f16};
use proptest::prelude::*;
use std::path::{Path, PathBuf};

fn official() -> Source {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/official_style.pt");
    Source::open(path, Map::On).unwrap()
}

#[test]
fn a_checkpoint_becomes_safetensors() {
    let dir = tempfile::tempdir().unwrap();
    let path: PathBuf = dir.path().join("out.safetensors");
    let strings: Metadata = [("fqgan.version".to_string(), "1".to_string())].into();
    let source = official();
    assert_eq!(convert(&source, &path, |_| true, None, &strings).unwrap(), source.listing().len());
    let back = Source::open(&path, Map::On).unwrap();
    assert_eq!(back.listing(), source.listing());
    assert_eq!(back.all_metadata(), &strings);
    for name in source.names() {
        let (a, b) = (source.tensor(name).unwrap(), back.tensor(name).unwrap());
        let len = a.desc().bytes().unwrap();
        assert_eq!(a.storage().as_bytes().unwrap()[..len], b.storage().as_bytes().unwrap()[..len], "{name}");
    }
    // Over the source's strings go the new ones; what is not kept is not there, not even to be read.
    let newer: Metadata = [("fqgan.version".to_string(), "2".to_string()), ("x".into(), "y".into())].into();
    let half = dir.path().join("half.safetensors");
    assert_eq!(convert(&back, &half, |name| name != "a.slice", Some(DType::BF16), &newer).unwrap(), 9);
    let half = Source::open(&half, Map::On).unwrap();
    assert_eq!(half.all_metadata(), &newer);
    assert!(!half.contains("a.slice"));
    for (name, info) in half.listing().iter() {
        assert_eq!(info.dtype.to_string(), if name == "c.i64" { "i64" } else { "bf16" });
        assert_eq!(info.shape, source.listing().get(name).unwrap().shape);
    }
    let conv = source.tensor("encoder.conv_in.weight").unwrap();
    let rounded: Vec<bf16> = conv.data::<f32>().unwrap().iter().map(|&x| bf16::from_f32(x)).collect();
    assert_eq!(half.tensor("encoder.conv_in.weight").unwrap().data::<bf16>().unwrap(), rounded);
}

#[test]
fn a_converted_generator_has_the_same_configuration() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("far.safetensors");
    let source = Source::open(crate::common::formula_file("far_tiny_triple"), Map::On).unwrap();
    let config = far::Config::infer(&source).unwrap();
    convert(&source, &path, |_| true, Some(DType::F16), &config.metadata()).unwrap();
    assert_eq!(far::Config::infer(&Source::open(&path, Map::On).unwrap()).unwrap(), config);
}

#[test]
fn casts_that_cannot_be() {
    let large = Tensor::from_slice([3], &[1.0, f32::INFINITY, 70_000.0]).unwrap();
    let error = cast(&large, DType::F16).unwrap_err();
    assert_eq!(error.status(), Status::InvalidArgument);
    assert_eq!(error.to_string(), "70000 is too large for f16, bf16 can hold it");
    assert_eq!(cast(&large, DType::BF16).unwrap().data::<bf16>().unwrap()[1], bf16::INFINITY);
    assert_eq!(cast(&large, DType::I8).unwrap_err().status(), Status::Unsupported);
    assert_eq!(
        cast(&Tensor::from_slice([1], &[1i64]).unwrap(), DType::F32).unwrap_err().status(),
        Status::Unsupported
    );
    // The message of a file names file and tensor.
    let source = Source::from_tensors([("w".into(), large)], Metadata::new());
    let dir = tempfile::tempdir().unwrap();
    let error =
        convert(&source, dir.path().join("w"), |_| true, Some(DType::F16), &Metadata::new()).unwrap_err();
    assert!(error.to_string().contains("tensor w: 70000 is too large"), "{error}");
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(300) })]

    /// Rounded once, to nearest even, and exact on the way back up.
    #[test]
    fn casts_round_as_a_single_number_does(values in prop::collection::vec(any::<f32>(), 0..40)) {
        let tensor = Tensor::from_slice([values.len()], &values).unwrap();
        let narrow = cast(&tensor, DType::BF16).unwrap();
        for (b, x) in narrow.data::<bf16>().unwrap().iter().zip(&values) {
            prop_assert!(b.to_bits() == bf16::from_f32(*x).to_bits() || x.is_nan() && b.is_nan());
        }
        let small: Vec<f32> = values.iter().filter(|x| x.abs() < 65_000.0).copied().collect();
        let narrow = cast(&Tensor::from_slice([small.len()], &small).unwrap(), DType::F16).unwrap();
        for (h, x) in narrow.data::<f16>().unwrap().iter().zip(&small) {
            prop_assert_eq!(h.to_bits(), f16::from_f32(*x).to_bits());
        }
        let back = cast(&cast(&narrow, DType::F32).unwrap(), DType::F16).unwrap();
        prop_assert_eq!(back.data::<f16>().unwrap(), narrow.data::<f16>().unwrap());
    }
}
