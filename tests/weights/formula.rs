//! The formula's weights against numbers that numpy computed from the golden cases' own script.

use crate::common::{Manifest, formula_file, manifests};
use fqgan::weights::formula::{Entry, fill, rule};
use fqgan::weights::{Map, Source};
use sha2::{Digest, Sha256};

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|x| x.to_bits()).collect()
}

#[test]
fn the_first_numbers_are_numpys() {
    let mut u = [0f32; 6];
    fill("encoder.conv_in.weight", 1, 0.0, 1.0, &mut u);
    assert_eq!(bits(&u), [0xbf239810, 0x3e8a087c, 0xbea739a8, 0xbf224e1c, 0xbf1ab340, 0xbf7cc5d0]);
    let mut u = [0f32; 4];
    fill("\u{e9}", 12_345_678_901, 0.0, 1.0, &mut u);
    assert_eq!(bits(&u), [0x3da41290, 0xbf349fbc, 0x3f64dc1c, 0xbf48d408]);
    let norm = Entry::by_rule("encoder.norm_out_vis.weight", [512]).tensor(1).unwrap();
    assert_eq!(bits(&norm.data().unwrap()[..4]), [0x3f7edd5b, 0x3f84f61b, 0x3f790b1c, 0x3f804a05]);
    let codebook = Entry::by_rule("quantize_vis.embedding.weight", [16384, 8]).tensor(1).unwrap();
    let c = codebook.data::<f32>().unwrap();
    assert_eq!(bits(&[c[0], c[1], c[65535], c[131071]]), [0x3f190074, 0x3f660c1e, 0x3f580cf6, 0xbf007cca]);
}

#[test]
fn a_whole_convolution_has_numpys_bytes() {
    let conv =
        Entry::by_rule("encoder.conv_blocks.2.res.0.conv1.weight", [256, 128, 3, 3]).tensor(1).unwrap();
    let hash: String =
        Sha256::digest(conv.storage().as_bytes().unwrap()).iter().map(|b| format!("{b:02x}")).collect();
    assert_eq!(hash, "53cd3da7d4b0942a315a1aa3ccb79d9fd2bebdf207a4322e535ec7e2e00f17e1");
}

#[test]
fn pieces_do_not_change_the_numbers() {
    let mut whole = vec![0f32; (3 << 18) + 7];
    fill("x", 3, 0.5, 2.0, &mut whole);
    let mut short = vec![0f32; 1000];
    fill("x", 3, 0.5, 2.0, &mut short);
    assert_eq!(bits(&whole[..1000]), bits(&short));
    // No value is off the others' range, and none stands still at a seam.
    assert!(whole.iter().all(|x| (-1.5..2.5).contains(x)));
    assert!(whole.windows(2).filter(|w| w[0] == w[1]).count() < 3);
}

#[test]
fn the_rule_gives_every_number_of_every_manifest() {
    let mut tensors = 0;
    for file in std::fs::read_dir(manifests()).unwrap() {
        let name = file.unwrap().path().file_stem().unwrap().to_str().unwrap().to_string();
        let manifest = Manifest::read(&name);
        for e in &manifest.entries {
            assert_eq!(rule(&e.name, &e.shape), (e.offset, e.scale), "{name}: {}", e.name);
            tensors += 1;
        }
        let parameters: usize = manifest.entries.iter().map(|e| e.shape.count()).sum();
        assert_eq!(parameters, manifest.parameters, "{name}");
    }
    assert!(tensors > 4000);
}

#[test]
fn a_files_tensors_are_the_formulas() {
    let manifest = Manifest::read("far_tiny_dual");
    let source = Source::open(formula_file("far_tiny_dual"), Map::On).unwrap();
    assert_eq!(source.listing(), &manifest.listing());
    for e in &manifest.entries {
        let made = e.tensor(manifest.seed).unwrap();
        assert_eq!(source.tensor(&e.name).unwrap().data::<f32>().unwrap(), made.data::<f32>().unwrap());
    }
}
