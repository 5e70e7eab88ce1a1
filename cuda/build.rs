//! The feature `cuda`: the shim over NVIDIA's libraries, and the kernels, compiled and laid out to be embedded.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

pub fn build() {
    assert!(
        env::var("CARGO_CFG_TARGET_OS").as_deref() == Ok("linux"),
        "the feature `cuda` is for Linux: its shim over the driver knows the loader of no other system"
    );
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    shim(&out);
    kernels(&out);
}

/// A library of C functions in the place of libcuda and libcublas, see `shim/shim.h`.
fn shim(out: &Path) {
    let mut text = String::from("#include \"shim.h\"\n");
    for (library, list) in [("DRIVER", "driver.txt"), ("CUBLAS", "cublas.txt")] {
        for line in read(&Path::new("cuda/shim").join(list)).lines().filter(|l| !l.starts_with('#')) {
            let (name, count) = line.split_once(' ').expect("a name and a number");
            let count: usize = count.parse().expect("a number of arguments");
            let join = |f: &dyn Fn(usize) -> String| (0..count).map(f).collect::<Vec<_>>().join(", ");
            let (types, args) = (join(&|_| "word".into()), join(&|i| format!("a{i}")));
            let taken = if count == 0 { "void".into() } else { join(&|i| format!("word a{i}")) };
            let types = if count == 0 { "void".into() } else { types };
            writeln!(
                text,
                "__attribute__((visibility(\"hidden\"))) uint32_t {name}({taken}) {{\n  \
                 static function slot;\n  \
                 function f = fqgan_shim_find({library}, \"{name}\", &slot);\n  \
                 if (!f) return fqgan_shim_absent({library});\n  \
                 return fqgan_shim_known({library}, ((uint32_t(*)({types}))f)({args}));\n}}"
            )
            .expect("a string grows");
        }
    }
    let generated = out.join("functions.c");
    fs::write(&generated, text).expect("OUT_DIR can be written");
    let mut build = cc::Build::new();
    build.cargo_metadata(false).pic(true).include("cuda/shim").file("cuda/shim/shim.c").file(generated);
    build.compile("fqgan_shim");
    // Whole, so that every symbol is there before the linker looks at the libraries that `cust` and `cublas-sys` ask
    // for. Those it finds empty, or, where a toolkit is installed, not needed.
    for name in ["libcuda.a", "libcublas.a"] {
        fs::write(out.join(name), "!<arch>\n").expect("OUT_DIR can be written");
    }
    println!("cargo::rustc-link-search=native={}", out.display());
    println!("cargo::rustc-link-lib=static:+whole-archive=fqgan_shim");
    println!("cargo::rerun-if-changed=cuda/shim");
}

/// One fat binary for each `cuda/*.cu`, and a table of them.
fn kernels(out: &Path) {
    println!("cargo::rerun-if-env-changed=FQGAN_NVCC");
    println!("cargo::rerun-if-changed=cuda");
    let listed = fs::read_dir("cuda").expect("the folder cuda").filter_map(|e| Some(e.ok()?.path()));
    let mut files: Vec<PathBuf> = listed.filter(|p| p.extension().is_some_and(|e| e == "cu")).collect();
    files.sort();
    let headers = newest(Path::new("cuda"), "cuh");
    // Beside all build folders of a profile (OUT_DIR is `build/fqgan-HASH/out` in it): the same for all of them.
    let kept = out.ancestors().nth(3).expect("OUT_DIR is deep").join("fqgan-kernels");
    let kept = if env::var("FQGAN_NVCC").as_deref() == Ok("none") { kept.join("none") } else { kept };
    fs::create_dir_all(&kept).expect("the target folder can be written");
    let mut stale: Vec<(PathBuf, PathBuf)> = Vec::new();
    let mut table = format!("static IMAGES: [(&str, &[u8]); {}] = [\n", files.len());
    for file in &files {
        let to = kept.join(file.file_name().expect("a file")).with_extension("fatbin");
        let made = fs::metadata(&to).and_then(|m| m.modified()).ok();
        let changed = fs::metadata(file).and_then(|m| m.modified()).ok().max(headers);
        if made.is_none() || made < changed {
            stale.push((file.clone(), to.clone()));
        }
        let operation = file.file_stem().and_then(|s| s.to_str()).expect("a name in ASCII");
        writeln!(table, "    ({operation:?}, include_bytes!({to:?})),").expect("a string grows");
    }
    if !stale.is_empty() {
        match nvcc(out) {
            Some(nvcc) => compile(&nvcc, &stale),
            // The driver takes it for a program in PTX, and says that it is none. The emulated device does not look.
            None => stale.iter().for_each(|(_, to)| {
                fs::write(to, "// built with FQGAN_NVCC=none\0").expect("the target folder can be written");
            }),
        }
    }
    table.push_str("];\n");
    fs::write(out.join("images.rs"), table).expect("OUT_DIR can be written");
}

fn compile(nvcc: &Path, stale: &[(PathBuf, PathBuf)]) {
    let lanes = env::var("NUM_JOBS").ok().and_then(|n| n.parse().ok()).unwrap_or(1usize).max(1);
    for some in stale.chunks(lanes) {
        let started: Vec<_> = some
            .iter()
            .map(|(from, to)| {
                let mut command = Command::new(nvcc);
                command
                    .args(["-fatbin", "-std=c++17", "-O3", "--compress-mode=size", "-Icuda", "-o"])
                    .arg(to);
                command.args(["-gencode", "arch=compute_80,code=[sm_80,compute_80]"]);
                command.args(["-gencode", "arch=compute_90a,code=sm_90a"]);
                command.arg(from);
                (from, command.spawn().unwrap_or_else(|e| panic!("{}: {e}", nvcc.display())))
            })
            .collect();
        for (from, mut child) in started {
            let status = child.wait().expect("a child can be waited for");
            assert!(status.success(), "nvcc could not compile {}", from.display());
        }
    }
}

/// `None` where it is not wanted: for the emulated device alone.
fn nvcc(out: &Path) -> Option<PathBuf> {
    if let Some(named) = env::var_os("FQGAN_NVCC") {
        return (named != "none").then(|| named.into());
    }
    // scripts/cuda-toolchain.sh lays it out in cargo's target folder, which OUT_DIR is deep inside of.
    let laid = out.ancestors().map(|folder| folder.join("cuda-13.0/nvidia/cu13/bin/nvcc"));
    let path = env::var_os("PATH").unwrap_or_default();
    let installed = env::split_paths(&path).map(|folder| folder.join("nvcc"));
    Some(laid.chain(installed).find(|nvcc| nvcc.exists()).unwrap_or_else(|| {
        panic!("the feature `cuda` needs nvcc 13: run scripts/cuda-toolchain.sh, or name one with FQGAN_NVCC")
    }))
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

fn newest(folder: &Path, extension: &str) -> Option<std::time::SystemTime> {
    let listed = fs::read_dir(folder).ok()?.filter_map(|e| Some(e.ok()?.path()));
    let ours = listed.filter(|p| p.extension().is_some_and(|e| e == extension));
    ours.filter_map(|p| fs::metadata(p).ok()?.modified().ok()).max()
}
