//! What a built program relies on: names, prototypes, sizes, offsets, numbers. `version_1.txt` is the snapshot,
//! and `version_1/fqgan.h` the header of that time; neither changes any more. What a later version adds is
//! listed in `later.txt`.

use crate::programs::{STRICT, library, root, run};
use std::collections::BTreeSet;
use std::fmt::Write;
use std::process::Command;

const SNAPSHOT: &str = include_str!("version_1.txt");
const LATER: &str = include_str!("later.txt");

/// The lines of the snapshot that begin with `kind`, without it.
fn listed(kind: &'static str) -> impl Iterator<Item = &'static str> {
    of_kind(SNAPSHOT, kind)
}

fn of_kind(snapshot: &'static str, kind: &'static str) -> impl Iterator<Item = &'static str> {
    snapshot.lines().filter_map(move |line| line.strip_prefix(kind)?.strip_prefix(' '))
}

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap()
}

/// The name of a prototype's function.
fn name(prototype: &str) -> &str {
    let before = prototype.split_once('(').unwrap().0;
    before.rsplit([' ', '*']).next().unwrap()
}

fn function_names() -> Vec<&'static str> {
    let mut names: Vec<_> = listed("function").map(name).collect();
    names.sort_unstable();
    names
}

/// What a header declares: prototypes and callback types, fields, constants, in the words of the snapshot but
/// for sizes and offsets, which only a compiler knows.
fn declared(header: &str) -> BTreeSet<String> {
    let code: String =
        header.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n");
    let (_, code) = code.split_once("extern \"C\" {\n#endif").unwrap();
    let mut out = BTreeSet::new();
    for line in code.lines() {
        if let Some(define) = line.strip_prefix("#define ") {
            out.insert(format!("constant {define}"));
        }
    }
    let code: String = code.lines().filter(|line| !line.starts_with('#')).collect::<Vec<_>>().join(" ");
    let code = code.split_whitespace().collect::<Vec<_>>().join(" ");
    for piece in code.split("typedef struct ").skip(1) {
        if let Some((name, fields)) =
            piece.split_once('}').map(|(before, _)| before).and_then(|b| b.split_once(" {"))
        {
            if name.contains(';') {
                continue;
            }
            for field in fields.split(';').map(str::trim).filter(|field| !field.is_empty()) {
                out.insert(format!("field {name}: {field}"));
            }
        }
    }
    // Without the bodies of structs, statements end at their semicolons.
    let mut flat = String::new();
    let mut depth = 0;
    for c in code.chars() {
        depth += i32::from(c == '{') - i32::from(c == '}');
        if depth == 0 && c != '}' {
            flat.push(c);
        }
    }
    for statement in flat.split(';').map(str::trim).filter(|s| s.contains('(')) {
        let kind = if statement.starts_with("typedef ") { "callback" } else { "function" };
        out.insert(format!("{kind} {}", statement.trim_start_matches("typedef ")));
    }
    out
}

/// A snapshot in the words of [`declared`].
fn wanted(snapshot: &str) -> BTreeSet<String> {
    snapshot
        .lines()
        .filter(|line| !line.starts_with('#') && !line.starts_with("struct ") && !line.is_empty())
        .map(|line| line.split(" @ ").next().unwrap().to_string())
        .collect()
}

#[test]
fn version_1_is_still_there() {
    let now = declared(&read("include/fqgan.h"));
    let missing: Vec<_> = wanted(SNAPSHOT).into_iter().filter(|line| !now.contains(line)).collect();
    assert!(missing.is_empty(), "include/fqgan.h no longer has: {missing:#?}");
}

#[test]
fn nothing_is_in_the_header_that_no_snapshot_lists() {
    let (version_1, later) = (wanted(SNAPSHOT), wanted(LATER));
    let known: BTreeSet<_> = version_1.union(&later).cloned().collect();
    let new: Vec<_> =
        declared(&read("include/fqgan.h")).into_iter().filter(|line| !known.contains(line)).collect();
    assert!(new.is_empty(), "list in a snapshot of the version that brings it: {new:#?}");
    assert_eq!(declared(&read("tests/capi/version_1/fqgan.h")), version_1);
}

#[test]
fn nothing_else_is_exported() {
    let nm = Command::new("nm").args(["-D", "--defined-only", "-P"]).arg(library("so")).output().unwrap();
    assert!(nm.status.success());
    let text = String::from_utf8(nm.stdout).unwrap();
    let mut names: Vec<_> = text.lines().filter_map(|line| line.split_whitespace().next()).collect();
    names.sort_unstable();
    assert_eq!(names, function_names());
    // The installed library exports what this lists.
    let map = read("scripts/package/fqgan.map");
    let (_, first) = map.split_once("FQGAN_1 {").unwrap();
    let first = first.split_once('}').unwrap().0;
    let mut names: Vec<_> =
        first.split([';', '\n']).map(str::trim).filter(|l| l.starts_with("fqgan_")).collect();
    names.sort_unstable();
    assert_eq!(names, function_names());
}

/// A C compiler's word on sizes, offsets and numbers, of both headers.
#[test]
#[cfg(target_pointer_width = "64")]
fn layouts_are_those_of_version_1() {
    for (include, appended) in [("include", LATER), ("tests/capi/version_1", "")] {
        let mut source = String::from("#include \"fqgan.h\"\n#include <stddef.h>\n");
        let mut check = |condition: String| {
            writeln!(source, "_Static_assert({condition}, \"{condition}\");").unwrap();
        };
        let mut structs = 0;
        for line in listed("struct") {
            let (name, size) = line.split_once(" @ ").unwrap();
            let grown =
                of_kind(appended, "struct").find_map(|line| line.strip_prefix(name)?.strip_prefix(" @ "));
            check(format!("sizeof({name}) == {}", grown.unwrap_or(size)));
            structs += 1;
        }
        for line in listed("field").chain(of_kind(appended, "field")) {
            let (field, place) = line.split_once(" @ ").unwrap();
            let (owner, field) = field.split_once(": ").unwrap();
            let name = field.rsplit([' ', '*']).next().unwrap().split('[').next().unwrap();
            let (offset, size) = place.split_once(" + ").unwrap();
            check(format!("offsetof({owner}, {name}) == {offset}"));
            check(format!("sizeof((({owner} *)0)->{name}) == {size}"));
        }
        for line in listed("constant") {
            let (name, value) = line.split_once(' ').unwrap();
            check(format!("{name} == {value}"));
        }
        assert_eq!(structs, 8);
        source.push_str("extern int unit;\nint unit = 1;\n");
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("layout.c");
        std::fs::write(&path, source).unwrap();
        let mut command = Command::new("cc");
        command.arg("-std=c11").args(STRICT).arg("-I").arg(root().join(include));
        run(command.arg("-c").arg(&path).arg("-o").arg(folder.path().join("layout.o")));
    }
    assert_eq!(fqgan::capi::fqgan_abi_version(), 1);
}
