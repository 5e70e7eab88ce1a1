//! `fqgan-train`.

use crate::{Place, Ran};
use fqgan::image::Picture;
use fqgan::weights::{Map, Source};
use std::process::Command;

const RECIPE: &str = r#"
[model]
codebook_size = 32
code_dim = 4
ch = 32
ch_mult = [1, 1, 2]
num_res_blocks = 1
z_channels = 32
image_size = 32
adapter_layers = 1
adapter_hidden = 64
"#;

fn train(place: &Place, words: &str) -> Ran {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fqgan-train"));
    command.current_dir(place.path("")).args(words.split_whitespace()).env("COLUMNS", "100");
    Ran::of(command.output().unwrap())
}

#[test]
fn a_step_names_every_loss_and_gradient() {
    let place = Place::new();
    std::fs::write(place.path("small.toml"), RECIPE).unwrap();
    place.picture("a.png", 40, 50);
    place.picture("b.png", 32, 32);
    let words = "step --recipe small.toml --pictures a.png b.png --json out.json --threads 1";
    let ran = train(&place, words);
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    assert!(ran.err.contains("no --lpips") && ran.err.contains("no --discriminator"), "{}", ran.err);
    let read = |name: &str| -> serde_json::Value {
        serde_json::from_str(&std::fs::read_to_string(place.path(name)).unwrap()).unwrap()
    };
    let numbers = read("out.json");
    for name in ["vq_vis", "commit_sem", "entropy_vis", "disentangle", "reconstruction", "total", "grad_norm"]
    {
        assert!(numbers["losses"][name].as_f64().unwrap().is_finite(), "{name}");
        assert!(ran.out.contains(name), "{}", ran.out);
    }
    let gradients = numbers["gradients"].as_object().unwrap();
    let square: f64 = gradients.values().map(|v| v.as_f64().unwrap().powi(2)).sum();
    assert!((square.sqrt() / numbers["losses"]["grad_norm"].as_f64().unwrap() - 1.0).abs() < 1e-9);
    assert!(gradients.contains_key("encoder.conv_in.weight"));
    // The weights are fresh by their seed; a value of the recipe can be replaced.
    let total = |more: &str, name: &str| {
        let words =
            format!("step --recipe small.toml --pictures a.png b.png --json {name} --threads 2 {more}");
        assert_eq!(train(&place, &words).code, Some(0));
        read(name)["losses"]["total"].as_f64().unwrap()
    };
    let first = numbers["losses"]["total"].as_f64().unwrap();
    assert_eq!(total("", "again.json"), first);
    assert_ne!(total("--seed 2", "seed.json"), first);
    assert_ne!(total("--set loss.reconstruction_weight=2.0", "more.json"), first);
}

#[test]
fn mistakes_are_explained() {
    let place = Place::new();
    std::fs::write(place.path("small.toml"), RECIPE).unwrap();
    place.picture("a.png", 32, 32);
    for (words, says) in [
        (
            "step --recipe nowhere.toml --pictures a.png",
            "built in are ablation-far, ablation-tokenizer, demo-decoder",
        ),
        ("step --recipe small.toml --pictures none.png", "none.png"),
        ("step --recipe small.toml --pictures a.png --set loss.x=1", "unknown field `x`"),
        (
            "step --recipe small.toml --pictures a.png --teacher clip_l14=a.png",
            "the recipe has no such teacher",
        ),
        ("step --recipe small.toml --pictures a.png --weights model.safetensors", "not the recipe's network"),
        ("step --recipe small.toml --pictures a.png --teacher x", "expected NAME=FILE"),
    ] {
        let ran = train(&place, words);
        assert_ne!(ran.code, Some(0), "{words}");
        assert!(ran.err.contains(says), "{words}: {}", ran.err);
    }
}

#[test]
fn a_recipe_can_be_printed_whole() {
    let place = Place::new();
    let ran = train(&place, "step --recipe tokenizer-dual-f8 --set loss.entropy_ratio=0.25 --print-config");
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    for line in ["entropy_ratio = 0.25", "commit_beta = 0.25", "feat_pred_head", "start = 20000"] {
        assert!(ran.out.contains(line), "{line} not in\n{}", ran.out);
    }
}

/// A run's recipe, pictures and command.
fn begun(place: &Place) -> String {
    let run = "[run]\nsteps = 4\nbatch = 2\nsave_every = 2\nvalidate_every = 2\npictures_every = 4\n";
    let rest = "\n[loss]\nperceptual_weight = 0.0\n\n[adversarial]\nwidth = 8\nstart = 1\n";
    std::fs::write(place.path("run.toml"), format!("{run}{RECIPE}{rest}")).unwrap();
    for name in ["a", "b", "c"] {
        place.picture(&format!("pictures/{name}.png"), 40, 36);
    }
    "tokenizer --recipe run.toml --data pictures --held-out pictures --out out --threads 1 --workers 1".into()
}

#[test]
fn a_run_leaves_numbers_events_curves_and_weights() {
    let place = Place::new();
    let words = begun(&place);
    let ran = train(&place, &words);
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    for says in ["held_out_psnr", "images/s", "% of peak", "done: out/last.safetensors"] {
        assert!(ran.err.contains(says), "{says} not in\n{}", ran.err);
    }
    let text = std::fs::read_to_string(place.path("out/scalars.jsonl")).unwrap();
    let lines: Vec<serde_json::Value> = text.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    let steps: Vec<u64> = lines.iter().map(|line| line["step"].as_u64().unwrap()).collect();
    assert_eq!(steps, [1, 2, 2, 3, 4, 4]);
    assert!(lines[0]["discriminator"] == 0.0 && lines[3]["discriminator"].as_f64().unwrap() > 0.0);
    let told = lines[5]["held_out_psnr"].as_f64().unwrap();
    assert!(std::fs::read_to_string(place.path("out/curves.svg")).unwrap().contains("held_out_psnr"));
    assert!(place.path("out/pictures/00000004-reconstructions.png").exists());

    // `fqgan` opens the weights and finds the same.
    let ran = place.run("reconstruct -m out/last.safetensors pictures --size 32 -o back --quiet");
    ran.ended(0, &[]);
    let psnr = |name: &str| {
        let whole = Picture::load(place.path(&format!("pictures/{name}.png"))).unwrap();
        let back = Picture::load(place.path(&format!("back/{name}.png"))).unwrap();
        fqgan::image::psnr(&whole.center_crop(32).unwrap(), &back)
    };
    let mean = ["a", "b", "c"].map(psnr).iter().sum::<f64>() / 3.0;
    assert!((mean - told).abs() < 1e-9, "{mean} {told}");

    // TensorBoard's records: each length and each event with its checksum, the last event at the last step.
    let mut paths = std::fs::read_dir(place.path("out")).unwrap().map(|e| e.unwrap().path());
    let path = paths.find(|p| p.to_string_lossy().contains("tfevents")).unwrap();
    let bytes = std::fs::read(path).unwrap();
    let (mut at, mut events) = (0, Vec::new());
    while at < bytes.len() {
        let length = u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap()) as usize;
        let sum = |from: usize| u32::from_le_bytes(bytes[from..from + 4].try_into().unwrap());
        let event = &bytes[at + 12..at + 12 + length];
        assert_eq!(sum(at + 8), masked_crc(&bytes[at..at + 8]));
        assert_eq!(sum(at + 12 + length), masked_crc(event));
        events.push(event);
        at += length + 16;
    }
    assert_eq!(at, bytes.len());
    let has = |event: &[u8], text: &str| event.windows(text.len()).any(|w| w == text.as_bytes());
    assert!(has(events[0], "brain.Event:2"));
    // After the wall time, field 2: the step.
    assert_eq!(events.last().unwrap()[9..11], [0x10, 4]);
    assert!(events.iter().any(|e| has(e, "held_out_psnr")) && events.iter().any(|e| has(e, "PNG")));
    let value = events.iter().rev().find(|e| has(e, "held_out_psnr")).unwrap();
    assert!(value.windows(4).any(|w| w == (told as f32).to_le_bytes()));

    // Once more is an accident, or meant.
    let ran = train(&place, &words);
    assert!(ran.code == Some(1) && ran.err.contains("has a run already"), "{}", ran.err);
    let ran = train(&place, &format!("{words} --resume --set run.steps=5"));
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    let more = std::fs::read_to_string(place.path("out/scalars.jsonl")).unwrap();
    assert!(more.starts_with(&text) && more.lines().count() == 8);
}

/// CRC-32C bit by bit, and TensorFlow's mask.
fn masked_crc(data: &[u8]) -> u32 {
    let mut crc = !0u32;
    for byte in data {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { crc >> 1 ^ 0x82F6_3B78 } else { crc >> 1 };
        }
    }
    (!crc).rotate_right(15).wrapping_add(0xA282_EAD8)
}

#[test]
fn a_run_begins_with_given_weights_or_only_says_what_it_would_take() {
    let place = Place::new();
    let words = begun(&place);
    let ran = train(&place, "tokenizer --recipe run.toml --dry-run --threads 1");
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    for says in ["million", "memory", "images/s", "4 steps"] {
        assert!(ran.out.contains(says), "{says} not in\n{}", ran.out);
    }
    assert_eq!(train(&place, &words).code, Some(0));
    // A step of no length leaves the weights as they were given: the discriminator's too, out of a checkpoint.
    let tuned = words.replace("--out out", "--out tuned")
        + " --finetune out/last.safetensors --discriminator out/checkpoints/step-00000004.safetensors"
        + " --set run.steps=1 --set optimizer.rate=0.0 --set discriminator_optimizer.rate=0.0";
    let ran = train(&place, &tuned);
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    let read = |name: &str, tensor: &str| {
        let source = Source::open(place.path(name), Map::Off).unwrap();
        source.tensor(tensor).unwrap().data::<f32>().unwrap().to_vec()
    };
    let name = "decoder.conv_out.weight";
    assert_eq!(read("out/last.safetensors", name), read("tuned/last.safetensors", name));
    let name = "discriminator.main.2.weight";
    let [first, second] = ["out/checkpoints/step-00000004", "tuned/checkpoints/step-00000001"]
        .map(|path| read(&format!("{path}.safetensors"), name));
    assert_eq!(first, second);
    let ran = train(&place, &tuned.replace("out/last", "model").replace("--out tuned", "--out other"));
    assert!(ran.code == Some(1) && ran.err.contains("is missing"), "{}", ran.err);
}

#[cfg(unix)]
#[test]
fn a_run_that_is_asked_to_end_is_saved() {
    let place = Place::new();
    let words = begun(&place) + " --set run.steps=100000 --set run.save_every=100000";
    let mut command = Command::new(env!("CARGO_BIN_EXE_fqgan-train"));
    command.current_dir(place.path("")).args(words.split_whitespace()).stderr(std::process::Stdio::piped());
    let child = command.spawn().unwrap();
    let lines = place.path("out/scalars.jsonl");
    while std::fs::read(&lines).map_or(0, |text| text.len()) == 0 {
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    let pid = child.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    let ran = Ran::of(child.wait_with_output().unwrap());
    assert!(ran.code == Some(0) && ran.err.contains("stopped and saved"), "{}", ran.err);
    let steps = std::fs::read_to_string(&lines).unwrap().lines().count();
    assert_eq!(std::fs::read_dir(place.path("out/checkpoints")).unwrap().count(), 1);
    let done = serde_json::from_str::<serde_json::Value>(
        std::fs::read_to_string(&lines).unwrap().lines().last().unwrap(),
    );
    let last = done.unwrap()["step"].as_u64().unwrap();
    assert!(steps >= last as usize);
    assert!(place.path(&format!("out/checkpoints/step-{last:08}.safetensors")).exists());
}

/// A build without MPI says so instead of doing its work once a process; `step` is for one process.
#[test]
fn several_processes_are_not_taken_for_one() {
    let place = Place::new();
    let words = begun(&place);
    let step = "step --recipe tokenizer-dual-f8 --print-config";
    let codes = "codes --model m --data d --out o";
    for (words, says) in [
        (words.as_str(), "build it with --features mpi"),
        (codes, "build it with --features mpi"),
        (step, "2 processes were started together"),
    ] {
        if cfg!(feature = "mpi") && words != step {
            continue;
        }
        let mut command = Command::new(env!("CARGO_BIN_EXE_fqgan-train"));
        command.current_dir(place.path("")).args(words.split_whitespace()).env("OMPI_COMM_WORLD_SIZE", "2");
        let ran = Ran::of(command.output().unwrap());
        assert_ne!(ran.code, Some(0));
        assert!(ran.err.contains(says), "{}", ran.err);
    }
}
