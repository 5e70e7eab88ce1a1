//! Where there is no driver. The libraries are looked for once a process, so each case is one of its own.

use fqgan::Status;
use fqgan::backend::cuda::Cuda;
use std::process::Command;

const INNER: &str = "FQGAN_TEST_WITHOUT_DRIVER";

#[test]
fn no_driver_is_an_error_that_says_so() {
    if std::env::var_os(INNER).is_some() {
        let error = Cuda::new(0).expect_err("a GPU was found");
        assert_eq!(error.status(), Status::Device);
        assert!(error.message().contains("no-such-driver.so"), "{error}");
        return;
    }
    let test = "missing::no_driver_is_an_error_that_says_so";
    let output = Command::new(std::env::current_exe().unwrap())
        .args([test, "--exact"])
        .env("FQGAN_CUDA_DRIVER", "/no-such-driver.so")
        .env(INNER, "1")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
}

#[test]
fn there_is_no_second_gpu() {
    let error = Cuda::new(1_000_000).expect_err("a GPU was found");
    assert_eq!(error.status(), Status::Device);
    assert!(error.message().contains("there is no GPU 1000000"), "{error}");
}
