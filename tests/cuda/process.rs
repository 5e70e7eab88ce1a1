use crate::small;
use fqgan::image::Picture;
use std::path::Path;
use std::process::Command;

/// The scalars of each step of a run on a device.
fn run(folder: &Path, device: &str) -> Vec<serde_json::Value> {
    let words = "tokenizer --recipe run.toml --data pictures --threads 1 --workers 1";
    let output = Command::new(env!("CARGO_BIN_EXE_fqgan-train"))
        .current_dir(folder)
        .args(words.split(' '))
        .args(["--device", device, "--out", device])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains("last.safetensors"), "{device}: {said}");
    let text = std::fs::read_to_string(folder.join(device).join("scalars.jsonl")).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The trainer's own program: the same losses as on the processor.
#[test]
fn two_steps_of_a_tokenizer() {
    let place = tempfile::tempdir().unwrap();
    let run_of_two = "[run]\nsteps = 2\nbatch = 2\nsave_every = 2\n";
    std::fs::write(place.path().join("run.toml"), format!("{run_of_two}{}", small::RECIPE)).unwrap();
    std::fs::create_dir(place.path().join("pictures")).unwrap();
    for name in ["a", "b"] {
        let pixels = (0..40 * 36 * 3).map(|i| (i * i / 7 % 251) as u8).collect();
        let picture = Picture::from_pixels(40, 36, pixels).unwrap();
        picture.save_png(place.path().join(format!("pictures/{name}.png"))).unwrap();
    }
    let [want, got] = ["cpu", "cuda"].map(|device| run(place.path(), device));
    assert_eq!((want.len(), got.len()), (2, 2));
    for (want, got) in want.iter().zip(&got) {
        for name in ["total", "reconstruction", "grad_norm", "discriminator", "discriminator_grad_norm"] {
            let [want, got] = [want, got].map(|line| line[name].as_f64().unwrap());
            assert!((got / want - 1.0).abs() < 1e-3, "{name}: {got}, expected {want}");
        }
    }
}
