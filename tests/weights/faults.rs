//! Disks that are full and folders that cannot be written.

#![cfg(target_os = "linux")]

use fqgan::Status;
use fqgan::tensor::Tensor;
use fqgan::weights::{Metadata, save, write_with};

fn one() -> Tensor {
    Tensor::from_slice([1], &[1f32]).unwrap()
}

/// `/dev/full` answers each write as a full disk does.
#[test]
fn a_full_disk_is_an_error() {
    let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    let error = write_with(full, &[("a", *one().desc())], &Metadata::new(), |_| Ok(one())).unwrap_err();
    assert_eq!(error.status(), Status::Io);
    assert!(error.to_string().contains("No space left"), "{error}");
}

/// No user may make a file there, root neither.
#[test]
fn a_read_only_folder_is_an_error() {
    let error = save("/proc/self/w.safetensors", &[("a", one())], &Metadata::new()).unwrap_err();
    assert_eq!(error.status(), Status::Io);
    assert!(error.to_string().contains("writing /proc/self/w.safetensors"), "{error}");
}

/// A program that may write no more than a few KB of a file, as on a disk that fills: what was there stays, nothing
/// else is left, and the message names the file.
#[cfg(feature = "cli")]
#[test]
fn a_disk_that_fills_leaves_the_old_file() {
    use std::process::Command;
    let dir = tempfile::tempdir().unwrap();
    let (from, to) = (dir.path().join("in.safetensors"), dir.path().join("out.safetensors"));
    save(&from, &[("a", Tensor::from_slice([5000], &[1f32; 5000]).unwrap())], &Metadata::new()).unwrap();
    std::fs::write(&to, "old").unwrap();
    let convert = |limit: &str| {
        let command = format!(
            "trap '' XFSZ; {limit} exec {} convert '{}' '{}'",
            env!("CARGO_BIN_EXE_fqgan"),
            from.display(),
            to.display()
        );
        Command::new("sh").args(["-c", &command]).output().unwrap()
    };
    let failed = convert("ulimit -f 8;");
    let told = String::from_utf8_lossy(&failed.stderr).into_owned();
    assert_eq!(failed.status.code(), Some(1), "{told}");
    assert!(told.contains("out.safetensors") && told.contains("File too large"), "{told}");
    assert_eq!(std::fs::read(&to).unwrap(), b"old");
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 2);
    // Without the limit the same command does it.
    assert!(convert("").status.success());
    assert!(std::fs::metadata(&to).unwrap().len() > 20_000);
}
