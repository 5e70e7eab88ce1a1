//! Codes, figures and new pictures by several processes: byte for byte those of one.

use crate::{ROOT, by, common, fails};
use serde_json::Value;
use std::fs;
use std::path::Path;

const FQGAN: &str = env!("CARGO_BIN_EXE_fqgan");
const TRAIN: &str = env!("CARGO_BIN_EXE_fqgan-train");

/// Does a command's work by so many processes, which succeed; what they said.
fn run(at: &Path, count: usize, program: &str, words: &str) -> String {
    let model = format!("{ROOT}/assets/weights/demo-tokenizer.safetensors");
    let output = by(at, count, program, &words.replace("MODEL", &model)).output().unwrap();
    let said =
        [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    assert!(output.status.success(), "{said}");
    said
}

fn read(at: &Path, name: &str) -> Vec<u8> {
    fs::read(at.join(name)).unwrap_or_else(|e| panic!("{name}: {e}"))
}

/// The shipped pictures, and one that cannot be read.
fn pictures(at: &Path) {
    fs::create_dir(at.join("pictures")).unwrap();
    for file in fs::read_dir(format!("{ROOT}/assets/emoji")).unwrap().flatten() {
        fs::copy(file.path(), at.join("pictures").join(file.file_name())).unwrap();
    }
    fs::write(at.join("pictures/noto-2.png"), "no picture").unwrap();
}

#[test]
fn codes() {
    let at = tempfile::tempdir().unwrap();
    let at = at.path();
    pictures(at);
    let codes = |count: usize, more: &str| {
        run(at, count, TRAIN, &format!("codes --model MODEL --data pictures --threads 1 {more}"))
    };
    // Larger views, so that there is more than one lot for each.
    let size = "--size 192 --views flip";
    for (count, out) in [(1, "one"), (2, "two"), (3, "three")] {
        let said = codes(count, &format!("{size} --out {out}"));
        assert!(said.contains("18 pictures, 1 left out") && said.contains("left out: noto-2.png"), "{said}");
        assert_eq!(said.matches("left out: ").count(), 1, "{said}");
    }
    let one = read(at, "one");
    assert!(one == read(at, "two") && one == read(at, "three"), "other bytes");

    // What one process was killed at is gone on with by three.
    fs::write(at.join("cut.part"), &one[..one.len() * 2 / 3]).unwrap();
    let said = codes(3, &format!("{size} --out cut"));
    assert!(!said.contains(" 18 pictures"), "{said}");
    assert!(one == read(at, "cut"), "other bytes after it was cut");

    let said = fails(&by(at, 2, TRAIN, "codes --import pictures --out x").output().unwrap());
    assert!(said.contains("--import is the work of one process"), "{said}");
}

#[test]
fn figures() {
    let at = tempfile::tempdir().unwrap();
    let at = at.path();
    pictures(at);
    let json = |name: &str| {
        let mut json: Value = serde_json::from_slice(&read(at, name)).unwrap();
        assert!(json.as_object_mut().unwrap().remove("seconds").is_some());
        json
    };
    let eval = |count: usize, name: &str, more: &str| {
        let words = format!("--threads 1 --json {name}.json --features {name}");
        run(at, count, FQGAN, &format!("eval {more} {words}"))
    };
    let reconstruction = "reconstruction -m MODEL pictures --size 256";
    eval(1, "one", reconstruction);
    let said = eval(3, "three", reconstruction);
    assert_eq!(said.matches("left out").count(), 1, "{said}");
    assert_eq!(json("one.json"), json("three.json"));
    let one = read(at, "one");
    assert!(one == read(at, "three"), "other features");
    assert_eq!(json("one.json")["pictures"], 18);
    fs::write(at.join("cut"), &one[..one.len() / 2]).unwrap();
    eval(2, "cut", reconstruction);
    assert_eq!(json("one.json"), json("cut.json"));
    assert!(one == read(at, "cut"), "other features after it was cut");

    let inception = common::formula_file("fid_inception_v3");
    let samples =
        format!("samples pictures --reference pictures --inception {} --split 5", inception.display());
    eval(1, "some", &samples);
    eval(2, "same", &samples);
    assert_eq!(json("some.json"), json("same.json"));
    assert!(read(at, "some") == read(at, "same") && read(at, "some.reference") == read(at, "same.reference"));
}

#[test]
fn new_pictures() {
    let at = tempfile::tempdir().unwrap();
    let at = at.path();
    let sample = |count: usize, more: &str| {
        let generator = format!("{ROOT}/assets/weights/demo-far.safetensors");
        run(at, count, FQGAN, &format!("sample -g {generator} -m MODEL --threads 1 --batch 2 {more}"))
    };
    let count = "--count 11 --class 3,5,6";
    for (ranks, out) in [(1, "one.npz"), (2, "two.npz"), (3, "three.npz")] {
        let said = sample(ranks, &format!("{count} -o {out}"));
        assert_eq!(said.matches("11 pictures").count(), 1, "{said}");
    }
    let one = read(at, "one.npz");
    assert!(one == read(at, "two.npz") && one == read(at, "three.npz"), "other bytes");

    sample(1, &format!("{count} -o one"));
    sample(3, &format!("{count} -o three"));
    let names = |folder: &str| {
        let mut names: Vec<_> =
            fs::read_dir(at.join(folder)).unwrap().map(|e| e.unwrap().file_name()).collect();
        names.sort();
        names
    };
    assert_eq!((names("one").len(), names("one")), (11, names("three")));
    let same = |name: &std::ffi::OsString| {
        let name = name.to_str().unwrap();
        read(at, &format!("one/{name}")) == read(at, &format!("three/{name}"))
    };
    assert!(names("one").iter().all(same), "other bytes");
    // Some that are missing are made again.
    names("three").iter().step_by(3).for_each(|name| fs::remove_file(at.join("three").join(name)).unwrap());
    let said = sample(2, &format!("{count} -o three"));
    assert!(said.contains("4 pictures") && said.contains("7 were there"), "{said}");
    assert!(names("one").iter().all(same), "other bytes the second time");
}
