//! `fqgan-train far`, from pictures to pictures.

use crate::{Place, Ran};
use fqgan::weights::{Map, Source};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const RECIPE: &str = r#"
kind = "far"

[run]
steps = 6
batch = 3
save_every = 2
validate_every = 3
validate = 4
pictures_every = 6

[model]
codebooks = 2
codebook_size = 200
classes = 2
grid = [8, 8]
layers = 2
dim = 32
heads = 2
head_layers = 1

[optimizer]
average = 0.5
"#;

fn command(place: &Place, words: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fqgan-train"));
    command.current_dir(place.path("")).args(words.split_whitespace()).env("COLUMNS", "100");
    command
}

fn train(place: &Place, words: &str) -> Ran {
    Ran::of(command(place, words).output().unwrap())
}

/// A folder with a tokenizer, a recipe, and stored codes of five pictures of two classes.
fn place() -> Place {
    let place = Place::new();
    for name in ["cat/a", "cat/b", "dog/c", "dog/d", "dog/e"] {
        place.picture(&format!("data/{name}.png"), 30 + name.as_bytes()[4] as usize % 7, 40);
    }
    std::fs::write(place.path("small.toml"), RECIPE).unwrap();
    let ran = train(&place, "codes -m model.safetensors -d data -o codes.safetensors --views flip");
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    place
}

const FAR: &str = "far --recipe small.toml --codes codes.safetensors --held-out codes.safetensors";

/// The tensors of a file, to the bit.
fn bits(place: &Place, name: &str) -> Vec<(String, Vec<u32>)> {
    let source = Source::open(place.path(name), Map::On).unwrap();
    let bits = |name: &str| {
        let tensor = source.tensor(name).unwrap();
        tensor.data::<f32>().unwrap().iter().map(|x| x.to_bits()).collect()
    };
    source.names().map(|name| (name.to_string(), bits(name))).collect()
}

#[test]
fn from_pictures_to_pictures() {
    let place = place();
    let ran = train(
        &place,
        "far --recipe small.toml --dry-run --threads 1 --set run.batch=4 --set run.accumulate=2",
    );
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    for says in ["million", "steps of 2 x 2", "images/s", "6 steps"] {
        assert!(ran.out.contains(says), "{says} not in\n{}", ran.out);
    }
    let ran = train(&place, &format!("{FAR} --tokenizer model.safetensors --out run"));
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    assert!(ran.err.contains("step 3: held_out_log2p -"), "{}", ran.err);
    assert!(ran.err.contains("done: run/last.safetensors"), "{}", ran.err);
    let lines = std::fs::read_to_string(place.path("run/scalars.jsonl")).unwrap();
    let lines: Vec<serde_json::Value> = lines.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    let of = |step: u64, name: &str| {
        let found = lines.iter().find_map(|l| (l["step"] == step).then(|| l[name].as_f64()).flatten());
        found.unwrap_or_else(|| panic!("no {name} of step {step}"))
    };
    // Heads of zeros give every code the same probability.
    assert!((of(1, "cross_entropy_2") - 200f64.ln()).abs() < 1e-6);
    for (step, name) in [(6, "total"), (6, "grad_norm"), (6, "rate"), (3, "held_out_bits_1")] {
        assert!(of(step, name).is_finite(), "{name}");
    }
    let [bits, first, second] =
        ["held_out_bits", "held_out_bits_1", "held_out_bits_2"].map(|name| of(6, name));
    assert!((bits - 64.0 * (first + second)).abs() < 1e-6 * bits);
    assert_eq!(-bits, of(6, "held_out_log2p"));
    // Two classes, eight pictures of each.
    assert_eq!(place.size("run/pictures/00000006-samples.png"), (8 * 32 + 9 * 2, 2 * 32 + 3 * 2));

    let words = "generate -g run/last.safetensors -m model.safetensors --class 0,1 -o made";
    place.run(words).ended(0, &["2 pictures"]);
    assert_eq!(place.size("made/1_0000.png"), (32, 32));
    place.run("inspect run/last.safetensors").ended(0, &["2 layers, width 32, 2 heads"]);
}

fn wait(child: &mut Child, until: impl Fn() -> bool) {
    let began = Instant::now();
    while !until() && child.try_wait().unwrap().is_none() {
        assert!(began.elapsed() < Duration::from_secs(60), "nothing happened");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Asked to end, killed, and cut short: each time the run goes on to the same bits.
#[test]
fn what_was_cut_goes_on_bit_for_bit() {
    let place = place();
    let far = |more: &str| format!("{FAR} --threads 1 {more}");
    assert_eq!(train(&place, &far("--out whole")).code, Some(0));
    let whole = bits(&place, "whole/last.safetensors");

    assert_eq!(train(&place, &far("--out cut --set run.steps=3")).code, Some(0));
    let ran = train(&place, &far("--out cut"));
    assert_ne!(ran.code, Some(0));
    assert!(ran.err.contains("has a run already: resume it"), "{}", ran.err);
    let ran = train(&place, &far("--out cut --resume"));
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    assert!(bits(&place, "cut/last.safetensors") == whole);

    let steps = || std::fs::read_to_string(place.path("killed/scalars.jsonl")).unwrap_or_default();
    let mut child = command(&place, &far("--out killed")).stderr(Stdio::null()).spawn().unwrap();
    wait(&mut child, || steps().lines().count() >= 3);
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(train(&place, &far("--out killed --resume")).code, Some(0));
    assert!(bits(&place, "killed/last.safetensors") == whole);
}

/// SIGTERM saves, and what is saved goes on to the same bits.
#[cfg(unix)]
#[test]
fn a_run_that_is_asked_to_end_is_saved() {
    let place = place();
    let far = |more: &str| format!("{FAR} --threads 1 --set run.save_every=1000 --set run.steps=60 {more}");
    assert_eq!(train(&place, &far("--out whole")).code, Some(0));
    let lines = place.path("asked/scalars.jsonl");
    let mut child = command(&place, &far("--out asked")).stderr(Stdio::piped()).spawn().unwrap();
    wait(&mut child, || std::fs::read(&lines).is_ok_and(|text| !text.is_empty()));
    assert!(Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap().success());
    let ran = Ran::of(child.wait_with_output().unwrap());
    assert!(ran.code == Some(0) && ran.err.contains("stopped and saved"), "{}", ran.err);
    assert!(!place.path("asked/last.safetensors").exists());
    assert_eq!(std::fs::read_dir(place.path("asked/checkpoints")).unwrap().count(), 1);
    assert_eq!(train(&place, &far("--out asked --resume")).code, Some(0));
    assert!(bits(&place, "asked/last.safetensors") == bits(&place, "whole/last.safetensors"));
    // Another recipe is not this run's.
    let ran = train(&place, &far("--out asked --resume --set optimizer.rate=0.1 --set dropout.tokens=0.2"));
    assert!(ran.code == Some(1) && ran.err.contains("dropout.tokens, optimizer.rate differ"), "{}", ran.err);
}

/// `fqgan-train step` of a generator: from stored codes, and the same from the pictures themselves.
#[test]
fn a_step_names_every_loss_and_gradient() {
    let place = place();
    let step = |words: &str| train(&place, &format!("step --recipe small.toml --threads 1 {words}"));
    let read = |name: &str| -> serde_json::Value {
        serde_json::from_str(&std::fs::read_to_string(place.path(name)).unwrap()).unwrap()
    };
    let ran = step("--codes codes.safetensors --count 3 --json codes.json");
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    let numbers = read("codes.json");
    let loss = |name: &str| numbers["losses"][name].as_f64().unwrap();
    // Heads of zeros give every code the same probability.
    assert!((loss("cross_entropy_1") - 200f64.ln()).abs() < 1e-6 && loss("grad_norm") > 0.0);
    let gradients = numbers["gradients"].as_object().unwrap();
    let square: f64 = gradients.values().map(|v| v.as_f64().unwrap().powi(2)).sum();
    assert!((square.sqrt() / loss("grad_norm") - 1.0).abs() < 1e-9);
    assert!(gradients["output_1.weight"].as_f64().unwrap() > 0.0);

    let pictures = "--pictures data/cat/a.png data/cat/b.png data/dog/c.png --labels 0,0,1";
    let ran = step(&format!("{pictures} --tokenizer model.safetensors --json pictures.json"));
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    assert_eq!(read("pictures.json")["gradients"], numbers["gradients"]);

    for (words, says) in [
        ("--pictures data/cat/a.png", "wants --codes, or --pictures with --tokenizer and --labels"),
        ("--codes codes.safetensors --count 9", "has 5 pictures"),
        (
            "--codes codes.safetensors --set model.codebook_size=100",
            "model.codebooks = 2, codebook_size = 100",
        ),
        (
            "--pictures data/cat/a.png --labels 0,1 --tokenizer model.safetensors",
            "2 --labels of 1 --pictures",
        ),
        (
            "--pictures data/cat/a.png --labels 7 --tokenizer model.safetensors",
            "the recipe has classes 0 to 1, and 2 for none",
        ),
    ] {
        let ran = step(words);
        assert!(ran.code == Some(1) && ran.err.contains(says), "{words}: {}", ran.err);
    }
    let ran = train(&place, "step --recipe demo-tokenizer --codes codes.safetensors");
    assert!(ran.code == Some(1) && ran.err.contains("are for a generator's recipe"), "{}", ran.err);
}

#[test]
fn mistakes_are_explained() {
    let place = place();
    for (words, says) in [
        ("--recipe demo-tokenizer --codes codes.safetensors --out run", "unknown field"),
        ("--recipe small.toml --codes none.safetensors --out run", "none.safetensors"),
        ("--recipe small.toml --codes model.safetensors --out run", "model.safetensors"),
        (
            "--recipe small.toml --codes codes.safetensors --out run --set model.classes=1",
            "on a grid of 8 x 8 in 2 classes; the recipe has model.codebooks = 2, codebook_size = 200, grid = \
             [8, 8], classes = 1",
        ),
        (
            "--recipe small.toml --codes codes.safetensors --out run --set dropout.tokens=2",
            "expected 0 to below 1",
        ),
        ("--recipe small.toml --out run", "--codes <PATH>"),
        (
            "--recipe small.toml --codes codes.safetensors --out run --tokenizer codes.safetensors",
            "codes.safetensors",
        ),
    ] {
        let ran = train(&place, &format!("far {words}"));
        assert_ne!(ran.code, Some(0), "{words}");
        assert!(ran.err.contains(says), "{words}: {}", ran.err);
    }
    let ran = train(&place, "far --recipe table4-mlp --set model.layers=2 --print-config");
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    for line in ["kind = \"far\"", "head = \"mlp\"", "layers = 2", "decay = 0.05"] {
        assert!(ran.out.contains(line), "{line} not in\n{}", ran.out);
    }
}
