//! `fqgan-train teacher`, and a tokenizer that is taught by what it leaves.

use crate::{Place, Ran};
use std::process::Command;

const TEACHER: &str = concat!(
    r#"
kind = "teacher"

[run]
steps = 4
batch = 3
save_every = 2
validate_every = 2
validate = 4

"#,
    include_str!("../common/teacher.toml")
);

const TOKENIZER: &str = r#"
[run]
steps = 2
batch = 2

[model]
codebook_size = 32
code_dim = 4
ch = 32
ch_mult = [1, 2]
num_res_blocks = 1
z_channels = 32
image_size = 32
adapter_layers = 1
adapter_hidden = 64

[loss]
perceptual_weight = 0.0

[[loss.semantic]]
branch = "sem"
head = "feat_pred_head"
teacher = "small"

[adversarial]
enabled = false
"#;

fn train(place: &Place, words: &str) -> Ran {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fqgan-train"));
    command.current_dir(place.path("")).args(words.split_whitespace()).env("COLUMNS", "100");
    Ran::of(command.output().unwrap())
}

#[test]
fn a_teacher_is_trained_and_teaches() {
    let place = Place::new();
    std::fs::write(place.path("teacher.toml"), TEACHER).unwrap();
    std::fs::write(place.path("tokenizer.toml"), TOKENIZER).unwrap();
    for name in ["cat/a", "cat/b", "dog/c", "dog/d"] {
        place.picture(&format!("data/{name}.png"), 30 + name.as_bytes()[4] as usize % 7, 40);
    }
    let ran = train(&place, "teacher --recipe teacher.toml --dry-run --threads 1");
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    for says in ["million", "steps of 1 x 3", "images/s", "4 steps"] {
        assert!(ran.out.contains(says), "{says} not in\n{}", ran.out);
    }
    let teacher = "teacher --recipe teacher.toml --data data --held-out data --threads 1 --workers 1";
    let ran = train(&place, &format!("{teacher} --out whole"));
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    assert!(ran.err.contains("step 2: held_out_accuracy 0."), "{}", ran.err);
    assert!(ran.err.contains("done: whole/last.safetensors"), "{}", ran.err);
    assert!(place.path("whole/best.safetensors").exists());

    // Cut after step 2, and gone on with.
    assert_eq!(train(&place, &format!("{teacher} --out cut")).code, Some(0));
    std::fs::remove_file(place.path("cut/checkpoints/step-00000004.safetensors")).unwrap();
    std::fs::remove_file(place.path("cut/last.safetensors")).unwrap();
    assert_eq!(train(&place, &format!("{teacher} --out cut --resume")).code, Some(0));
    let read = |name: &str| std::fs::read(place.path(name)).unwrap();
    assert!(read("whole/last.safetensors") == read("cut/last.safetensors"));
    assert!(read("whole/scalars.jsonl") == read("cut/scalars.jsonl"));

    let tokenizer = "tokenizer --recipe tokenizer.toml --data data --threads 1 --workers 1 --out taught";
    let ran = train(&place, tokenizer);
    assert!(ran.code == Some(1) && ran.err.contains("the width of the teacher small"), "{}", ran.err);
    let ran = train(&place, &format!("{tokenizer} --teacher small=whole/last.safetensors"));
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    assert!(std::fs::read_to_string(place.path("taught/scalars.jsonl")).unwrap().contains("semantic_small"));

    let ran = train(&place, "teacher --recipe demo-teacher --print-config");
    assert!(ran.code == Some(0) && ran.out.starts_with("kind = \"teacher\""), "{}", ran.out);
    let ran = train(&place, &format!("{teacher} --out other --set model.classes=3"));
    assert!(ran.code == Some(1) && ran.err.contains("are of 2 categories"), "{}", ran.err);
}
