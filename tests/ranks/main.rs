//! One model trained, or work shared, by several processes that `mpirun` starts: the same as by one, and what becomes of
//! it when a process is lost. `scripts/ranks.sh` runs this; MPI is the system's.

mod apart;
#[path = "../common/mod.rs"]
mod common;
mod equality;
mod faults;
mod learned;
mod shares;

use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

/// The demo's tokenizer goes on from its shipped weights, at a rate at which rounding does not choose other codes.
pub const MORE: &str = "tokenizer --recipe demo-tokenizer --set run.batch=6 --set run.warmup=0 --set loss.gather=true \
                        --set optimizer.eps=1e-4 --set optimizer.rate=2e-5 --threads 1 --workers 1";

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// `fqgan-train` by so many processes, in `at`; words are separated by spaces.
pub fn ranks(at: &Path, count: usize, words: &str) -> Command {
    by(at, count, env!("CARGO_BIN_EXE_fqgan-train"), words)
}

/// The same of any program.
pub fn by(at: &Path, count: usize, program: &str, words: &str) -> Command {
    let mut command = mpirun(at);
    command.args(["-np", &count.to_string(), program]).args(words.split_whitespace());
    command
}

/// `mpirun`, on more processes than there are cores, and as root as containers are; on the machines of
/// `scripts/ranks-apart.sh`, where it runs this.
pub fn mpirun(at: &Path) -> Command {
    let mut command = Command::new("mpirun");
    command.args(["--allow-run-as-root", "--oversubscribe", "--bind-to", "none"]).current_dir(at);
    command.args(std::env::var("FQGAN_MPIRUN").unwrap_or_default().split_whitespace());
    command
}

/// The options of a run into `out` from the shipped weights over the shipped pictures.
pub fn shipped(out: &str) -> String {
    let weights = format!("{ROOT}/assets/weights/demo-tokenizer.safetensors");
    let pictures = format!("{ROOT}/assets/emoji");
    format!("{MORE} --finetune {weights} --data {pictures} --held-out {pictures} --out {out}")
}

/// Starts a command whose words are kept.
pub fn spawn(mut command: Command) -> Child {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// What a command said on its second channel, if it did not succeed.
pub fn fails(output: &Output) -> String {
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success(), "{said}");
    said
}
