//! Programs in C and C++ against the header and the built library, as a host has them.

use crate::models::{generator_file, tokenizer_file};
use std::path::{Path, PathBuf};
use std::process::Command;

pub const STRICT: &[&str] = &["-Wall", "-Wextra", "-Werror", "-pedantic", "-O1", "-g"];

/// The library that this test was built with: cargo puts it beside the test.
pub fn library(extension: &str) -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let library = test.parent().unwrap().join(format!("libfqgan.{extension}"));
    assert!(library.exists(), "{} is missing", library.display());
    library
}

pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

pub fn run(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|e| panic!("{command:?}: {e}"));
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{command:?}: {}\n{out}{err}", output.status);
    out
}

/// Builds `tests/capi/c/NAME` against the shared library, and runs it: as it is, with the address and
/// undefined-behaviour sanitizers, and under valgrind. The last two only where they are installed, unless
/// `FQGAN_TOOLS=required` says that they must be. The last argument is the number of threads to use.
pub fn program(name: &str, standard: &str, arguments: &[&Path]) {
    program_with("include", name, standard, arguments, Tools::All);
}

/// How a program is run beside as it is.
#[derive(Clone, Copy, PartialEq)]
pub enum Tools {
    None,
    Sanitizers,
    /// Sanitizers and valgrind, which runs other instructions: results differ in their last bits.
    All,
}

/// [`program`] with the headers of another folder and some of the tools.
pub fn program_with(headers: &str, name: &str, standard: &str, arguments: &[&Path], tools: Tools) {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    // Under the name that the loader asks for.
    std::os::unix::fs::symlink(library("so"), at("libfqgan.so.1")).unwrap();
    let compiler = if name.ends_with(".cpp") { "c++" } else { "cc" };
    let build = |exe: &Path, extra: &[&str]| {
        let mut command = Command::new(compiler);
        command.args(format!("-std={standard}").split(' ')).args(STRICT).args(extra);
        command.arg("-I").arg(root().join(headers)).arg(root().join("tests/capi/c").join(name));
        command.arg("-o").arg(exe).arg(at("libfqgan.so.1")).arg("-lpthread").arg("-lm");
        command
    };
    let expect_ok = |mut command: Command, threads: &str| {
        command.args(arguments).arg(threads).env("LD_LIBRARY_PATH", folder.path());
        assert_eq!(run(&mut command), "ok\n", "{command:?}");
    };
    run(&mut build(&at("plain"), &[]));
    expect_ok(Command::new(at("plain")), "3");
    if tools == Tools::None {
        return;
    }

    let required = std::env::var_os("FQGAN_TOOLS").is_some_and(|value| value == "required");
    let sanitizers = "-fsanitize=address,undefined";
    let empty = at("empty.c");
    std::fs::write(&empty, "int main(void) { return 0; }\n").unwrap();
    let works = |command: &mut Command| command.output().is_ok_and(|output| output.status.success());
    if required || works(Command::new("cc").arg(sanitizers).arg(&empty).arg("-o").arg(at("empty"))) {
        run(&mut build(&at("sanitized"), &[sanitizers, "-fno-sanitize-recover=all"]));
        expect_ok(Command::new(at("sanitized")), "3");
    }
    if tools == Tools::All && (required || works(Command::new("valgrind").arg("--version"))) {
        let mut command = Command::new("valgrind");
        command.args(["-q", "--error-exitcode=9", "--leak-check=full", "--errors-for-leak-kinds=definite"]);
        command.arg(at("plain"));
        // One thread a call: valgrind lets only one run, and the others would wait in a loop. It is slow at
        // fused multiply-adds, so only small programs run those.
        if name == "tokenizer.c" {
            command.env("FQGAN_ISA", "portable");
        }
        expect_ok(command, "1");
    }
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
fn the_program_of_the_readme_compiles() {
    let readme = std::fs::read_to_string(root().join("README.md")).unwrap();
    let block = readme.split("```c\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    // Jumps over an array of fixed size are fine in C.
    let source = format!(
        "#include \"fqgan.h\"\n#include <stdio.h>\nint encode(void *pixels);\nint encode(void *pixels) {{\n{block}\n\
         fqgan_tokenizer_close(tokenizer);\nfqgan_runtime_destroy(runtime);\nreturn 0;\nfailed:\n\
         fputs(error.message, stderr);\nreturn 1;\n}}\n"
    );
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("readme.c");
    std::fs::write(&path, source).unwrap();
    let mut command = Command::new("cc");
    command.arg("-std=c99").args(STRICT).arg("-I").arg(root().join("include"));
    run(command.arg("-c").arg(&path).arg("-o").arg(folder.path().join("readme.o")));
}

#[test]
fn basics() {
    program("basics.c", "c99", &[]);
}

#[test]
fn tokenizer() {
    program("tokenizer.c", "c11", &[tokenizer_file()]);
}

#[test]
fn generator() {
    program("generator.c", "c11", &[generator_file()]);
}

#[test]
fn cpp() {
    program("wrapper.cpp", "c++17", &[tokenizer_file(), generator_file()]);
}

#[test]
fn cpp_without_exceptions() {
    program("expected.cpp", "c++17 -fno-exceptions", &[tokenizer_file(), generator_file()]);
}

/// Programs that were compiled with the header, and so the structs, of version 1.
#[test]
fn programs_of_version_1() {
    let old =
        |name, arguments: &[&Path]| program_with("tests/capi/version_1", name, "c11", arguments, Tools::None);
    old("basics.c", &[]);
    old("tokenizer.c", &[tokenizer_file()]);
    old("generator.c", &[generator_file()]);
}
