//! A training run that is killed goes on as if nothing had been.

use fqgan::image::Picture;
use fqgan::rng::Stream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How often the run is killed.
const KILLS: usize = 50;

const RECIPE: &str = r#"
[run]
steps = 150
batch = 2
save_every = 2
keep = 2
validate_every = 20
pictures_every = 50

[model]
branches = ["vis", "sem"]
codebook_size = 32
code_dim = 4
ch = 32
ch_mult = [1, 1]
num_res_blocks = 1
z_channels = 32
image_size = 8
adapter_layers = 1
adapter_hidden = 32

[loss]
perceptual_weight = 0.0

[adversarial]
enabled = false

[optimizer]
average = 0.9
"#;

fn begin(at: &Path, out: &str) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fqgan-train"));
    command.current_dir(at).args(["tokenizer", "--recipe", "tiny.toml", "--data", "pictures"]);
    command.args(["--held-out", "pictures", "--out", out, "--resume", "--threads", "1", "--workers", "1"]);
    command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

/// Files of a name that begins with a dot: what a kill left half written.
fn halves(folder: &Path) -> usize {
    let Ok(entries) = std::fs::read_dir(folder) else { return 0 };
    entries.filter(|e| e.as_ref().unwrap().file_name().to_string_lossy().starts_with('.')).count()
}

#[test]
fn a_killed_run_resumes_and_ends_in_the_same_bits() {
    let at = tempfile::tempdir().unwrap();
    std::fs::write(at.path().join("tiny.toml"), RECIPE).unwrap();
    std::fs::create_dir(at.path().join("pictures")).unwrap();
    for i in 0..9usize {
        let pixels = (0..8 * 8 * 3).map(|p| ((p * (i + 3) * 7) % 256) as u8).collect();
        let picture = Picture::from_pixels(8, 8, pixels).unwrap();
        picture.save_png(at.path().join(format!("pictures/{i}.png"))).unwrap();
    }
    let began = Instant::now();
    assert!(begin(at.path(), "whole").wait().unwrap().success());
    // Some pieces make a whole run, and some are over before the first step.
    let longest = began.elapsed().as_micros() as u32 / 4;

    let checkpoints = at.path().join("cut/checkpoints");
    let (mut kills, mut during_saves) = (0, 0);
    let mut stream = Stream::new(7, [0; 3]);
    while kills < KILLS {
        let mut child = begin(at.path(), "cut");
        std::thread::sleep(Duration::from_micros(u64::from(stream.below(longest))));
        // Every other time during a save.
        while kills % 2 == 1 && halves(&checkpoints) == 0 && child.try_wait().unwrap().is_none() {
            std::thread::yield_now();
        }
        if let Some(status) = child.try_wait().unwrap() {
            // It came to its end before it was killed often enough: once more from the beginning.
            assert!(status.success());
            compare(at.path());
            std::fs::remove_dir_all(at.path().join("cut")).unwrap();
            continue;
        }
        child.kill().unwrap();
        child.wait().unwrap();
        kills += 1;
        during_saves += usize::from(halves(&checkpoints) > 0);
    }
    assert!(begin(at.path(), "cut").wait().unwrap().success());
    println!("{kills} kills, {during_saves} of them during a save");
    assert!(during_saves > 0, "not one of the kills came during a save");
    compare(at.path());
}

/// The finished runs left the same.
fn compare(at: &Path) {
    for name in
        ["last.safetensors", "best.safetensors", "checkpoints/step-00000150.safetensors", "scalars.jsonl"]
    {
        let [whole, cut] = ["whole", "cut"].map(|run| std::fs::read(at.join(run).join(name)).unwrap());
        assert!(whole == cut, "{name}");
    }
    assert_eq!(halves(&at.join("cut/checkpoints")) + halves(&at.join("cut")), 0);
}
