use crate::{common, link, small};
use fqgan::image::Picture;
use fqgan::train::codes::{About, Views, Writer};
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// `fqgan-train` in a folder.
fn begin(folder: &Path, words: &str, out: &str, variables: &[(&str, &str)]) -> Child {
    Command::new(common::program("fqgan-train", env!("CARGO_BIN_EXE_fqgan-train")))
        .current_dir(folder)
        .args(words.split(' '))
        .args(["--threads", "1", "--out", out])
        .envs(variables.iter().copied())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// What it says when it succeeds.
fn said(child: Child) -> String {
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
    said
}

/// The scalars of each step of a run.
fn scalars(folder: &Path, out: &str) -> Vec<serde_json::Value> {
    let text = std::fs::read_to_string(folder.join(out).join("scalars.jsonl")).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// That two steps of both are there, with the same numbers of these names.
fn same(names: &[&str], [want, got]: [Vec<serde_json::Value>; 2], bound: f64) {
    assert_eq!((want.len(), got.len()), (2, 2));
    for (want, got) in want.iter().zip(&got) {
        for name in names {
            let [want, got] = [want, got].map(|line| line[name].as_f64().unwrap());
            assert!((got / want - 1.0).abs() < bound, "{name}: {got}, expected {want}");
        }
    }
}

fn picture(path: &Path, seed: usize) {
    let pixels = (0..40 * 36 * 3).map(|i| (i * i / 7 % 251 + seed) as u8).collect();
    Picture::from_pixels(40, 36, pixels).unwrap().save_png(path).unwrap();
}

const TWO_STEPS: &str = "[run]\nsteps = 2\nbatch = 2\nsave_every = 2\n";

/// The trainer's own program: the same losses as on the processor.
#[test]
fn two_steps_of_a_tokenizer() {
    let place = tempfile::tempdir().unwrap();
    std::fs::write(place.path().join("run.toml"), format!("{TWO_STEPS}{}", small::RECIPE)).unwrap();
    std::fs::create_dir(place.path().join("pictures")).unwrap();
    for name in ["a", "b"] {
        picture(&place.path().join(format!("pictures/{name}.png")), 0);
    }
    let runs = ["cpu", "cuda"].map(|device| {
        let words = format!("tokenizer --recipe run.toml --data pictures --workers 1 --device {device}");
        assert!(said(begin(place.path(), &words, device, &[])).contains("last.safetensors"));
        scalars(place.path(), device)
    });
    same(&["total", "reconstruction", "grad_norm", "discriminator", "discriminator_grad_norm"], runs, 1e-3);
}

const GENERATOR: &str = r#"
[model]
codebooks = 2
codebook_size = 50
classes = 2
grid = [4, 4]
layers = 1
dim = 32
heads = 2
head_layers = 1
"#;

const TEACHER: &str = include_str!("../common/teacher.toml");

/// A generator, a teacher: by two processes whose GPUs meet by NCCL the same as by one.
#[test]
fn two_processes_on_gpus_are_one() {
    if !link::emulated() {
        return;
    }
    let place = tempfile::tempdir().unwrap();
    for (kind, model) in [("far", GENERATOR), ("teacher", TEACHER)] {
        let recipe = format!("kind = \"{kind}\"\n{TWO_STEPS}{model}");
        std::fs::write(place.path().join(format!("{kind}.toml")), recipe).unwrap();
    }
    for (seed, class) in ["cat", "dog"].into_iter().enumerate() {
        std::fs::create_dir_all(place.path().join("pictures").join(class)).unwrap();
        picture(&place.path().join(format!("pictures/{class}/a.png")), seed);
    }
    let about = About {
        classes: vec!["cat".into(), "dog".into()],
        views: Views::Centre,
        height: 4,
        width: 4,
        branches: vec!["vis".into(), "sem".into()],
        codebook_size: 50,
        shard: (0, 1),
        origin: "here".into(),
    };
    let mut writer = Writer::open(place.path().join("codes.safetensors"), &about, &[0, 1, 1, 0], 4).unwrap();
    let codes = |picture: usize| {
        Some((0..about.picture_len()).map(|i| ((i * 7 + picture * 11) % 50) as u32).collect())
    };
    writer.push(&[0, 1, 2, 3].map(codes)).unwrap();
    writer.finish().unwrap();
    let cases = [
        ("far", "--codes codes.safetensors"),
        ("far", "--codes codes.safetensors --set optimizer.shard=true"),
        ("teacher", "--data pictures --workers 1"),
    ];
    for (number, (kind, given)) in cases.into_iter().enumerate() {
        let words = format!("{kind} --recipe {kind}.toml {given} --device cuda");
        let [one, two] = ["one", "two"].map(|name| format!("{number}-{name}"));
        said(begin(place.path(), &words, &one, &[]));
        let port = link::free_port();
        let start = |rank| {
            let variables =
                [("RANK", rank), ("WORLD_SIZE", "2"), ("MASTER_ADDR", "127.0.0.1"), ("MASTER_PORT", &*port)];
            begin(place.path(), &words, &two, &variables)
        };
        // Both are started before one is waited for.
        for child in ["0", "1"].map(start) {
            said(child);
        }
        same(&["total", "grad_norm"], [one, two].map(|out| scalars(place.path(), &out)), 1e-4);
    }
}
