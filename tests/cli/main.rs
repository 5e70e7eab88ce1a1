//! The command line, as a person or a script meets it: results, messages, exit codes.
#![cfg(feature = "cli")]

#[cfg(feature = "train")]
mod codes;
#[cfg(all(feature = "eval", feature = "train"))]
mod eval;
#[cfg(all(feature = "eval", feature = "train"))]
mod eval_samples;
#[cfg(feature = "train")]
mod far_training;
#[cfg(all(feature = "eval", feature = "train"))]
mod figures;
mod generator;
#[cfg(all(feature = "eval", feature = "train", unix))]
mod paper;
#[cfg(all(feature = "eval", feature = "train"))]
mod sampling;
#[cfg(feature = "train")]
mod teacher;
mod training;

use fqgan::codes::{Codes, Info};
use fqgan::image::Picture;
use fqgan::tokenizer::config::{Adapter, Branch, Config};
use fqgan::weights::{Manifest, Metadata, formula};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use tempfile::TempDir;

const PHOTOGRAPHS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/assets/photographs");
const PROGRAM: &str = env!("CARGO_BIN_EXE_fqgan");

/// A folder with a small model in it, made for pictures of 32 x 32 at f = 4, and room for results.
struct Place {
    folder: TempDir,
}

impl Place {
    fn new() -> Place {
        let place = Place { folder: tempfile::tempdir().unwrap() };
        save(&place.path("model.safetensors"), &small().manifest(), &Metadata::new());
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Runs `fqgan` here; words are separated by spaces.
    fn run(&self, words: &str) -> Ran {
        let mut command = Command::new(PROGRAM);
        command.current_dir(self.folder.path()).args(words.split_whitespace()).env("COLUMNS", "100");
        Ran::of(command.output().unwrap())
    }

    fn picture(&self, name: &str, width: usize, height: usize) {
        let pixels = (0..width * height * 3).map(|i| (i * i / 7 % 251) as u8).collect();
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        Picture::from_pixels(width, height, pixels).unwrap().save_png(path).unwrap();
    }

    fn codes(&self, name: &str) -> Codes {
        Codes::load(self.path(name)).unwrap()
    }

    fn size(&self, name: &str) -> (usize, usize) {
        let picture = Picture::load(self.path(name)).unwrap();
        (picture.width(), picture.height())
    }
}

struct Ran {
    code: Option<i32>,
    out: String,
    err: String,
}

impl Ran {
    fn of(output: Output) -> Ran {
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Ran { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
    }

    /// Fails unless the exit code and words of the messages are these.
    fn ended(self, code: i32, words: &[&str]) -> Ran {
        assert_eq!(self.code, Some(code), "out: {}\nerr: {}", self.out, self.err);
        for word in words {
            let said = self.out.contains(word) || self.err.contains(word);
            assert!(said, "{word:?} was not said\nout: {}\nerr: {}", self.out, self.err);
        }
        assert_eq!(self.err.is_empty(), code == 0, "errors go to stderr, and nothing else: {}", self.err);
        self
    }
}

fn small() -> Config {
    let branch = |name: &str, prefix: &str| Branch {
        name: name.into(),
        adapter: Some(Adapter { prefix: prefix.into(), layers: 1, heads: 8, hidden: 64 }),
    };
    Config {
        branches: vec![branch("vis", "encoder.visual_head.0"), branch("sem", "encoder.semantic_head.0")],
        codebook_size: 200,
        code_dim: 4,
        ch: 32,
        ch_mult: vec![1, 2, 2],
        num_res_blocks: 1,
        z_channels: 16,
        image_size: 32,
    }
}

/// A weight file with all that a manifest needs, of the formula's numbers.
fn save(path: &Path, manifest: &Manifest, strings: &Metadata) {
    let entry = |(name, shape): (&str, &[usize])| {
        formula::Entry::by_rule(name, fqgan::tensor::Shape::try_from_slice(shape).unwrap())
    };
    let entries: Vec<_> = manifest.iter().map(entry).collect();
    let tensors: Vec<_> = entries.iter().map(|e| (e.name.as_str(), e.tensor(1).unwrap())).collect();
    fqgan::weights::save(path, &tensors, strings).unwrap();
}

#[test]
fn help() {
    let place = Place::new();
    let commands = ["encode", "decode", "reconstruct", "generate", "score", "demo", "inspect", "convert"];
    place.run("--help").ended(0, &commands).out.contains("Examples:").then_some(()).unwrap();
    for command in commands {
        place.run(&format!("{command} --help")).ended(0, &["Usage: fqgan", command]);
    }
    place.run("--version").ended(0, &[env!("CARGO_PKG_VERSION")]);
    place.run("").ended(2, &commands);
    place.run("encode a.png").ended(2, &["--model", "--output"]);
    place.run("paint").ended(2, &["paint"]);
    place.run("encode -m model.safetensors a.png -o a.fqc --device tpu").ended(2, &["auto", "cpu"]);
}

#[test]
fn there_and_back() {
    let place = Place::new();
    let photograph = format!("{PHOTOGRAPHS}/chelsea.png");
    place
        .run(&format!("encode -m model.safetensors {photograph} -o new/chelsea.fqc"))
        .ended(0, &["chelsea.fqc", "2 x 8 x 8 codes"]);
    let codes = place.codes("new/chelsea.fqc");
    assert_eq!(codes.info(), Info { count: 1, k: 2, height: 8, width: 8, codebook_size: 200 });
    place.run("decode -m model.safetensors new/chelsea.fqc -o back.png").ended(0, &["back.png", "32 x 32"]);
    assert_eq!(place.size("back.png"), (32, 32));

    // The same, in one step; and by name, a part of it.
    let recon = format!("reconstruct -m model.safetensors {photograph} -o");
    place.run(&format!("{recon} again.png")).ended(0, &["again.png", "dB"]);
    let read = |name| Picture::load(place.path(name)).unwrap();
    assert_eq!(read("again.png"), read("back.png"));
    place.run(&format!("{recon} both.png --codebooks sem,vis")).ended(0, &[]);
    assert_eq!(read("both.png"), read("back.png"));
    place.run(&format!("{recon} vis.png --codebooks vis")).ended(0, &[]);
    place.run("decode -m model.safetensors new/chelsea.fqc -o vis2.png --codebooks vis").ended(0, &[]);
    assert_eq!(read("vis.png"), read("vis2.png"));
    assert_ne!(read("vis.png"), read("back.png"));
    place.run(&format!("{recon} x.png --codebooks low")).ended(2, &["low", "vis, sem"]);

    // Original, reconstruction, two alone, difference.
    place.run(&format!("{recon} five.png --compare")).ended(0, &[]);
    let (width, height) = place.size("five.png");
    assert_eq!(width, 5 * 32 + 6 * 8);
    assert!(height > 32 + 2 * 8, "a line of captions");
}

#[test]
fn sizes() {
    let place = Place::new();
    place.picture("a.png", 50, 39);
    let encode = |more: &str| place.run(&format!("encode -m model.safetensors a.png -o a.fqc {more}"));
    let grid = || (place.codes("a.fqc").info().height, place.codes("a.fqc").info().width);
    encode("").ended(0, &[]);
    assert_eq!(grid(), (8, 8));
    encode("--size 64").ended(0, &[]);
    assert_eq!(grid(), (16, 16));
    encode("--keep-size").ended(0, &[]);
    assert_eq!(grid(), (9, 12));
    let whole = place.codes("a.fqc");
    encode("--keep-size --threads 1").ended(0, &[]);
    assert_eq!(place.codes("a.fqc"), whole);
    encode("--keep-size --tile=16").ended(0, &[]);
    assert_eq!(grid(), (9, 12));
    place.run("decode -m model.safetensors a.fqc -o a2.png --tile").ended(0, &[]);
    assert_eq!(place.size("a2.png"), (48, 36));
    encode("--size 30").ended(2, &["--size 30", "multiple of 4"]);
    encode("--size 0").ended(2, &["--size 0"]);
    encode("--tile=5").ended(2, &["--tile=5", "multiple of 4"]);
    encode("--size 64 --keep-size").ended(2, &["--size", "--keep-size"]);
    encode("--threads 0").ended(2, &["--threads 0"]);
    encode("--memory-limit 0").ended(1, &["a.png"]);
    place.picture("tiny.png", 3, 90);
    place.run("encode -m model.safetensors tiny.png -o t.fqc --keep-size").ended(1, &["tiny.png", "3 x 90"]);
    place.picture("thin.png", 60000, 1);
    place
        .run("encode -m model.safetensors thin.png -o t.fqc --size 4096")
        .ended(1, &["thin.png", "too thin"]);
}

#[test]
fn folders() {
    let place = Place::new();
    place.picture("in/a.png", 32, 32);
    place.picture("in/deep/b.png", 40, 32);
    place.picture("in/.hidden.png", 32, 32);
    std::fs::write(place.path("in/notes.txt"), "no picture").unwrap();
    place.run("encode -m model.safetensors in -o out").ended(0, &["2 pictures"]);
    let (a, b) = (place.codes("out/a.fqc"), place.codes("out/deep/b.fqc"));
    assert!(!place.path("out/.hidden.fqc").exists() && !place.path("out/notes.fqc").exists());

    place.run("encode -m model.safetensors in -o all.fqc").ended(0, &["2 pictures, 2 x 8 x 8"]);
    let all = place.codes("all.fqc");
    assert_eq!(all.data(), [a.data(), b.data()].concat());
    place.run("decode -m model.safetensors all.fqc -o pictures").ended(0, &["2 pictures"]);
    assert_eq!(place.size("pictures/all_0001.png"), (32, 32));
    place.run("decode -m model.safetensors out -o pictures").ended(0, &["2 code files"]);
    assert_eq!(place.size("pictures/deep/b.png"), (32, 32));
    place.run("reconstruct -m model.safetensors in -o back --compare --quiet").ended(0, &[]);
    assert!(place.path("back/deep/b.png").exists());

    place.run("decode -m model.safetensors all.fqc -o one.png").ended(2, &["one.png", "2 pictures"]);
    place.run("decode -m model.safetensors out -o one.png").ended(2, &["2 files"]);
    place.run("reconstruct -m model.safetensors in -o one.png").ended(2, &["2 pictures"]);
    place.run("encode -m model.safetensors in -o all.fqc --keep-size").ended(1, &["b.png", "not written"]);
    std::fs::create_dir(place.path("empty")).unwrap();
    place.run("encode -m model.safetensors empty -o out").ended(1, &["empty", "no pictures"]);
}

#[test]
fn one_bad_file_does_not_stop_the_rest() {
    let place = Place::new();
    place.picture("in/a.png", 32, 32);
    place.picture("in/c.png", 32, 32);
    std::fs::write(place.path("in/b.jpg"), "no picture").unwrap();
    place
        .run("encode -m model.safetensors in -o out")
        .ended(1, &["b.jpg", "PNG, JPEG or WebP", "1 of 3 failed"]);
    assert!(place.path("out/a.fqc").exists() && place.path("out/c.fqc").exists());
    place.run("encode -m model.safetensors in -o all.fqc").ended(1, &["b.jpg", "all.fqc was not written"]);
    assert!(!place.path("all.fqc").exists());
    std::fs::write(place.path("out/a.fqc"), "no codes").unwrap();
    place
        .run("decode -m model.safetensors out -o back")
        .ended(1, &["a.fqc", "not a code file", "1 of 2 failed"]);
    assert!(place.path("back/c.png").exists());
}

#[test]
fn nothing_is_written_over_by_mistake() {
    let place = Place::new();
    place.picture("a.png", 32, 32);
    let before = std::fs::read(place.path("a.png")).unwrap();
    place.run("reconstruct -m model.safetensors a.png -o a.png").ended(2, &["a.png", "written over"]);
    place.run("reconstruct -m model.safetensors a.png -o .").ended(2, &["a.png", "written over"]);
    place.run("reconstruct -m model.safetensors a.png -o a.jpg").ended(2, &["a.jpg", ".png"]);
    place.run("convert model.safetensors ./model.safetensors").ended(2, &["written over"]);
    place.run("convert model.safetensors model.bin").ended(2, &[".safetensors"]);
    std::fs::copy(place.path("a.png"), place.path("a.webp")).unwrap();
    place.run("encode -m model.safetensors a.png a.webp -o out").ended(2, &["a.png", "a.webp", "a.fqc"]);
    assert_eq!(std::fs::read(place.path("a.png")).unwrap(), before);
    assert!(!place.path("out").exists());
}

#[test]
fn what_cannot_be_read_or_written() {
    let place = Place::new();
    place.picture("a.png", 32, 32);
    place.run("encode -m none.safetensors a.png -o a.fqc").ended(1, &["none.safetensors"]);
    place.run("encode -m a.png a.png -o a.fqc").ended(1, &["a.png"]);
    place.run("encode -m model.safetensors none.png -o a.fqc").ended(1, &["none.png"]);
    place.run("decode -m model.safetensors none.fqc -o a.png").ended(1, &["none.fqc"]);
    // A file where a folder should be: no user, not even root, can write below it.
    place.run("encode -m model.safetensors a.png -o a.png/b.fqc").ended(1, &["a.png"]);
    let other = Info { count: 1, k: 3, height: 8, width: 8, codebook_size: 200 };
    Codes::new(other, vec![0; 192]).unwrap().save(place.path("three.fqc")).unwrap();
    place
        .run("decode -m model.safetensors three.fqc -o b.png")
        .ended(1, &["three.fqc", "3 sub-codebooks of 200", "2 of 200"]);
    assert!(!place.path("b.png").exists());
}

/// The disk is full as soon as something is written: no half of a file stays, and what was there does.
#[cfg(unix)]
#[test]
fn a_full_disk() {
    let place = Place::new();
    place.picture("a.png", 32, 32);
    std::fs::write(place.path("a.fqc"), "old").unwrap();
    let script =
        format!("trap '' XFSZ; ulimit -f 0; exec {PROGRAM} encode -m model.safetensors a.png -o a.fqc");
    let mut command = Command::new("bash");
    command.current_dir(place.folder.path()).args(["-c", &script]);
    Ran::of(command.output().unwrap()).ended(1, &["a.fqc"]);
    assert_eq!(std::fs::read(place.path("a.fqc")).unwrap(), b"old");
    assert_eq!(std::fs::read_dir(place.folder.path()).unwrap().count(), 3, "nothing is left beside it");
}

#[cfg(unix)]
#[test]
fn a_reader_that_goes_away() {
    let place = Place::new();
    let script = format!("set -o pipefail; {PROGRAM} inspect model.safetensors | {{ exec <&-; sleep 1; }}");
    let mut command = Command::new("bash");
    command.current_dir(place.folder.path()).args(["-c", &script]);
    Ran::of(command.output().unwrap()).ended(0, &[]);
}

#[test]
fn inspecting() {
    let place = Place::new();
    let bytes = std::fs::read(place.path("model.safetensors")).unwrap();
    let hash: String =
        <sha2::Sha256 as sha2::Digest>::digest(&bytes).iter().map(|b| format!("{b:02x}")).collect();
    place.run("inspect model.safetensors").ended(
        0,
        &["tokenizer (Dual)", "vis, sem", "200 of 4", "32 x 32", &hash, "encoder.conv_in.weight", "Complete"],
    );
    let summary = place.run("inspect model.safetensors --summary").ended(0, &["Complete"]);
    assert!(!summary.out.contains("encoder.conv_in.weight"));

    let mut lacking = small();
    lacking.num_res_blocks = 2;
    let manifest = lacking.manifest();
    let keep = |name: &&str| !name.starts_with("decoder.conv_blocks.2.res.1");
    let names: Vec<&str> = manifest.iter().map(|(name, _)| name).filter(keep).collect();
    let entry = |name: &&str| {
        let shape = manifest.iter().find(|(n, _)| n == name).unwrap().1;
        formula::Entry::by_rule(*name, fqgan::tensor::Shape::try_from_slice(shape).unwrap())
    };
    let mut tensors: Vec<_> = names.iter().map(|n| (*n, entry(n).tensor(1).unwrap())).collect();
    tensors.push(("feat_pred_head.class_embedding", tensors[0].1.clone()));
    fqgan::weights::save(place.path("lacking.safetensors"), &tensors, &Metadata::new()).unwrap();
    place.run("inspect lacking.safetensors --summary").ended(
        1,
        &[
            "Missing",
            "decoder.conv_blocks.2.res.1.conv1.weight",
            "feat_pred_head.class_embedding",
            "only for training",
        ],
    );

    place.picture("a.png", 32, 32);
    place.run("encode -m model.safetensors a.png -o a.fqc").ended(0, &[]);
    place.run("inspect a.fqc").ended(0, &["8 rows x 8 columns", "2 of 200"]);
    let printed = place.run("inspect a.fqc --codes").ended(0, &[]).out;
    let first: Vec<String> = place.codes("a.fqc").data()[..8].iter().map(u32::to_string).collect();
    assert!(printed.contains(&first.join(" ")));
    place.run("inspect none").ended(1, &["none"]);

    // A checkpoint as PyTorch writes it, of no whole model: what is in it is listed all the same.
    let checkpoint = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/official_style.pt");
    place.run(&format!("inspect {checkpoint}")).ended(1, &["checkpoint      of PyTorch", "Tensors:"]);
    std::fs::write(place.path("list.json"), "{}").unwrap();
    place.run("inspect list.json").ended(1, &["list.json"]);
}

#[test]
fn converting() {
    let place = Place::new();
    place.picture("a.png", 32, 32);
    for dtype in ["bf16", "f16"] {
        place
            .run(&format!("convert model.safetensors half.safetensors --dtype {dtype}"))
            .ended(0, &["tensors"]);
        place.run("inspect half.safetensors").ended(0, &[dtype, "Complete", "fqgan.version"]);
        let size = |name| std::fs::metadata(place.path(name)).unwrap().len();
        assert!(size("half.safetensors") < size("model.safetensors") * 6 / 10);
        place.run("encode -m half.safetensors a.png -o a.fqc").ended(0, &[]);
    }
    let checkpoint = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/official_style.pt");
    place.run(&format!("convert {checkpoint} new/from.safetensors")).ended(0, &["10 tensors"]);
    place.run("inspect new/from.safetensors").ended(1, &["10 tensors"]);
    // Widening again loses nothing.
    place.run("convert half.safetensors wide.safetensors --dtype f32").ended(0, &[]);
    place.run("encode -m wide.safetensors a.png -o b.fqc").ended(0, &[]);
    assert_eq!(place.codes("a.fqc"), place.codes("b.fqc"));
}

#[test]
fn demo() {
    let place = Place::new();
    place.run("demo -m model.safetensors").ended(0, &["astronaut", "chelsea", "coffee", "2 x 8 x 8 codes"]);
    assert_eq!(place.size("fqgan-demo.png").0, 5 * 32 + 6 * 8);
}

/// Without a model the full-size one runs on the formula's weights, and says how it compares with the golden
/// case.
#[test]
fn demo_of_the_full_model() {
    let ran = Place::new().run("demo -o full.png").ended(0, &["astronaut", "2 x 16 x 16 codes", "authors'"]);
    let line = ran.out.lines().find(|line| line.contains("codes equal")).unwrap();
    let equal: usize = line.split_whitespace().next().unwrap().parse().unwrap();
    assert!((510..=512).contains(&equal), "{line}");
    let line = ran.out.lines().find(|line| line.contains("relative error")).unwrap();
    let error: f64 = line.split_whitespace().last().unwrap().parse().unwrap();
    assert!(error < 2e-4, "{line}");
}
