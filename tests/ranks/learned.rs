//! Generators and teachers of several processes.

use crate::equality::{BOUND, differ, lines, same_bits};
use crate::{ROOT, ranks};
use std::fs;
use std::path::Path;

fn run(at: &Path, count: usize, words: &str) {
    let output = ranks(at, count, words).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// At rates at which rounding does not choose other ways.
const CALM: &str =
    "--set run.batch=6 --set run.warmup=0 --set optimizer.eps=1e-4 --set optimizer.rate=1e-4 --threads 1";

#[test]
fn generators() {
    let at = tempfile::tempdir().unwrap();
    let at = at.path();
    let model = format!("{ROOT}/assets/weights/demo-tokenizer.safetensors");
    run(
        at,
        1,
        &format!("codes --model {model} --data {ROOT}/assets/emoji --views flip --out codes --threads 1"),
    );
    let small = "--set precision=f32 --set model.layers=2 --set model.dim=64 --set model.heads=2 --set run.steps=20 --codes codes --held-out codes";
    let far = |count: usize, out: &str, more: &str| {
        run(at, count, &format!("far --recipe demo-far {small} {CALM} --out {out} {more}"));
    };
    for (count, out) in [(1, "one"), (2, "two"), (3, "three"), (2, "again")] {
        far(count, out, "");
    }
    // What is dropped does not depend on how a batch is cut up either.
    far(1, "parts", "--set run.accumulate=3");
    far(3, "both", "--set run.accumulate=2");
    let path = |out: &str| at.join(out);
    assert_eq!(lines(&path("one")).len(), 21, "every step, and the held-out codes once");
    for out in ["two", "three", "parts", "both"] {
        let worst = differ(&path("one"), &path(out));
        println!("generator, {out}: {worst:?}");
        assert!(worst.0.0 <= BOUND && worst.1.0 <= BOUND, "{out}: {worst:?}");
    }
    same_bits(&path("two"), &path("again"));
    // The noise is there: without it other numbers come out.
    far(1, "quiet", "--set dropout.tokens=0 --set dropout.residual=0 --set dropout.feed_forward=0");
    assert!(differ(&path("one"), &path("quiet")).0.0 > 100.0 * BOUND);

    // Whole branches, and a run of two that three go on with.
    let depth = "--set dropout.depth=0.3 --set dropout.residual=0 --set dropout.feed_forward=0 --set run.save_every=7";
    far(1, "deep", depth);
    far(2, "begun", depth);
    for left_over in ["last.safetensors", "best.safetensors", "checkpoints/step-00000020.safetensors"] {
        fs::remove_file(path("begun").join(left_over)).unwrap();
    }
    far(3, "begun", &format!("{depth} --resume"));
    let worst = differ(&path("deep"), &path("begun"));
    assert!(worst.0.0 <= BOUND && worst.1.0 <= BOUND, "resumed: {worst:?}");
}

#[test]
fn teachers() {
    let at = tempfile::tempdir().unwrap();
    let at = at.path();
    for file in fs::read_dir(format!("{ROOT}/assets/emoji")).unwrap().flatten() {
        let name = file.file_name().into_string().unwrap();
        if let Some((vendor, rest)) = name.split_once('-') {
            fs::create_dir_all(at.join("pictures").join(vendor)).unwrap();
            fs::copy(file.path(), at.join("pictures").join(vendor).join(rest)).unwrap();
        }
    }
    let small = "--set model.classes=2 --set run.steps=6 --data pictures --held-out pictures --workers 1";
    for (count, out) in [(1, "one"), (3, "three")] {
        run(at, count, &format!("teacher --recipe demo-teacher {small} {CALM} --out {out}"));
    }
    let worst = differ(&at.join("one"), &at.join("three"));
    println!("teacher: {worst:?}");
    assert!(worst.0.0 <= BOUND && worst.1.0 <= BOUND, "{worst:?}");
    assert!(lines(&at.join("three")).last().unwrap().contains_key("held_out_accuracy"));
}
