//! The house's own rules: imports go down only, and pages quote what stands in the sources.

#![cfg(unix)]

use std::path::Path;
use std::process::Command;

fn floors(src: &Path) -> (bool, String) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/floors.sh");
    let output = Command::new("bash").arg(script).arg(src).output().unwrap();
    (output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned())
}

#[test]
fn imports_go_down_only() {
    assert_eq!(floors(Path::new("src")), (true, String::new()));
}

#[test]
fn imports_that_go_up_are_found() {
    for (file, text, wanted) in [
        ("tensor/mod.rs", "use crate::backend::Device;", "tensor may only use what is below it"),
        ("ops/add/cpu.rs", "use crate::{error::Result, nn::{self, Linear}};", "crate::nn::{self"),
        ("ops/add.rs", "fn f() { crate::tokenizer::open() }", "crate::tokenizer::open"),
        ("far/mod.rs", "use crate::tokenizer::Config;", "far may only use what is below it"),
        ("far/cache.rs", "use crate::backend::cpu::Cpu;", "nothing above ops names a device"),
        ("nn/mod.rs", "use crate::{\n    backend::{Device, cuda},\n};", "nothing above ops names a device"),
        ("capi/train.rs", "use crate::train::step;", "capi never imports train"),
        ("far/mod.rs", "use crate::attic::Box;", "a room that has no floor"),
        ("nn/deep/mod.rs", "use super::super::exec;", "write crate::"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(file);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, format!("// crate::nowhere\nuse crate::error::Error;\n{text}\n")).unwrap();
        let (fine, said) = floors(folder.path());
        assert!(!fine && said.contains(wanted), "{text}: {said:?}");
        assert_eq!(said.lines().count(), 1, "{said}");
    }
}

/// Code in `docs` that a comment names the file of stands in that file, word for word.
#[test]
fn pages_quote_the_sources() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut quotes = 0;
    for page in std::fs::read_dir(root.join("docs")).unwrap() {
        let page = page.unwrap().path();
        let text = std::fs::read_to_string(&page).unwrap();
        for (at, _) in text.match_indices(" -->\n```rust\n") {
            let name = text[..at].rsplit("<!-- ").next().unwrap();
            let (code, _) = text[at..].split_once("```rust\n").unwrap().1.split_once("```").unwrap();
            let source = std::fs::read_to_string(root.join(name)).unwrap();
            assert!(source.contains(code), "{}: not in {name}:\n{code}", page.display());
            quotes += 1;
        }
    }
    assert!(quotes > 0, "no page quotes anything");
}
