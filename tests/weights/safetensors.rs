//! The safetensors reader and writer, against the reference implementation and against damage.

use crate::common::shifted;
use fqgan::tensor::{DType, Tensor};
use fqgan::weights::{Map, Metadata, Source, save};
use fqgan::{Result, Status};
use half::{bf16, f16};
use proptest::prelude::*;
use safetensors::SafeTensors;
use std::path::Path;
use std::sync::Arc;

fn some_tensors() -> Vec<(&'static str, Tensor)> {
    vec![
        ("byte", Tensor::from_slice([3], &[1u8, 2, 3]).unwrap()),
        ("conv.weight", Tensor::from_slice([2, 3, 1, 1], &[1f32, -2.5, 3.0, 4.0, 5.0, 6.0]).unwrap()),
        ("half", Tensor::from_slice([2], &[f16::from_f32(0.5), f16::NAN]).unwrap()),
        ("brain", Tensor::from_slice([1, 3], &[bf16::ONE, bf16::NEG_ONE, bf16::ZERO]).unwrap()),
        ("steps", Tensor::from_slice([], &[200_000i64]).unwrap()),
        ("empty", Tensor::from_slice([0, 4], &[0f64; 0]).unwrap()),
        ("quo\"te\\\n\u{1F600}", Tensor::from_slice([1], &[7i32]).unwrap()),
    ]
}

fn metadata() -> Metadata {
    [("fqgan.version", "0.1.0"), ("note", "tab\tand \"quotes\"")].map(|(k, v)| (k.into(), v.into())).into()
}

fn saved() -> Vec<u8> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("w.safetensors");
    save(&path, &some_tensors(), &metadata()).unwrap();
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "nothing is left beside the file");
    std::fs::read(path).unwrap()
}

fn same(a: &Tensor, b: &Tensor) -> bool {
    let bytes = a.desc().bytes().unwrap();
    a.desc() == b.desc()
        && a.storage().as_bytes().unwrap()[..bytes] == b.storage().as_bytes().unwrap()[..bytes]
}

fn check_all(source: &Source) {
    for (name, tensor) in some_tensors() {
        assert!(same(&source.tensor(name).unwrap(), &tensor), "{name}");
    }
    assert_eq!(source.names().count(), some_tensors().len());
    assert_eq!(source.all_metadata(), &metadata());
    assert_eq!(source.metadata("fqgan.version"), Some("0.1.0"));
    assert!(source.get("nope").unwrap().is_none());
}

#[test]
fn what_was_saved_opens_mapped_read_and_borrowed() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("w.safetensors");
    save(&path, &some_tensors(), &metadata()).unwrap();
    for map in [Map::On, Map::Off] {
        check_all(&Source::open(&path, map).unwrap());
    }
    for by in 0..8 {
        check_all(&Source::from_bytes(shifted(&saved(), by)).unwrap());
    }
}

#[test]
fn aligned_tensors_are_not_copied() {
    let bytes: Arc<dyn fqgan::tensor::Bytes> = shifted(&saved(), 0);
    let range = bytes.bytes().as_ptr_range();
    let source = Source::from_bytes(bytes.clone()).unwrap();
    for (name, _) in some_tensors() {
        assert!(range.contains(&source.tensor(name).unwrap().storage().as_ptr()), "{name} was copied");
    }
}

#[test]
fn tensors_outlive_their_source() {
    let tensor = Source::from_bytes(Arc::new(saved())).unwrap().tensor("conv.weight").unwrap();
    assert_eq!(tensor.data::<f32>().unwrap(), [1.0, -2.5, 3.0, 4.0, 5.0, 6.0]);
}

#[test]
fn the_reference_implementation_reads_what_we_write() {
    let bytes = saved();
    let theirs = SafeTensors::deserialize(&bytes).unwrap();
    assert_eq!(theirs.len(), some_tensors().len());
    for (name, tensor) in some_tensors() {
        let view = theirs.tensor(name).unwrap();
        assert_eq!(view.shape(), &tensor.shape()[..]);
        assert_eq!(view.data(), &tensor.storage().as_bytes().unwrap()[..view.data().len()]);
        assert_eq!(
            view.data().as_ptr() as usize % tensor.dtype().size(),
            bytes.as_ptr() as usize % tensor.dtype().size()
        );
    }
    let (_, header) = SafeTensors::read_metadata(&bytes).unwrap();
    let strings: Metadata = header.metadata().clone().unwrap().into_iter().collect();
    assert_eq!(strings, metadata());
}

fn file(header: &str, data: usize) -> Vec<u8> {
    let mut all = (header.len() as u64).to_le_bytes().to_vec();
    all.extend_from_slice(header.as_bytes());
    all.resize(all.len() + data, 1);
    all
}

fn message(header: &str, data: usize) -> String {
    let error = Source::from_bytes(Arc::new(file(header, data))).unwrap_err();
    assert_eq!(error.status(), Status::Format, "{error}");
    error.to_string()
}

#[test]
fn messages_say_what_is_wrong() {
    for (header, data, expected) in [
        ("", 0, "expected '{', found the end"),
        ("{", 0, "expected '\"', found the end"),
        ("[]", 0, "expected '{', found '['"),
        (r#"{"a":{}}"#, 0, "tensor a: has no field dtype"),
        (r#"{"a":{"dtype":"F32"}}"#, 0, "tensor a: has no field shape"),
        (r#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4],"x":1}}"#, 4, "unknown field \"x\""),
        (
            r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}}"#,
            4,
            "tensor a: f32 [2] needs 8 bytes, data_offsets [0, 4] hold 4",
        ),
        (r#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[4,0]}}"#, 4, "run backwards"),
        (r#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[0]}}"#, 4, "has 1 numbers, expected 2"),
        (
            r#"{"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}}"#,
            4,
            "expected a whole number of at most 64 bits, found '-'",
        ),
        (r#"{"a":{"dtype":"F32","shape":[1.0],"data_offsets":[0,4]}}"#, 4, "expected ',', found '.'"),
        (
            r#"{"a":{"dtype":"F32","shape":[99999999999999999999],"data_offsets":[0,4]}}"#,
            4,
            "at most 64 bits",
        ),
        (
            r#"{"a":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,4]}}"#,
            4,
            "too large to address",
        ),
        (
            r#"{"a":{"dtype":"F64","shape":[2305843009213693952],"data_offsets":[0,0]}}"#,
            0,
            "too large to address",
        ),
        (
            r#"{"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}}"#,
            3,
            "need 4 bytes after the header, the file has 3: it was cut short",
        ),
        (r#"{"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}}"#, 5, "the rest belongs to none"),
        (
            r#"{"a":{"dtype":"U8","shape":[4],"data_offsets":[1,5]}}"#,
            5,
            "tensor a leaves a hole before it: it begins at byte 1, expected 0",
        ),
        (
            r#"{"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},"b":{"dtype":"U8","shape":[2],"data_offsets":[3,5]}}"#,
            5,
            "tensor b overlaps",
        ),
        (
            r#"{"a":{"dtype":"U8","shape":[0],"data_offsets":[0,0]},"a":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}"#,
            0,
            "the same key stands twice",
        ),
        (r#"{"__metadata__":{"k":1}}"#, 0, "expected '\"', found '1'"),
        (r#"{"\ud800":{}}"#, 0, "bad escape"),
        (r#"{"\u12"#, 0, "bad \\u escape"),
        (r#"{} x"#, 0, "unexpected text"),
    ] {
        let found = message(header, data);
        assert!(found.contains(expected), "{header}\n  {found}\n  lacks {expected}");
        assert!(found.starts_with("weights in memory: "), "{found}");
    }
    let long = Source::from_bytes(Arc::new(vec![0xFF; 64])).unwrap_err().to_string();
    assert!(long.contains("at most 100000000"), "{long}");
    let short = Source::from_bytes(Arc::new(vec![1, 2, 3])).unwrap_err().to_string();
    assert!(short.contains("it has 3 bytes"), "{short}");
}

#[test]
fn unknown_types_and_many_axes_are_listed_and_fail_when_read() {
    let header = r#"{"f8":{"dtype":"F8_E4M3","shape":[4],"data_offsets":[0,4]},"deep":{"dtype":"U8","shape":[1,1,1,1,1,1,1],"data_offsets":[4,5]}}"#;
    let source = Source::from_bytes(Arc::new(file(header, 5))).unwrap();
    assert_eq!(source.listing().get("f8").unwrap().to_string(), "F8_E4M3 [4]");
    for (name, expected) in [("f8", "type F8_E4M3 cannot be read"), ("deep", "7 axes, at most 6")] {
        let error = source.tensor(name).unwrap_err();
        assert_eq!(error.status(), Status::Unsupported);
        assert!(error.to_string().contains(expected), "{error}");
    }
}

#[test]
fn a_missing_tensor_is_named() {
    let error = Source::from_bytes(Arc::new(saved())).unwrap().tensor("encoder.conv_in.weight").unwrap_err();
    assert_eq!(error.status(), Status::Format);
    assert_eq!(error.to_string(), "weights in memory: tensor encoder.conv_in.weight is missing");
}

#[test]
fn files_that_cannot_be_opened() {
    let dir = tempfile::tempdir().unwrap();
    for map in [Map::On, Map::Off] {
        let open = |path: &Path| Source::open(path, map).unwrap_err();
        let missing = open(&dir.path().join("none.safetensors"));
        assert_eq!(missing.status(), Status::Io);
        assert!(missing.to_string().contains("none.safetensors"), "{missing}");
        assert_eq!(open(dir.path()).status(), Status::Io);
        let empty = dir.path().join("empty");
        std::fs::write(&empty, []).unwrap();
        assert!(open(&empty).to_string().contains("it has 0 bytes"));
    }
}

#[test]
fn a_file_cut_while_open_without_a_map_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("w.safetensors");
    save(&path, &some_tensors(), &metadata()).unwrap();
    let source = Source::open(&path, Map::Off).unwrap();
    let file = std::fs::File::options().write(true).open(&path).unwrap();
    file.set_len(file.metadata().unwrap().len() - 1).unwrap();
    let error = source.tensor("byte").unwrap_err();
    assert_eq!(error.status(), Status::Io);
    assert!(error.to_string().contains("tensor byte"), "{error}");
}

fn read_everything(bytes: Vec<u8>) -> Result<Vec<Tensor>> {
    let source = Source::from_bytes(Arc::new(bytes))?;
    source.names().filter_map(|name| source.get(name).transpose()).collect()
}

#[test]
fn every_truncation_is_an_error() {
    let bytes = saved();
    for len in 0..bytes.len() {
        assert!(read_everything(bytes[..len].to_vec()).is_err(), "{len} of {}", bytes.len());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(500) })]

    /// Whatever opens has tensors whose elements exist, and the reference implementation opens it too.
    #[test]
    fn damaged_files_fail_or_open_sane(flips in prop::collection::vec((any::<prop::sample::Index>(), 0u8..8), 1..4)) {
        let mut bytes = saved();
        let reach = bytes.len().min(1100);
        for (at, bit) in flips {
            bytes[at.index(reach)] ^= 1 << bit;
        }
        if let Ok(tensors) = read_everything(bytes.clone()) {
            prop_assert!(SafeTensors::deserialize(&bytes).is_ok());
            for t in tensors {
                prop_assert!(t.desc().bytes().unwrap() <= t.storage().len());
            }
        }
    }

    #[test]
    fn noise_never_opens(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(read_everything(bytes).is_err());
    }

    #[test]
    fn any_names_and_values_come_back(
        tensors in prop::collection::btree_map(".{0,12}", prop::collection::vec(any::<u32>(), 0..9), 0..6),
        metadata in prop::collection::btree_map(".{0,12}", ".{0,12}", 0..4),
    ) {
        let mut tensors = tensors;
        tensors.remove("__metadata__");
        let made: Vec<_> = tensors.iter().map(|(n, v)| (n.as_str(), Tensor::from_slice([v.len()], v).unwrap())).collect();
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("w");
        save(&path, &made, &metadata).unwrap();
        let source = Source::open(&path, Map::On).unwrap();
        prop_assert_eq!(source.all_metadata(), &metadata);
        for (name, tensor) in &made {
            prop_assert!(same(&source.tensor(name).unwrap(), tensor));
            prop_assert_eq!(source.tensor(name).unwrap().dtype(), DType::U32);
        }
        prop_assert!(SafeTensors::deserialize(&std::fs::read(&path).unwrap()).is_ok());
    }
}

#[test]
fn what_cannot_be_saved() {
    let dir = tempfile::tempdir().unwrap();
    let one = Tensor::from_slice([1], &[1f32]).unwrap();
    let twice =
        save(dir.path().join("w"), &[("a", one.clone()), ("a", one.clone())], &Metadata::new()).unwrap_err();
    assert_eq!(twice.status(), Status::InvalidArgument);
    assert!(twice.to_string().contains("tensor a"), "{twice}");
    let nowhere = dir.path().join("no/such/folder/w");
    let error = save(&nowhere, &[("a", one)], &Metadata::new()).unwrap_err();
    assert_eq!(error.status(), Status::Io);
    assert!(error.to_string().contains("no/such/folder/w"), "{error}");
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
}
