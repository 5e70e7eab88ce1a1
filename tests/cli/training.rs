//! `fqgan-train`.

use crate::{Place, Ran};
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
        ("step --recipe nowhere.toml --pictures a.png", "built in are table3-both"),
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
