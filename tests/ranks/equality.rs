use crate::{ranks, shipped};
use fqgan::tensor::Tensor;
use fqgan::weights::{Map, Source};
use serde_json::{Map as Object, Value};
use std::fs;
use std::path::Path;

const STEPS: usize = 20;
/// Largest relative difference of a number or of a weight tensor.
pub const BOUND: f64 = 1e-5;

pub fn lines(out: &Path) -> Vec<Object<String, Value>> {
    let text = fs::read_to_string(out.join("scalars.jsonl")).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Held-out pictures' PSNR and usage may differ so many times more: weights that are the same but for their last digits give
/// a latent that lies between two codes the other one.
const OF_CODES: f64 = 200.0;

/// The largest relative difference between the numbers of two runs, and which.
pub fn numbers(a: &Path, b: &Path) -> (f64, String) {
    let (a, b) = (lines(a), lines(b));
    assert_eq!(a.len(), b.len());
    let mut worst = (0.0, String::new());
    for (a, b) in a.iter().zip(&b) {
        assert!(a.keys().eq(b.keys()), "{a:?}, {b:?}");
        for (name, value) in a {
            let (x, y) = (value.as_f64().unwrap(), b[name].as_f64().unwrap());
            let of_codes = name == "held_out_psnr" || name.starts_with("held_out_usage");
            let difference = (x - y).abs() / x.abs().max(1e-3) / if of_codes { OF_CODES } else { 1.0 };
            if difference > worst.0 {
                worst = (difference, format!("{name} in {a:?}"));
            }
        }
    }
    worst
}

/// The length of the difference of two tensors over that of the first.
fn apart(x: &Tensor, y: &Tensor) -> f64 {
    let (x, y) = (x.data::<f32>().unwrap(), y.data::<f32>().unwrap());
    let length = |each: &mut dyn Iterator<Item = f64>| each.map(|v| v * v).sum::<f64>().sqrt();
    let apart = length(&mut x.iter().zip(y).map(|(x, y)| f64::from(x - y)));
    apart / length(&mut x.iter().map(|&x| f64::from(x))).max(1e-3)
}

/// The same of their weights, by tensors.
pub fn weights(a: &Path, b: &Path) -> (f64, String) {
    let open = |out: &Path| Source::open(out.join("last.safetensors"), Map::Off).unwrap();
    let (a, b) = (open(a), open(b));
    let mut worst = (0.0, String::new());
    for name in a.names() {
        let difference = apart(&a.tensor(name).unwrap(), &b.tensor(name).unwrap());
        if difference > worst.0 {
            worst = (difference, name.to_string());
        }
    }
    worst
}

/// Both.
pub fn differ(a: &Path, b: &Path) -> ((f64, String), (f64, String)) {
    (numbers(a, b), weights(a, b))
}

/// Refuses runs that are not the same to the bit.
pub fn same_bits(a: &Path, b: &Path) {
    for name in ["last.safetensors", "scalars.jsonl"] {
        let read = |out: &Path| fs::read(out.join(name)).unwrap();
        assert!(read(a) == read(b), "{name}: another run of as many processes gave other bits");
    }
}

#[test]
fn one_two_and_three_processes_train_the_same() {
    let at = tempfile::tempdir().unwrap();
    let run = |count: usize, out: &str, more: &str| {
        let words = format!("{} --set run.steps={STEPS} {more}", shipped(out));
        let output = ranks(at.path(), count, &words).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    for (count, out) in [(1, "one"), (2, "two"), (3, "three")] {
        run(count, out, "");
    }
    // Moments that each keeps a part of are the same moments.
    let shard = "--set optimizer.shard=true";
    run(2, "again", shard);
    let path = |out: &str| at.path().join(out);
    assert_eq!(lines(&path("one")).len(), STEPS + 1, "every step, and the held-out pictures once");
    for out in ["two", "three"] {
        let (numbers, weights) = differ(&path("one"), &path(out));
        println!(
            "{out}: numbers {:.1e} ({}), weights {:.1e} ({})",
            numbers.0, numbers.1, weights.0, weights.1
        );
        assert!(numbers.0 <= BOUND && weights.0 <= BOUND, "{out}: {numbers:?}, {weights:?}");
    }
    assert_eq!(weights(&path("two"), &path("again")).0, 0.0);
    let read = |out: &str| fs::read(path(out).join("scalars.jsonl")).unwrap();
    assert!(read("two") == read("again"), "another run of two processes gave other numbers");

    // A run of two goes on with three, and is still what one process does.
    run(2, "begun", &format!("{shard} --set run.save_every=7"));
    for left_over in ["last.safetensors", "best.safetensors", "checkpoints/step-00000020.safetensors"] {
        fs::remove_file(path("begun").join(left_over)).unwrap();
    }
    run(3, "begun", &format!("{shard} --set run.save_every=7 --resume"));
    let (numbers, weights) = differ(&path("one"), &path("begun"));
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

/// A discriminator whose norms see the pictures of all processes is that of one process.
#[test]
fn a_discriminator_with_shared_norms() {
    let at = tempfile::tempdir().unwrap();
    let more = "--set run.steps=5 --set adversarial.enabled=true --set adversarial.start=1 --set adversarial.width=8 \
                --set discriminator_optimizer.eps=1e-4 --set discriminator_optimizer.rate=2e-5";
    let run = |count: usize, out: &str, shared: &str| {
        let words = format!("{} {more} {shared}", shipped(out));
        let output = ranks(at.path(), count, &words).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    let shared = "--set adversarial.shared_norm=true --set discriminator_optimizer.shard=true";
    run(1, "one", "");
    run(2, "local", "");
    for (count, out) in [(2, "two"), (3, "three")] {
        run(count, out, shared);
        let worst = differ(&at.path().join("one"), &at.path().join(out));
        println!("shared norms, {out}: {worst:?}");
        assert!(worst.0.0 <= BOUND && worst.1.0 <= BOUND, "{out}: {worst:?}");
    }
    assert!(differ(&at.path().join("one"), &at.path().join("local")).0.0 > 10.0 * BOUND, "each by its own");

    // The statistics that it keeps, and its own weights, which stand in checkpoints alone.
    let open = |out: &str| {
        let path = at.path().join(out).join("checkpoints/step-00000005.safetensors");
        Source::open(path, Map::Off).unwrap()
    };
    let (one, two) = (open("one"), open("two"));
    assert!(one.names().eq(two.names()));
    for name in one.names().filter(|name| name.starts_with("discriminator.")) {
        let apart = apart(&one.tensor(name).unwrap(), &two.tensor(name).unwrap());
        assert!(apart <= 10.0 * BOUND, "{name}: {apart}");
    }
}
