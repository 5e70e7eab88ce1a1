//! The rows of the paper's tables, on small models and pictures.

use crate::eval_samples::inception;
use crate::generator::{generator, place_with};
use crate::{Place, save, small};
use fqgan::weights::Metadata;
use std::path::Path;
use std::process::Command;

/// Runs a table as somebody with weights and pictures would.
fn run(place: &Place, table: &str) -> String {
    let programs = Path::new(env!("CARGO_BIN_EXE_fqgan")).parent().unwrap();
    let path = std::env::join_paths(
        std::iter::once(programs.to_path_buf())
            .chain(std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default())),
    );
    let mut command = Command::new("bash");
    command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/paper.sh")).arg(table);
    command.current_dir(place.path("")).env("PATH", path.unwrap());
    for (name, value) in [
        ("WEIGHTS", "weights"),
        ("VALIDATION", "data"),
        ("REFERENCE", "data"),
        ("RUNS", "runs"),
        ("COUNT", "4"),
        ("OUT", "out"),
    ] {
        command.env(name, value);
    }
    let output = command.env("INCEPTION", inception()).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    assert!(output.status.success(), "{}", text(output.stderr));
    text(output.stdout)
}

#[test]
fn every_row_runs() {
    let place = place_with(&generator());
    (0..4).for_each(|i| place.picture(&format!("data/{i}.png"), 40 + i, 36));
    let model = |name: &str| {
        std::fs::create_dir_all(place.path(name).parent().unwrap()).unwrap();
        save(&place.path(name), &small().manifest(), &Metadata::new());
    };
    for name in ["dual_ds16", "triple_ds16", "dual_ds8", "triple_ds8"] {
        model(&format!("weights/fqgan_{name}.pt"));
    }
    for name in ["vqgan", "factorized", "disentangle", "semantic", "both"] {
        model(&format!("runs/table3-{name}/last.safetensors"));
    }
    let far = |name: &str| {
        std::fs::create_dir_all(place.path(name).parent().unwrap()).unwrap();
        std::fs::copy(place.path("far.safetensors"), place.path(name)).unwrap();
    };
    ["b", "l"].iter().for_each(|size| far(&format!("weights/far_{size}_dual.pt")));
    ["linear", "mlp", "ar"].iter().for_each(|head| far(&format!("runs/table4-{head}/last.safetensors")));

    for (table, rows) in [
        ("table1", vec!["dual-f16 rfid paper 0.94 here", "triple-f8 psnr paper 27.58 here"]),
        ("table2", vec!["far-b fid paper 3.38 here", "far-l inception_score paper 272.52 here"]),
        ("table3", vec!["vqgan rfid paper 3.71 here", "both rfid paper 1.66 here"]),
        ("table4", vec!["linear fid paper 5.19 here", "ar fid paper 3.74-4.37 here"]),
    ] {
        let said = run(&place, table);
        let lines: Vec<String> =
            said.lines().map(|l| l.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
        for row in rows {
            let line = lines.iter().find(|l| l.starts_with(&format!("{table} {row} ")));
            let measured = line.unwrap_or_else(|| panic!("{row}: {said}")).rsplit(' ').next().unwrap();
            assert!(measured.parse::<f64>().is_ok_and(f64::is_finite), "{row}: {said}");
        }
    }
    // What was measured is not measured again.
    std::fs::remove_dir_all(place.path("weights")).unwrap();
    assert!(run(&place, "table1").contains("0.94"));
}
