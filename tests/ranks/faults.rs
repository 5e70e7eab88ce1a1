use crate::{fails, mpirun, ranks, shipped, spawn};
use fqgan::weights::{Map, Source};
use std::fs;
use std::path::Path;
use std::process::{Child, Output};
use std::time::{Duration, Instant};

/// Within this a job must end of which a process is lost.
pub const LIMIT: Duration = Duration::from_secs(30);

/// A run of three processes that has saved once, and their numbers in the system, by rank.
pub fn begun(at: &Path) -> (Child, Vec<u32>) {
    let words = format!("{} --set run.steps=100000 --set run.save_every=2", shipped("out"));
    let child = spawn(ranks(at, 3, &words));
    let limit = Instant::now() + Duration::from_secs(120);
    while newest(at).is_none() {
        assert!(Instant::now() < limit, "no checkpoint within two minutes");
        std::thread::sleep(Duration::from_millis(50));
    }
    (child, processes(at))
}

/// The ranks of the job that runs in `at`: their launcher has told each its number.
fn processes(at: &Path) -> Vec<u32> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let Some(id) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
        let inside =
            fs::read_link(entry.path().join("cwd")).is_ok_and(|cwd| cwd == at.canonicalize().unwrap());
        let environment = fs::read(entry.path().join("environ")).unwrap_or_default();
        let mut words = environment.split(|&c| c == 0).map(String::from_utf8_lossy);
        let rank = words.find_map(|word| word.strip_prefix("OMPI_COMM_WORLD_RANK=")?.parse::<usize>().ok());
        if let (true, Some(rank)) = (inside, rank) {
            found.push((rank, id));
        }
    }
    found.sort_unstable();
    assert!(found.iter().map(|(rank, _)| *rank).eq(0..3), "{found:?}");
    found.into_iter().map(|(_, id)| id).collect()
}

fn newest(at: &Path) -> Option<std::path::PathBuf> {
    let entries = fs::read_dir(at.join("out/checkpoints")).ok()?;
    entries.flatten().map(|e| e.path()).filter(|p| p.extension().is_some_and(|e| e == "safetensors")).max()
}

fn signal(process: u32, signal: i32) {
    // SAFETY: a signal to a process that this test started.
    assert_eq!(unsafe { libc::kill(process as i32, signal) }, 0);
}

/// How the job ended, which it did in time.
pub fn ended(mut child: Child) -> Output {
    let began = Instant::now();
    while child.try_wait().unwrap().is_none() {
        if began.elapsed() > LIMIT {
            child.kill().unwrap();
            panic!("still there after {LIMIT:?}");
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    child.wait_with_output().unwrap()
}

#[test]
fn a_process_that_dies_ends_the_job() {
    let at = tempfile::tempdir().unwrap();
    let (child, processes) = begun(at.path());
    signal(processes[1], libc::SIGKILL);
    let said = fails(&ended(child));
    // This is the launcher's own word.
    assert!(said.contains("rank 1") && said.contains("signal 9"), "{said}");
    Source::open(newest(at.path()).unwrap(), Map::Off).unwrap();
    // What was saved is whole: two go on from there.
    let words = format!("{} --set run.steps=4 --set run.save_every=2 --resume", shipped("out"));
    let output = ranks(at.path(), 2, &words).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn a_process_that_hangs_is_named() {
    let at = tempfile::tempdir().unwrap();
    let (child, processes) = begun(at.path());
    signal(processes[2], libc::SIGSTOP);
    let output = ended(child);
    // The launcher may leave a stopped process behind.
    // SAFETY: as above; that it is gone already is well.
    unsafe { libc::kill(processes[2] as i32, libc::SIGKILL) };
    let said = fails(&output);
    let line = said.lines().rfind(|line| line.starts_with("fqgan-train: ")).unwrap_or_default();
    assert!(line.contains("rank 2 on ") && line.contains("did not come"), "{said}");
    Source::open(newest(at.path()).unwrap(), Map::Off).unwrap();
}

#[test]
fn numbers_that_are_not_finite_are_blamed() {
    let at = tempfile::tempdir().unwrap();
    // More than f32 holds.
    let more = "--set run.steps=5 --set run.broken=\"stop\" --set loss.reconstruction_weight=1e39";
    let words = format!("{} {more}", shipped("out"));
    let said = fails(&ended(spawn(ranks(at.path(), 2, &words))));
    let line = said.lines().find(|line| line.starts_with("fqgan-train: ")).unwrap_or_default();
    assert!(line.contains("step 1: rank 0 on ") && line.contains(" is not finite"), "{said}");
}

#[test]
fn processes_that_do_not_belong_together_are_refused() {
    let at = tempfile::tempdir().unwrap();
    let mut command = mpirun(at.path());
    let program = env!("CARGO_BIN_EXE_fqgan-train");
    let words = shipped("out");
    for (i, more) in ["--set run.seed=1", ":", "--set run.seed=2"].iter().enumerate() {
        if i == 1 {
            command.arg(more);
        } else {
            command.args(["-np", "1", program]).args(words.split_whitespace()).args(more.split_whitespace());
        }
    }
    let said = fails(&command.output().unwrap());
    assert!(said.contains("rank 1 on ") && said.contains("has another recipe than rank 0"), "{said}");

    let words = format!("{} --set run.batch=7", shipped("out"));
    let said = fails(&ranks(at.path(), 2, &words).output().unwrap());
    assert!(said.contains("run.batch = 7 pictures for 2 processes"), "{said}");
    assert!(!at.path().join("out/checkpoints").exists());
}

/// The process that writes cannot write more than so much: it says so, and the job ends; what was saved before is whole.
#[test]
fn a_full_disk_ends_the_job() {
    let at = tempfile::tempdir().unwrap();
    let begun = format!("{} --set run.save_every=1", shipped("out"));
    let output = ranks(at.path(), 2, &format!("{begun} --set run.steps=1")).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let first = newest(at.path()).unwrap();

    let words = format!("{begun} --set run.steps=100 --resume");
    let program = env!("CARGO_BIN_EXE_fqgan-train");
    // Kilobytes: fewer than a checkpoint has, more than MPI's own files.
    let limited = "trap '' XFSZ; ulimit -f 40000; exec \"$@\"";
    let mut command = mpirun(at.path());
    command.args(["-np", "1", "bash", "-c", limited, "bash", program]).args(words.split_whitespace());
    command.args([":", "-np", "1", program]).args(words.split_whitespace());
    let said = fails(&ended(spawn(command)));
    let line = said.lines().find(|line| line.starts_with("fqgan-train: ")).unwrap_or_default();
    assert!(line.contains("rank 0 on ") && line.contains("step-00000002.safetensors"), "{said}");
    assert_eq!(newest(at.path()).unwrap(), first);
    Source::open(first, Map::Off).unwrap();
}
