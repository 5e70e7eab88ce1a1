//! Checkpoints of PyTorch: one with all that real ones have, some built by hand, and what hostile ones may not do.

use crate::pickling::{self as p, archive, bomb, state_dict};
use fqgan::tensor::{DType, Tensor};
use fqgan::weights::{Format, Map, Source};
use fqgan::{Result, Status};
use proptest::prelude::*;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use zip::CompressionMethod::{Deflated, Stored};

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

fn official() -> Vec<u8> {
    std::fs::read(golden("official_style.pt")).unwrap()
}

fn open(bytes: Vec<u8>) -> Result<Source> {
    Source::from_bytes(Arc::new(bytes))
}

fn read_everything(bytes: Vec<u8>) -> Result<Vec<Tensor>> {
    let source = open(bytes)?;
    source.names().filter_map(|name| source.get(name).transpose()).collect()
}

/// The elements as f64, whatever their type.
fn wide(t: &Tensor) -> Vec<f64> {
    match t.dtype() {
        DType::I64 => t.data::<i64>().unwrap().iter().map(|&x| x as f64).collect(),
        _ => t.to_f32().unwrap().data::<f32>().unwrap().iter().map(|&x| x.into()).collect(),
    }
}

fn check_official(source: &Source) {
    let expected = Source::open(golden("official_style_expected.safetensors"), Map::On).unwrap();
    assert!(source.names().eq(expected.names()));
    for name in expected.names() {
        let (found, expected) = (source.tensor(name).unwrap(), expected.tensor(name).unwrap());
        assert_eq!(wide(&found), wide(&expected), "{name}");
        // The scalar is the one whose shape the expectation's format does not keep.
        if name != "d.scalar" {
            assert_eq!(found.shape(), expected.shape(), "{name}");
        }
    }
    assert_eq!(source.tensor("b.bf16").unwrap().dtype(), DType::BF16);
    assert_eq!(source.tensor("b.f16").unwrap().dtype(), DType::F16);
    assert!(source.tensor("d.scalar").unwrap().shape().is_empty());
    let others = ["optimizer", "steps", "args"].map(String::from).to_vec();
    assert_eq!(source.format(), Format::Checkpoint { part: vec!["model".into()], others });
}

#[test]
fn the_official_style_opens_mapped_read_borrowed_and_unaligned() {
    for map in [Map::On, Map::Off] {
        check_official(&Source::open(golden("official_style.pt"), map).unwrap());
    }
    check_official(&open(official()).unwrap());
    for by in 1..8 {
        let bytes = crate::common::shifted(&official(), by);
        check_official(&Source::from_bytes(bytes).unwrap());
    }
}

#[test]
fn tensors_in_order_are_not_copied() {
    let bytes: Arc<dyn fqgan::tensor::Bytes> = crate::common::shifted(&official(), 0);
    let range = bytes.bytes().as_ptr_range();
    let source = Source::from_bytes(bytes.clone()).unwrap();
    let inside = |name| range.contains(&source.tensor(name).unwrap().storage().as_ptr());
    for name in ["encoder.conv_in.weight", "e.shared1", "b.bf16", "f.param"] {
        assert!(inside(name), "{name} was copied");
    }
    assert!(!inside("a.transposed") && !inside("a.slice"));
}

#[test]
fn a_packed_archive_opens_too() {
    let repacked = p::repack(&official(), Deflated);
    assert_ne!(repacked.len(), official().len());
    check_official(&open(repacked).unwrap());
}

const F: [f32; 4] = [1.0, 2.0, 3.0, 4.0];

fn storage(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|x| x.to_le_bytes()).collect()
}

/// A checkpoint of this pickle, with storages 0 (`F`) and 1 (`F` negated).
fn checkpoint(pickle: Vec<u8>) -> Vec<u8> {
    let negated = F.map(|x| -x);
    archive(&p::whole(pickle), &[("0", storage(&F)), ("1", storage(&negated))], Stored)
}

fn first(source: &Source) -> f32 {
    source.tensor("w").unwrap().data::<f32>().unwrap()[0]
}

#[test]
fn the_part_with_the_weights() {
    let (plus, minus) = (|| state_dict(&["w"], "0"), || state_dict(&["w"], "1"));
    let far = |key| state_dict(&["w", "cls_embedding.embedding_table.weight"], key);
    for (pickle, value, part) in [
        (plus(), 1.0, vec![]),
        (p::dict(&[("model", plus()), ("ema", minus())]), -1.0, vec!["ema"]),
        (p::dict(&[("model", far("0")), ("ema", far("1"))]), 1.0, vec!["model"]),
        (p::dict(&[("state_dict", plus()), ("module", minus())]), -1.0, vec!["module"]),
        (p::dict(&[("state_dict", plus()), ("module", p::none())]), 1.0, vec!["state_dict"]),
        (p::dict(&[("ema", p::dict(&[])), ("model", plus())]), 1.0, vec!["model"]),
        (p::dict(&[("model", p::dict(&[("module", plus())]))]), 1.0, vec!["model", "module"]),
        // A tensor beside the part is not what was asked for.
        (p::dict(&[("steps", p::tensor("1", 4, 0, &[4], &[1])), ("model", plus())]), 1.0, vec!["model"]),
        // Of two values under one key Python keeps the last.
        (
            p::dict(&[("w", p::tensor("1", 4, 0, &[4], &[1])), ("w", p::tensor("0", 4, 0, &[4], &[1]))]),
            1.0,
            vec![],
        ),
    ] {
        let source = open(checkpoint(pickle)).unwrap();
        assert_eq!(first(&source), value);
        let Format::Checkpoint { part: found, .. } = source.format() else { panic!("{:?}", source.format()) };
        assert_eq!(found, part);
    }
}

#[test]
fn another_part_that_was_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.pt");
    let (plus, minus) = (|| state_dict(&["w"], "0"), || state_dict(&["w"], "1"));
    for (pickle, value) in [
        (p::dict(&[("model", plus()), ("discriminator", minus())]), -1.0),
        (p::dict(&[("discriminator", p::dict(&[("module", minus())])), ("model", plus())]), -1.0),
        (minus(), -1.0),
    ] {
        std::fs::write(&path, checkpoint(pickle)).unwrap();
        assert_eq!(first(&Source::open_part(&path, Map::On, "discriminator").unwrap()), value);
    }
}

#[test]
fn views_of_a_storage() {
    for (offset, shape, strides, expected) in [
        (0, vec![4], vec![1], vec![1.0, 2.0, 3.0, 4.0]),
        (1, vec![3], vec![1], vec![2.0, 3.0, 4.0]),
        (0, vec![2, 2], vec![1, 2], vec![1.0, 3.0, 2.0, 4.0]),
        (0, vec![2], vec![3], vec![1.0, 4.0]),
        (3, vec![], vec![], vec![4.0]),
        (2, vec![2, 2], vec![0, 1], vec![3.0, 4.0, 3.0, 4.0]),
        (3, vec![1, 1], vec![usize::MAX >> 1, 7], vec![4.0]),
        (usize::MAX >> 1, vec![0, 3], vec![9, 9], vec![]),
    ] {
        let pickle = p::dict(&[("w", p::tensor("0", 4, offset, &shape, &strides))]);
        for method in [Stored, Deflated] {
            let bytes = archive(&p::whole(pickle.clone()), &[("0", storage(&F))], method);
            let tensor = open(bytes).unwrap().tensor("w").unwrap();
            assert_eq!(&tensor.shape()[..], shape);
            assert_eq!(tensor.data::<f32>().unwrap(), expected, "{offset} {shape:?} {strides:?}");
        }
    }
}

#[test]
fn views_outside_their_storage_are_refused() {
    let most = usize::MAX >> 1;
    for (count, offset, shape, strides) in [
        (4, 1, vec![4], vec![1]),
        (4, 0, vec![2], vec![4]),
        (4, 4, vec![], vec![]),
        (4, most, vec![1], vec![1]),
        (4, 0, vec![3, 3], vec![most, most]),
        (4, 0, vec![most, 2], vec![0, 0]),
        (4, 0, vec![most, 4], vec![1, 1]),
        (5, 0, vec![5], vec![1]),
        (3, 0, vec![4], vec![1]),
        (most, 0, vec![most], vec![1]),
    ] {
        let error =
            open(checkpoint(p::dict(&[("w", p::tensor("0", count, offset, &shape, &strides))]))).unwrap_err();
        assert_eq!(error.status(), Status::Format, "{error}");
        assert!(error.to_string().contains("tensor w"), "{error}");
    }
    // A view that repeats its elements past all that was stored is listed, but not made.
    let source = open(checkpoint(p::dict(&[("w", p::tensor("0", 4, 0, &[1 << 40], &[0]))]))).unwrap();
    let error = source.tensor("w").unwrap_err();
    assert_eq!(error.status(), Status::Unsupported);
    assert!(error.to_string().contains("expanded"), "{error}");
}

fn refused(pickle: Vec<u8>) -> String {
    let error = open(checkpoint(pickle)).unwrap_err();
    assert!(error.to_string().starts_with("weights in memory: "), "{error}");
    error.to_string()
}

#[test]
fn nothing_is_executed() {
    // What an attacker writes: a call of a function with a command.
    let call = [p::global("os", "system"), p::tuple(&[p::text("touch /tmp/owned")]), b"R".to_vec()].concat();
    assert!(refused(p::dict(&[("w", call)])).contains("os.system is not among the names"));
    let call =
        [p::text("posix"), p::text("system"), vec![0x93], p::tuple(&[p::text("id")]), b"R".to_vec()].concat();
    assert!(refused(p::dict(&[("w", call)])).contains("posix.system is not among the names"));
    for name in [
        "builtins eval",
        "builtins getattr",
        "torch load",
        "torch.hub load",
        "torch.storage _load_from_bytes",
    ] {
        let (module, name) = name.split_once(' ').unwrap();
        assert!(refused(p::global(module, name)).contains("is not among the names"));
    }
    // Protocol 0's way of calling, persistent names, registered extensions, and an opcode there is not.
    for (opcode, rest) in
        [(b'i', "os\nsystem\n"), (b'o', ""), (b'P', "x\n"), (0x82, "\x01"), (0xFF, ""), (0x92, "")]
    {
        let told = refused([&[opcode], rest.as_bytes()].concat());
        assert!(told.contains(&format!("opcode {opcode:#04x} is not one")), "{told}");
    }
}

#[test]
fn messages() {
    for (pickle, expected) in [
        (p::none(), "the checkpoint is no dictionary"),
        (
            p::dict(&[]),
            "no weights in the checkpoint: expected ema, model, module or state_dict, found nothing",
        ),
        (p::dict(&[("epoch", p::int(3)), ("args", p::none())]), "found epoch, args"),
        (
            p::dict(&[("w", p::tensor("7", 4, 0, &[4], &[1]))]),
            "tensor w: the archive has no member archive/data/7",
        ),
        (b"h\x05".to_vec(), "pickle, byte 2: value 5 was never remembered"),
        (b"(\x85".to_vec(), "the stack is too short"),
        (b"t".to_vec(), "no mark on the stack"),
        (b"0".to_vec(), "the stack is empty"),
        (b"}K\x01K\x01s(K\x01u".to_vec(), "a key without a value"),
        (b"K\x01K\x01a".to_vec(), "members for what holds none"),
        (b"X\xff\xff\xff\xff".to_vec(), "4294967295 more bytes are announced"),
        (b"X\x01\0\0\0\xff".to_vec(), "a text that is no UTF-8"),
        (b"ctorch".to_vec(), "a name without an end"),
        (b"K\x01)R".to_vec(), "a call of what is no function"),
        ([p::global("torch", "FloatStorage"), b")R".to_vec()].concat(), "a storage of float32 is called"),
        ([p::global("torch._utils", "_rebuild_tensor_v2"), b")R".to_vec()].concat(), "arguments are too few"),
        (b")Q".to_vec(), "a storage without kind"),
        (
            p::dict(&[("w", p::tensor_of("0", 4, p::int(-1), p::tuple(&[]), p::tuple(&[])))]),
            "offset is no natural number",
        ),
        (
            p::dict(&[(
                "w",
                p::tensor_of("0", 4, p::int(0), p::tuple(&[p::int(-4)]), p::tuple(&[p::int(1)])),
            )]),
            "shape is no tuple of natural",
        ),
        (p::dict(&[("w", p::tensor("0", 4, 0, &[4], &[1, 1]))]), "shape and strides do not fit together"),
        (
            p::dict(&[("w", p::tensor("0", 4, 0, &[1; 65], &[1; 65]))]),
            "shape and strides do not fit together",
        ),
    ] {
        let told = refused(pickle);
        assert!(told.contains(expected), "{told}\n  lacks {expected}");
    }
    // No STOP at the end.
    let told = open(archive(b"\x80\x02}", &[], Stored)).unwrap_err().to_string();
    assert!(told.contains("pickle, byte 3: 1 more bytes are announced, the pickle ends before"), "{told}");
}

#[test]
fn other_kinds_of_files_say_what_they_are() {
    let told = |members: &[(&str, &[u8])]| open(p::zip(members, Stored)).unwrap_err();
    let pickle = p::whole(state_dict(&["w"], "0"));
    assert!(told(&[("x.txt", b"hello")]).to_string().contains("it has no data.pkl"));
    let script = told(&[("a/data.pkl", &pickle), ("a/constants.pkl", b"")]);
    assert_eq!(script.status(), Status::Unsupported);
    assert!(script.to_string().contains("TorchScript"), "{script}");
    let big = told(&[("a/data.pkl", &pickle), ("a/byteorder", b"big"), ("a/data/0", &storage(&F))]);
    assert_eq!(big.status(), Status::Unsupported);
    assert!(big.to_string().contains("big-endian"), "{big}");
    // A file of before PyTorch 1.6 that ends after its protocol.
    let legacy = open(b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03.".to_vec()).unwrap_err();
    assert_eq!(legacy.status(), Status::Format);
}

#[test]
fn types_that_no_tensor_has_are_listed() {
    let short =
        p::tensor_typed("ShortStorage", "0", 8, p::int(0), p::tuple(&[p::int(8)]), p::tuple(&[p::int(1)]));
    let source = open(checkpoint(p::dict(&[("s", short)]))).unwrap();
    assert_eq!(source.listing().get("s").unwrap().to_string(), "int16 [8]");
    assert_eq!(source.tensor("s").unwrap_err().status(), Status::Unsupported);
}

/// Sizes that would cost memory or a stack are refused, or cost nothing.
#[test]
fn bombs() {
    // A list in a list in a list: no recursion on the way in or out.
    let deep = [vec![b']'; 500_000], vec![b'a'; 499_999]].concat();
    assert!(refused(deep).contains("is no dictionary"));
    let marks = vec![b'('; 5_000_000];
    assert!(refused(marks).contains("pickle, byte"));
    assert!(refused(vec![b'N'; 3_000_000]).contains("values on the stack"));
    assert!(refused(b")0".repeat(3_000_000)).contains("more than 2000000 values"));
    // A dictionary that holds itself as its own model.
    let cycle = [b"}q\x00".to_vec(), p::text("model"), b"h\x00s".to_vec()].concat();
    assert!(refused(cycle).contains("no weights in the checkpoint"));
    // A memo of 20 doublings.
    let mut doubling = b"]q\x00".to_vec();
    for i in 0..20u8 {
        doubling.extend([b'h', i, b'h', i, 0x86, b'q', i + 1]);
    }
    assert!(refused(doubling).contains("is no dictionary"));
    // Packed zeros, and a packed member that claims a size no packing gives.
    let told = open(archive(&vec![0; 40 << 20], &[], Deflated)).unwrap_err().to_string();
    assert!(told.contains("has 41943040 bytes, at most 33554432 are read"), "{told}");
    let pickle = p::whole(p::dict(&[("w", p::tensor("0", 1 << 38, 0, &[1 << 38], &[1]))]));
    let told = open(bomb(&pickle, 1 << 40)).unwrap_err().to_string();
    assert!(told.contains("cannot have 1099511627776 bytes"), "{told}");
}

#[test]
fn every_truncation_is_an_error() {
    let bytes = official();
    for len in 0..bytes.len() {
        assert!(read_everything(bytes[..len].to_vec()).is_err(), "{len} of {}", bytes.len());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(2000) })]

    #[test]
    fn a_damaged_archive_fails_or_opens_sane(flips in prop::collection::vec((any::<prop::sample::Index>(), 0u8..8), 1..5)) {
        let mut bytes = official();
        let len = bytes.len();
        for (at, bit) in flips {
            bytes[at.index(len)] ^= 1 << bit;
        }
        for tensor in read_everything(bytes).into_iter().flatten() {
            prop_assert!(tensor.desc().bytes().unwrap() <= tensor.storage().len());
        }
    }

    /// The archive is whole, so that the damage reaches the machine.
    #[test]
    fn a_damaged_pickle_fails_or_opens_sane(
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..5),
        cut in any::<prop::sample::Index>(),
        shorten in prop::bool::weighted(0.2),
    ) {
        let members = p::unzip(&official());
        let changed: Vec<(&str, Vec<u8>)> = members
            .iter()
            .map(|(name, bytes)| {
                let mut bytes = bytes.clone();
                if name.ends_with("data.pkl") {
                    let len = bytes.len();
                    for (at, byte) in &flips {
                        bytes[at.index(len)] = *byte;
                    }
                    if shorten {
                        bytes.truncate(cut.index(len));
                    }
                }
                (name.as_str(), bytes)
            })
            .collect();
        let members: Vec<(&str, &[u8])> = changed.iter().map(|(n, b)| (*n, b.as_slice())).collect();
        for tensor in read_everything(p::zip(&members, Stored)).into_iter().flatten() {
            prop_assert!(tensor.desc().bytes().unwrap() <= tensor.storage().len());
        }
    }

    /// Opcodes at random, most of them allowed ones.
    #[test]
    fn a_pickle_of_noise_fails(code in prop::collection::vec(
        prop_oneof![prop::sample::select(b"(0122NKMJGXUTBC)]}t\x85\x86\x87laedsuqrhjcR\x81bQ.\x88\x89\x8a\x94".to_vec()), any::<u8>()], 0..60,
    )) {
        prop_assert!(open(archive(&[b"\x80\x02", code.as_slice()].concat(), &[("0", storage(&F))], Stored)).is_err());
    }
}
