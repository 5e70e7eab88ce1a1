//! Processes on machines of their own, which `scripts/ranks-apart.sh` lays out: each test starts itself there. The script
//! says how to start processes, and what their namespaces are called.

use crate::equality::{BOUND, lines, numbers, weights};
use crate::faults::{LIMIT, begun, ended};
use crate::{ROOT, fails, ranks, shipped};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

const STEPS: usize = 6;

/// Whether the machines are laid out; else lays them out and runs the test of this name there.
fn laid_out(test: &str) -> bool {
    if std::env::var_os("FQGAN_MACHINES").is_some() {
        return true;
    }
    let mut apart = Command::new(format!("{ROOT}/scripts/ranks-apart.sh"));
    apart.arg(std::env::current_exe().unwrap()).args(["--exact", test, "--nocapture"]);
    assert!(apart.status().unwrap().success(), "{test}, on machines of their own");
    false
}

#[test]
fn they_train_the_same() {
    if !laid_out("apart::they_train_the_same") {
        return;
    }
    let at = tempfile::tempdir().unwrap();
    let words = |out: &str| format!("{} --set run.steps={STEPS}", shipped(out));
    let mut alone = Command::new(env!("CARGO_BIN_EXE_fqgan-train"));
    alone.args(words("one").split_whitespace()).current_dir(at.path());
    for mut command in [alone, ranks(at.path(), 3, &words("three"))] {
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    let [one, three] = ["one", "three"].map(|out| at.path().join(out));
    assert_eq!(lines(&one).len(), STEPS + 1);
    let (numbers, weights) = (numbers(&one, &three), weights(&one, &three));
    println!(
        "three machines: numbers {:.1e} ({}), weights {:.1e} ({})",
        numbers.0, numbers.1, weights.0, weights.1
    );
    assert!(numbers.0 <= BOUND && weights.0 <= BOUND, "{numbers:?}, {weights:?}");
}

/// A machine whose cable is pulled is named by the others, which end.
#[test]
fn one_that_cannot_be_reached_is_named() {
    if !laid_out("apart::one_that_cannot_be_reached_is_named") {
        return;
    }
    let at = tempfile::tempdir().unwrap();
    let namespaces = std::env::var("FQGAN_MACHINES").unwrap();
    let cable = |state: &str| {
        let namespace = format!("{namespaces}3");
        let mut ip = Command::new("ip");
        assert!(ip.args(["-n", &namespace, "link", "set", "eth0", state]).status().unwrap().success());
    };
    let (child, processes) = begun(at.path());
    cable("down");
    // Those that can be reached end; mpirun itself waits for the machine to come back.
    let until = Instant::now() + LIMIT;
    let there = |process: &u32| Path::new(&format!("/proc/{process}")).exists();
    while processes[..2].iter().any(there) && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(50));
    }
    let left = processes[..2].iter().any(there);
    cable("up");
    let said = fails(&ended(child));
    assert!(!left, "still there after {LIMIT:?}: {said}");
    assert!(said.contains("rank 2 on machine-3 did not come to exchange"), "{said}");
}
