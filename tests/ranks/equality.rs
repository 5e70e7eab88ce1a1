use crate::{ranks, shipped};
use fqgan::weights::{Map, Source};
use serde_json::{Map as Object, Value};
use std::path::Path;

const STEPS: usize = 20;
/// Largest relative difference of a number or of a weight tensor.
pub const BOUND: f64 = 1e-5;

pub fn lines(out: &Path) -> Vec<Object<String, Value>> {
    let text = std::fs::read_to_string(out.join("scalars.jsonl")).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The largest relative difference between the numbers of two runs, and which.
pub fn numbers(a: &Path, b: &Path) -> (f64, String) {
    let (a, b) = (lines(a), lines(b));
    assert_eq!(a.len(), b.len());
    let mut worst = (0.0, String::new());
    for (a, b) in a.iter().zip(&b) {
        assert!(a.keys().eq(b.keys()), "{a:?}, {b:?}");
        for (name, value) in a {
            let (x, y) = (value.as_f64().unwrap(), b[name].as_f64().unwrap());
            let difference = (x - y).abs() / x.abs().max(1e-3);
            if difference > worst.0 {
                worst = (difference, format!("{name} in {a:?}"));
            }
        }
    }
    worst
}

/// The same of their weights, by tensors.
pub fn weights(a: &Path, b: &Path) -> (f64, String) {
    let open = |out: &Path| Source::open(out.join("last.safetensors"), Map::Off).unwrap();
    let (a, b) = (open(a), open(b));
    let mut worst = (0.0, String::new());
    for name in a.names() {
        let (x, y) = (a.tensor(name).unwrap(), b.tensor(name).unwrap());
        let (x, y) = (x.data::<f32>().unwrap(), y.data::<f32>().unwrap());
        let length = |each: &mut dyn Iterator<Item = f64>| each.map(|v| v * v).sum::<f64>().sqrt();
        let apart = length(&mut x.iter().zip(y).map(|(x, y)| f64::from(x - y)));
        let difference = apart / length(&mut x.iter().map(|&x| f64::from(x))).max(1e-3);
        if difference > worst.0 {
            worst = (difference, name.to_string());
        }
    }
    worst
}

#[test]
fn one_two_and_three_processes_train_the_same() {
    let at = tempfile::tempdir().unwrap();
    let run = |count: usize, out: &str, more: &str| {
        let words = format!("{} --set run.steps={STEPS} {more}", shipped(out));
        let output = ranks(at.path(), count, &words).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    for (count, out) in [(1, "one"), (2, "two"), (3, "three"), (2, "again")] {
        run(count, out, "");
    }
    let path = |out: &str| at.path().join(out);
    assert_eq!(lines(&path("one")).len(), STEPS + 1, "every step, and the held-out pictures once");
    for out in ["two", "three"] {
        let (numbers, weights) = (numbers(&path("one"), &path(out)), weights(&path("one"), &path(out)));
        println!(
            "{out}: numbers {:.1e} ({}), weights {:.1e} ({})",
            numbers.0, numbers.1, weights.0, weights.1
        );
        assert!(numbers.0 <= BOUND && weights.0 <= BOUND, "{out}: {numbers:?}, {weights:?}");
    }
    for name in ["last.safetensors", "scalars.jsonl"] {
        let read = |out: &str| std::fs::read(path(out).join(name)).unwrap();
        assert!(read("two") == read("again"), "{name}: another run of two processes gave other bits");
    }

    // A run of two goes on with three, and is still what one process does.
    run(2, "begun", "--set run.save_every=7");
    for left_over in ["last.safetensors", "best.safetensors", "checkpoints/step-00000020.safetensors"] {
        std::fs::remove_file(path("begun").join(left_over)).unwrap();
    }
    run(3, "begun", "--set run.save_every=7 --resume");
    let (numbers, weights) = (numbers(&path("one"), &path("begun")), weights(&path("one"), &path("begun")));
    assert!(numbers.0 <= BOUND && weights.0 <= BOUND, "resumed: {numbers:?}, {weights:?}");
}

/// Parts of a batch, and a discriminator, over processes: the discriminator's norms see a process's pictures alone, as
/// they do in the authors' training, so only what they do not touch is the same.
#[test]
fn parts_and_a_discriminator() {
    let at = tempfile::tempdir().unwrap();
    let more = "--set run.steps=2 --set run.accumulate=3 --set adversarial.enabled=true --set adversarial.start=1 \
                --set adversarial.width=8";
    for (count, out) in [(1, "one"), (2, "two")] {
        let output = ranks(at.path(), count, &format!("{} {more}", shipped(out))).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    let [one, two] = ["one", "two"].map(|out| lines(&at.path().join(out)));
    for name in ["reconstruction", "vq_vis", "commit_sem"] {
        let [a, b] = [&one, &two].map(|lines| lines[0][name].as_f64().unwrap());
        assert!((a - b).abs() <= BOUND * a.abs(), "{name}: {a} and {b}");
    }
    for lines in [&one, &two] {
        assert!(lines[1]["discriminator_grad_norm"].as_f64().unwrap() > 0.0, "{:?}", lines[1]);
    }
}
