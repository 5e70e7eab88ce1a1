//! `include/fqgan.h` is what cbindgen makes of `src/capi`, an object's types and functions together.
//! `FQGAN_UPDATE=1` writes it; without, the test compares.

use std::path::Path;

/// The files of `src/capi` that have exported items, in the order of the header, with their titles.
const SECTIONS: &[(&str, &str)] = &[
    ("version", "Version"),
    ("error", "Errors"),
    ("log", "Log"),
    ("runtime", "Runtime"),
    ("model", "Models"),
    ("image", "Images"),
    ("tokenizer", "Tokenizer"),
    ("generator", "Generator"),
    ("codes", "Codes"),
];

const HEAD: &str = "\
/*
 * libfqgan: an image becomes a small grid of discrete codes, and back.
 *
 * Made by cbindgen from src/capi; scripts/header.sh renews it.
 *
 * Rules of all functions:
 * - Handles (fqgan_runtime, fqgan_tokenizer, fqgan_generator) are made by _create and _open, which set the
 *   variable to NULL on failure, and freed by _destroy and _close, which accept NULL. A model keeps what it
 *   needs of its runtime alive.
 * - What can fail returns an fqgan_status and takes, last, an fqgan_error that is the caller's and may be NULL.
 *   Outputs are written on success only, unless it says otherwise.
 * - Structs of options and info begin with struct_size: clear the struct and set it to sizeof, or call _init.
 *   No more than that many bytes are read or written, and a field that is zero, or past the end, has its
 *   default: so a host and a library of different age work together.
 * - Buffers are the caller's; their capacity counts elements and is never written past. Outputs must not
 *   overlap inputs.
 * - All functions may be called from any thread. Calls on one model at the same time are safe, and give what
 *   they would give one after another. Only _destroy and _close need that no call on the handle is under way.
 * - Nothing ends the process, prints, or throws. A bug is FQGAN_ERROR_INTERNAL, and the model stays usable.
 * - Text and paths are UTF-8.
 */
#ifndef FQGAN_H
#define FQGAN_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern \"C\" {
#endif
";

const TAIL: &str = "
#ifdef __cplusplus
} // extern \"C\"
#endif

#endif // FQGAN_H
";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn generate() -> String {
    let mut header = HEAD.to_string();
    for (file, title) in SECTIONS {
        let section = cbindgen::Builder::new()
            .with_config(cbindgen::Config::from_file(root().join("cbindgen.toml")).unwrap())
            .with_src(root().join(format!("src/capi/{file}.rs")))
            .generate()
            .unwrap();
        let mut text = Vec::new();
        section.write(&mut text);
        let text = String::from_utf8(text).unwrap();
        header += &format!("\n// ---- {title} ----\n\n");
        for line in text.trim().lines() {
            // Only types of the same section come with `struct`; the typedefs serve for all.
            let line =
                if line.starts_with("typedef ") { line } else { &line.replace("struct fqgan_", "fqgan_") };
            header += &format!("{}\n", line.trim_end());
        }
    }
    header + TAIL
}

#[test]
fn the_header_is_up_to_date() {
    let path = root().join("include/fqgan.h");
    let made = generate();
    if std::env::var_os("FQGAN_UPDATE").is_some() {
        std::fs::write(&path, &made).unwrap();
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(committed == made, "include/fqgan.h is out of date: run scripts/header.sh");
}
