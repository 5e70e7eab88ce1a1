//! Programs in C and C++ against the header and the built library, as a host has them.

use std::path::{Path, PathBuf};
use std::process::Command;

const STRICT: &[&str] = &["-Wall", "-Wextra", "-Werror", "-pedantic", "-O1", "-g"];

/// The library that this test was built with: cargo puts it beside the test.
pub fn library(extension: &str) -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let library = test.parent().unwrap().join(format!("libfqgan.{extension}"));
    assert!(library.exists(), "{} is missing", library.display());
    library
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn run(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|e| panic!("{command:?}: {e}"));
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{command:?}: {}\n{out}{err}", output.status);
    out
}

/// Builds `tests/capi/c/NAME` against the shared library and runs it.
fn program(name: &str, standard: &str, arguments: &[&Path]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let exe = folder.path().join("program");
    let library = library("so");
    let mut compiler = Command::new(if name.ends_with(".cpp") { "c++" } else { "cc" });
    compiler.arg(format!("-std={standard}")).args(STRICT);
    compiler.arg("-I").arg(root().join("include"));
    compiler.arg(root().join("tests/capi/c").join(name)).arg("-o").arg(&exe);
    compiler.arg(&library).arg("-lpthread").arg("-lm");
    run(&mut compiler);
    run(Command::new(&exe).args(arguments).env("LD_LIBRARY_PATH", library.parent().unwrap()))
}

#[test]
fn the_header_is_clean_in_every_standard() {
    let folder = tempfile::tempdir().unwrap();
    let object = folder.path().join("header.o");
    for (compiler, language, standard) in [
        ("cc", "c", "c99"),
        ("cc", "c", "c11"),
        ("cc", "c", "c17"),
        ("c++", "c++", "c++17"),
        ("c++", "c++", "c++20"),
    ] {
        let source = folder.path().join(format!("header-{standard}"));
        std::fs::write(
            &source,
            "#include \"fqgan.h\"\n#include \"fqgan.h\"\nextern int unit;\nint unit = 1;\n",
        )
        .unwrap();
        let mut command = Command::new(compiler);
        command.args(["-x", language, &format!("-std={standard}")]).args(STRICT);
        run(command.arg("-I").arg(root().join("include")).arg("-c").arg(&source).arg("-o").arg(&object));
    }
}

#[test]
fn basics() {
    assert_eq!(program("basics.c", "c99", &[]), "ok\n");
}
